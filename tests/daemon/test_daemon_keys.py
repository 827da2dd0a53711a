"""Keys and the admin API at a whole daemon: who may act, and a new list of keys while answers are under way."""

from __future__ import annotations

from typing import Any

import aiohttp
from daemon_house import House, MakeHouse

from hotseat.gateway.keys import hash_of

ALICE, ROOT = "hs-alice-alice-alice", "hs-root-root-root-root"
KEYS = f"keys: {{alice: {{hash: '{hash_of(ALICE)}', models: [a]}}, root: {{hash: '{hash_of(ROOT)}', admin: true}}}}\n"


async def call(
    house: House, method: str, path: str, *, key: str = "", body: Any = None, **headers: str
) -> tuple[int, Any]:
    assert house.http is not None
    assert house.serving is not None
    named = {name.replace("_", "-"): value for name, value in headers.items()} | ({"x-api-key": key} if key else {})
    async with house.http.request(method, house.serving.gateway + path, json=body, headers=named) as response:
        return response.status, await response.json()


async def reload(house: House, text: str) -> None:
    house.text = text
    house.file.write_text(text)
    async with house.client() as client:
        await client.reload()


async def test_without_keys_programs_of_this_host_are_admins_and_web_pages_are_not(house: House) -> None:
    status, rows = await call(house, "GET", "/hotseat/v1/workloads")
    assert (status, {row["name"]: row["state"] for row in rows}) == (200, {"a": "seated", "b": "parked"})
    status, done = await call(house, "POST", "/hotseat/v1/workloads/b/seat")
    assert (status, [report["direction"] for report in done["reports"]]) == (200, ["out", "in"])
    assert house.states() == {"a": "parked", "b": "seated"}
    status, done = await call(house, "POST", "/hotseat/v1/workloads/b/park")
    assert (status, [report["direction"] for report in done["reports"]]) == (200, ["out"])
    status, done = await call(house, "POST", "/hotseat/v1/workloads/a/prewarm", body={"seconds": 60})
    assert (status, done["workload"], done["seconds"]) == (202, "a", 60.0)
    status, done = await call(house, "POST", "/hotseat/v1/workloads/c/park")
    assert (status, done["error"]["code"]) == (404, "not_found")
    for strange in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        status, done = await call(house, "POST", "/hotseat/v1/workloads/b/seat", **strange)
        assert (status, done["error"]["code"]) == (403, "forbidden")
    assert house.states()["b"] == "parked"


async def test_a_new_list_of_keys_counts_at_once_and_costs_no_answer(make_house: MakeHouse) -> None:
    house = await make_house(names="ab", need=4)
    await house.up()
    open_to_all = house.text
    engine = house.engines["a"]
    engine.hold_after = 2
    async with house.ask("a", stream=True) as answer:
        await engine.reached_hold.wait()
        await reload(house, KEYS + open_to_all)
        assert await house.answer("a") == 401
        engine.go.set()
        assert await answer.read() == engine.whole_stream, "begun without a key, when none was needed"
    ask = {"model": "a"}
    path = "/v1/chat/completions"
    assert (await call(house, "POST", path, key=ALICE, body=ask))[0] == 200
    assert ALICE not in str([request.headers for request in engine.asked])
    assert (await call(house, "POST", path, key=ALICE, body={"model": "b"}))[0] == 403
    assert [model["id"] for model in (await call(house, "GET", "/v1/models", key=ALICE))[1]["data"]] == ["a"]
    assert (await call(house, "GET", "/hotseat/v1/workloads"))[0] == 401
    assert (await call(house, "GET", "/hotseat/v1/workloads", key=ALICE))[0] == 403
    assert (await call(house, "GET", "/hotseat/v1/workloads", key=ROOT))[0] == 200
    assert (await call(house, "GET", "/metrics"))[0] == 401
    assert (await call(house, "GET", "/upstream/b/x", key=ALICE))[0] == 403
    await reload(house, open_to_all)
    assert await house.answer("b") == 200


async def test_what_the_engine_is_shown(make_house: MakeHouse) -> None:
    """Without keys of ours a client's key is for the engine; with them only what is not one of ours."""
    house = await make_house(names="a")
    await house.up()
    path, ask, engine = "/v1/chat/completions", {"model": "a"}, house.engines["a"]
    await call(house, "POST", path, body=ask, key=ALICE, Authorization="Bearer engine")
    await reload(house, KEYS + house.text)
    await call(house, "POST", path, body=ask, key=ALICE, Authorization="Bearer engine")
    await call(house, "POST", path, body=ask, Authorization=f"Bearer {ROOT}")
    seen = [{name.lower(): value for name, value in request.headers} for request in engine.asked]
    assert [(head.get("authorization"), head.get("x-api-key")) for head in seen] == [
        ("Bearer engine", ALICE),
        ("Bearer engine", None),
        (None, None),
    ]


async def test_requests_are_counted_by_dialect(make_house: MakeHouse) -> None:
    house = await make_house(names="a")
    await house.up()
    await house.answer("a")
    await call(house, "POST", "/v1/messages", body={"model": "a"})
    await call(house, "POST", "/api/chat", body={"model": "a-alias", "stream": False})
    assert isinstance(house.http, aiohttp.ClientSession)
    assert house.serving is not None
    async with house.http.get(house.serving.gateway + "/metrics") as response:
        text = await response.text()
    for model, dialect in (("a", "openai"), ("a", "anthropic"), ("a-alias", "ollama")):
        line = next(
            line for line in text.splitlines() if line.startswith("hotseat_requests_total{") and dialect in line
        )
        assert f'model="{model}"' in line
        assert line.endswith(" 1.0")


async def test_a_page_that_is_turned_off_is_gone_at_once(make_house: MakeHouse) -> None:
    house = await make_house(names="a")
    await house.up()
    assert house.http is not None
    assert house.serving is not None
    for text, status in ((house.text.replace("{port: 0,", "{port: 0, metrics: false,"), 404), (house.text, 200)):
        await reload(house, text)
        async with house.http.get(house.serving.gateway + "/metrics") as response:
            assert response.status == status
