"""Keys: who is let in, with what scope, how many at once, and what of a key goes on to an engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from gateway_stage import Stage

from hotseat import config
from hotseat.config.gateway import Key
from hotseat.errors import ConfigError, Forbidden, TooMany, Unauthorized, UsageError
from hotseat.gateway.keys import EVERYONE, KeyRing, hash_of, new_key
from hotseat.gateway.port import ModelView
from hotseat.testing.seats import FakeSeats
from hotseat.words import State

ALICE, BOB, ROOT = "hs-alice-alice-alice", "hs-bob-bob-bob-bob-bob", "hs-root-root-root-root"


def header(*pairs: tuple[str, str]) -> Callable[[str], str | None]:
    return {name.lower(): value for name, value in pairs}.get


def ring(**more: object) -> KeyRing:
    return KeyRing(
        {
            "alice": Key(hash=hash_of(ALICE), models=["llama*", "gpt-?"], priority=5),
            "bob": Key.model_validate({"hash": hash_of(BOB), **more}),
            "root": Key(hash=hash_of(ROOT), admin=True),
        }
    )


def test_without_keys_everyone_may_all() -> None:
    keys = KeyRing()
    assert not keys
    bearer = keys.identify(header(("Authorization", "Bearer whatever")))
    assert bearer is EVERYONE
    assert bearer.may_use("anything")
    assert not bearer.admin
    assert keys.for_engine(header(("Authorization", "Bearer sk-of-the-engine"))) == {}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("Authorization", f"Bearer {ALICE}"),
        ("authorization", f"bearer   {ALICE} "),
        ("X-Api-Key", ALICE),
        ("api-key", f" {ALICE} "),
        ("Sec-WebSocket-Protocol", f"realtime, openai-insecure-api-key.{ALICE}"),
    ],
)
def test_where_a_key_may_stand(place: str, value: str) -> None:
    bearer = ring().identify(header(("Host", "x"), (place, value)))
    assert (bearer.caller.name, bearer.caller.priority, bearer.admin) == ("alice", 5, False)


def test_one_good_key_is_enough_where_clients_send_several() -> None:
    headers = [("Authorization", "Bearer sk-of-the-engine"), ("x-api-key", ALICE)]
    assert ring().identify(header(*headers)).caller.name == "alice"
    assert ring().for_engine(header(*headers)) == {"x-api-key": None}


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([], "a key is needed"),
        ([("Authorization", "Basic " + ALICE)], "a key is needed"),
        ([("Authorization", "Bearer")], "a key is needed"),
        ([("Cookie", ALICE)], "a key is needed"),
        ([("Authorization", "Bearer " + ALICE + "x")], "not known"),
        ([("Authorization", "Bearer " + hash_of(ALICE))], "not known"),
        ([("x-api-key", "")], "not known"),
        ([("x-api-key", "\udcff\udcfe")], "not known"),
        ([("Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key.")], "not known"),
    ],
)
def test_who_is_not_let_in(headers: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(Unauthorized, match=said) as caught:
        ring().identify(header(*headers))
    assert ALICE not in str(caught.value.as_dict())


def test_a_scope_is_globs_and_nothing_more() -> None:
    bearer = ring().identify(header(("x-api-key", ALICE)))
    assert [
        name
        for name in ("llama", "llama/3.1:8b", "gpt-4", "gpt-", "gpt-10", "Llama", "xllama", "gpt.4")
        if bearer.may_use(name)
    ] == [
        "llama",
        "llama/3.1:8b",
        "gpt-4",
    ]
    odd = KeyRing({"a": Key(hash=hash_of(ALICE), models=["a[bc].*", "x**y"])}).identify(header(("x-api-key", ALICE)))
    assert odd.may_use("a[bc].d")
    assert not odd.may_use("ab.d")
    assert odd.may_use("x1y")
    assert odd.may_use("x\ny")


def test_what_lies_outside_a_scope_is_forbidden_whether_it_exists_or_not() -> None:
    bearer = ring().identify(header(("x-api-key", ALICE)))
    bearer.check("llama")
    with pytest.raises(Forbidden, match="may not use 'qwen'"):
        bearer.check("qwen")
    bearer.check_all(["llama", "gpt-4"], workload="w")
    said = set()
    for models in (["qwen"], ["qwen", "gpt-4"], []):
        with pytest.raises(Forbidden) as caught:
            bearer.check_all(models, workload="w")
        said.add(str(caught.value))
    assert len(said) == 1


def test_how_many_at_once() -> None:
    keys = ring(max_concurrent=2)
    bob = keys.identify(header(("api-key", BOB)))
    root = keys.identify(header(("api-key", ROOT)))
    with keys.counted(bob):
        with keys.counted(bob):
            with pytest.raises(TooMany, match="2 requests") as caught, keys.counted(bob):
                pass
            assert caught.value.details["retry_after"] == 1.0
            with keys.counted(root):
                assert keys.running("root") == 1
        with keys.counted(bob):
            assert keys.running("bob") == 2
    assert keys.running("bob") == keys.running("root") == 0


def test_a_new_list_counts_on_and_a_key_that_is_gone_is_gone() -> None:
    keys = ring(max_concurrent=1)
    bob = keys.identify(header(("api-key", BOB)))
    with keys.counted(bob):
        keys.replace({"bob": Key(hash=hash_of(ALICE), max_concurrent=2)})
        with pytest.raises(Unauthorized):
            keys.identify(header(("api-key", BOB)))
        again = keys.identify(header(("api-key", ALICE)))
        assert again.caller.name == "bob"
        with keys.counted(again), pytest.raises(TooMany), keys.counted(again):
            pass
    assert keys.running("bob") == 0
    keys.replace({})
    assert keys.identify(header()) is EVERYONE


def test_no_key_of_ours_reaches_an_engine() -> None:
    headers = [
        ("Accept", "*/*"),
        ("Authorization", f"Bearer {ALICE}"),
        ("X-API-Key", BOB),
        ("Sec-WebSocket-Protocol", f"realtime, openai-insecure-api-key.{ROOT}, v1"),
    ]
    assert ring().for_engine(header(*headers)) == {
        "authorization": None,
        "x-api-key": None,
        "sec-websocket-protocol": "realtime, v1",
    }
    alone = ("Sec-WebSocket-Protocol", f"openai-insecure-api-key.{ROOT}")
    assert ring().for_engine(header(alone)) == {"sec-websocket-protocol": None}
    assert ring().for_engine(header(("Sec-WebSocket-Protocol", "realtime"), ("api-key", "the-engines-own"))) == {}


def test_keys_are_made_long_and_never_twice() -> None:
    made = {new_key() for _ in range(50)}
    assert len(made) == 50
    assert all(key.startswith("hs-") and len(key) >= 46 for key in made)
    with pytest.raises(UsageError, match="16 characters"):
        hash_of("secret")


def test_one_key_has_one_bearer() -> None:
    lines = f"keys: {{alice: {{hash: '{hash_of(ALICE)}'}}, bob: {{hash: '{hash_of(ALICE)}', admin: true}}}}\n"
    with pytest.raises(ConfigError, match=r"keys\.bob\.hash: keys\.alice has the same"):
        config.parse(lines + "workloads: {a: {port: 1}}")


async def test_an_engine_with_several_models_has_its_pages_for_a_key_of_all_of_them_only(
    make_stage: Callable[..., Awaitable[Stage]], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeyRing(
        {
            "one": Key(hash=hash_of(ALICE), models=["m"]),
            "all": Key(hash=hash_of(BOB), models=["m", "m-*"]),
            "every": Key(hash=hash_of(ROOT)),
        }
    )
    stage = await make_stage(keys=keys)
    views = [ModelView(id=model, workload="m", state=State.SEATED) for model in ("m", "m-lora")]
    monkeypatch.setattr(FakeSeats, "models", lambda _: views)

    async def asked(path: str, key: str) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {key}"}
        async with stage.client.post(
            stage.url + path, headers=headers, json={"model": "m-lora", "messages": []}
        ) as response:
            return response.status, await response.text()

    status, said = await asked("/upstream/m/v1/chat/completions", ALICE)
    assert status == 403
    assert not stage.seats.given
    other, nobody = await asked("/upstream/none/v1/chat/completions", ALICE)
    assert other == 403
    assert nobody.replace("'none'", "'m'") == said
    for key in (BOB, ROOT):
        assert (await asked("/upstream/m/v1/chat/completions", key))[0] == 200
