"""Pages of a site beside inference, and who is an admin there."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from gateway_stage import Stage
from wire import connected, exchange

from hotseat.config.gateway import Key
from hotseat.errors import Refused
from hotseat.gateway.keys import KeyRing
from hotseat.gateway.site import Handler, Inquiry, Reply

Make = Callable[..., Awaitable[Stage]]
SECRET = "hs-the-key-of-this-test"


class Pages:
    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.go = asyncio.Event()
        self.inquiries: list[Inquiry] = []

    def find(self, method: str, path: str) -> Handler | None:
        return {"/page": self.page, "/events": self.events, "/no": self.no, "/bug": self.bug}.get(path)

    async def page(self, inquiry: Inquiry) -> Reply:
        self.inquiries.append(inquiry)
        return Reply(status=201, headers=[("Content-Type", "text/plain")], body=b"admin" if inquiry.admin else b"guest")

    async def no(self, inquiry: Inquiry) -> Reply:
        raise Refused("not now", rule="x")

    async def bug(self, inquiry: Inquiry) -> Reply:
        raise RuntimeError("secret detail")

    async def events(self, inquiry: Inquiry) -> Reply:
        return Reply(headers=[("Content-Type", "text/event-stream")], body=self._events())

    async def _events(self) -> AsyncIterator[bytes]:
        try:
            yield b"data: 1\n\n"
            await self.go.wait()
            yield b"data: 2\n\n"
        finally:
            self.closed.set()


@pytest.fixture
async def pages() -> Pages:
    return Pages()


async def test_a_page(make_stage: Make, pages: Pages) -> None:
    stage = await make_stage(site=pages)
    async with stage.client.post(stage.url + "/page?a=1&b=x%20y", data=b"body", headers={"X-Y": "z"}) as response:
        assert (response.status, await response.text()) == (201, "admin")
        assert response.headers["x-request-id"]
    (asked,) = pages.inquiries
    assert (asked.method, asked.path, dict(asked.query), asked.body) == (
        "POST",
        "/page",
        {"a": "1", "b": "x y"},
        b"body",
    )
    assert asked.headers["x-y"] == "z"
    async with stage.client.get(stage.url + "/no") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (409, "refused")
    async with stage.client.get(stage.url + "/bug") as response:
        assert response.status == 500
        assert "secret" not in await response.text()


async def test_events_stream_and_end(make_stage: Make, pages: Pages) -> None:
    stage = await make_stage(site=pages)
    async with stage.client.get(stage.url + "/events") as response:
        assert await response.content.readuntil(b"\n\n") == b"data: 1\n\n"
        pages.go.set()
        assert await response.read() == b"data: 2\n\n"
    assert pages.closed.is_set()


async def test_events_are_closed_when_the_client_leaves(make_stage: Make, pages: Pages) -> None:
    stage = await make_stage(site=pages)
    async with connected(stage.port) as (reader, writer):
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"data: 1\n\n")
    async with asyncio.timeout(10):
        await pages.closed.wait()


async def test_a_page_takes_no_large_body(make_stage: Make, pages: Pages) -> None:
    stage = await make_stage(site=pages)
    async with stage.client.post(stage.url + "/page", data=io.BytesIO(b"x" * (2**16 + 1))) as response:
        assert response.status == 413
    assert not pages.inquiries


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("Host: localhost", b"admin"),
        ("Host: rebound.example", b'"code":"forbidden"}}'),
        ("Host: localhost\r\nX-Forwarded-For: 192.0.2.7", b'"code":"forbidden"}}'),
        ("Host: localhost\r\nOrigin: http://evil.example", b"guest"),
    ],
)
async def test_without_keys_who_sits_here_is_the_admin_and_no_web_page(
    make_stage: Make, pages: Pages, lines: str, said: bytes
) -> None:
    stage = await make_stage(site=pages)
    got = await exchange(stage.port, f"GET /page HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n".encode())
    assert got.endswith(said)


async def test_with_keys_only_an_admins_key_counts(make_stage: Make, pages: Pages) -> None:
    hashed = f"sha256:{hashlib.sha256(SECRET.encode()).hexdigest()}"
    stage = await make_stage(site=pages, keys=KeyRing({"boss": Key(hash=hashed, admin=True, models=["m"])}))
    for headers, said in (({}, "guest"), ({"Authorization": f"Bearer {SECRET}"}, "admin")):
        async with stage.client.get(stage.url + "/page", headers=headers) as response:
            assert await response.text() == said
    async with stage.post() as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
    headers = {"Authorization": f"Bearer {SECRET}", "X-Other": "1"}
    for model, status in (("m", 200), ("other", 403)):
        async with stage.client.post(stage.url + "/v1/completions", json={"model": model}, headers=headers) as response:
            assert response.status == status
    (asked,) = stage.engine.asked
    got = {name.lower() for name, _ in asked.headers}
    assert "authorization" not in got
    assert "x-other" in got
