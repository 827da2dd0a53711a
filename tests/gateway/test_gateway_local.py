"""Which requests come from programs of this host, and which from a page in one of its browsers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from gateway_stage import Stage
from hypothesis import given
from hypothesis import strategies as st

from hotseat.config import Gateway as Settings
from hotseat.gateway.keys import KeyRing
from hotseat.gateway.local import host_is_local, may_use


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8000", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000", "a.localhost"]
)
def test_programs_of_this_host(host: str) -> None:
    assert host_is_local({"host": host})
    assert host_is_local({"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"})
    assert host_is_local({"host": host, "sec-fetch-site": "none"})


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example#localhost",
        "localhost@evil.example",
        "evil.example/localhost",
        "evil.example\\localhost",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::1",
        "localhost:port",
        "2130706433",
        ":8000",
    ],
)
def test_a_name_that_was_made_to_point_here(host: str) -> None:
    assert not host_is_local({"host": host})


@pytest.mark.parametrize(
    "more",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost:3000"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "file://localhost:8000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://localhost:8000", "sec-fetch-site": "cross-site"},
    ],
)
def test_a_page_of_somebody_else(more: dict[str, str]) -> None:
    assert not host_is_local({"host": "localhost:8000", **more})


def test_no_host_at_all() -> None:
    assert not host_is_local({})


@given(st.text(), st.none() | st.text())
def test_anything_else_is_answered_and_not_believed(host: str, origin: str | None) -> None:
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    if host_is_local(headers):
        bare = host.strip().lower()
        assert bare.startswith(("localhost", "127.", "[")) or ".localhost" in bare
        assert origin is None or origin.strip().lower().endswith(bare)


PROXIES = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"]


@pytest.mark.parametrize("name", PROXIES)
def test_what_a_proxy_passes_on_is_not_of_this_host(name: str) -> None:
    headers = {"host": "localhost:8000", name: "192.0.2.7"}
    assert not host_is_local(headers)
    assert not may_use(headers, acts=False, allowed=())
    assert may_use({**headers, "host": "ai.example"}, acts=True, allowed=["ai.example"])


@pytest.mark.parametrize(
    ("headers", "get", "post"),
    [
        ({"host": "localhost:8000"}, True, True),
        ({"host": "[::1]:8000"}, True, True),
        ({"host": "evil.example:8000"}, False, False),
        ({"host": "localhost@evil.example"}, False, False),
        ({}, True, True),
        ({"host": ""}, False, False),
        ({"via": "1.0 proxy"}, False, False),
        ({"host": "localhost", "origin": "https://evil.example"}, True, False),
        ({"host": "localhost", "origin": "null"}, True, False),
        ({"host": "localhost", "sec-fetch-site": "cross-site"}, True, False),
        ({"host": "localhost", "origin": "http://localhost:3000", "sec-fetch-site": "same-site"}, True, True),
        ({"host": "AI.example:80", "origin": "http://ai.example"}, True, True),
        ({"host": "ai.example", "origin": "https://evil.example"}, True, False),
        ({"host": "localhost", "origin": "http://ai.example", "sec-fetch-site": "cross-site"}, True, True),
    ],
)
def test_who_is_answered_without_keys(headers: dict[str, str], get: bool, post: bool) -> None:
    assert may_use(headers, acts=False, allowed=["ai.example"]) is get
    assert may_use(headers, acts=True, allowed=["ai.example"]) is post


async def asked(stage: Stage, path: str, **headers: str) -> int:
    if path == "/v1/completions":
        async with stage.client.post(stage.url + path, json={"model": "m"}, headers=headers) as response:
            return response.status
    async with stage.client.get(stage.url + path, headers=headers) as response:
        return response.status


async def test_a_page_whose_name_was_made_to_point_here_reaches_nothing_but_health(stage: Stage) -> None:
    for path in ("/v1/models", "/v1/completions", "/v1/completions", "/upstream/m/v1/models", "/api/tags"):
        assert await asked(stage, path, Host="evil.example") == 403
    assert await asked(stage, "/v1/completions", Origin="https://evil.example") == 403
    assert not stage.seats.given
    assert await asked(stage, "/health", Host="evil.example") == 200
    assert await asked(stage, "/v1/completions") == 200


async def test_a_websocket_of_a_page_elsewhere(stage: Stage) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert await asked(stage, "/v1/realtime?model=m", Origin="https://evil.example", **upgrade) == 403
    assert not stage.seats.given


async def test_names_that_are_answered_too_come_and_go_with_the_settings(
    make_stage: Callable[..., Awaitable[Stage]],
) -> None:
    stage = await make_stage()
    for _ in range(2):
        stage.gateway.configure(Settings(allowed_hosts=["Box.example"]))
        for _ in range(3):  # from the second time on the head is known
            assert await asked(stage, "/v1/completions", Host="box.example:8000") == 200
        stage.gateway.configure(Settings())
        assert await asked(stage, "/v1/completions", Host="box.example:8000") == 403


async def test_with_keys_the_name_does_not_matter(make_stage: Callable[..., Awaitable[Stage]]) -> None:
    import hashlib

    from hotseat.config import Key

    key = Key(hash="sha256:" + hashlib.sha256(b"k" * 40).hexdigest())
    stage = await make_stage(keys=KeyRing({"a": key}))
    for name in PROXIES:
        given = {"Authorization": "Bearer " + "k" * 40, name: "192.0.2.7"}
        assert await asked(stage, "/v1/completions", Host="ai.example", **given) == 200
    assert await asked(stage, "/v1/completions", Host="ai.example") == 401
