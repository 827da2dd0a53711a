"""WebSockets and /upstream/NAME/...: everything passes, the seat is held, both ends see the other's end."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from gateway_stage import Stage
from wire import answer, connected, engine_that, exchange


@pytest.fixture
async def engine(stage: Stage) -> AsyncIterator[web.AppRunner]:
    """Echoes WebSockets; shows what else it is asked."""

    async def socket(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse(protocols=("a", "b"), max_msg_size=0)
        await response.prepare(request)
        async for message in response:
            if message.data == "bye":
                await response.close(code=4001, message=b"said bye")
            else:
                await response.send_bytes(message.data.encode() if isinstance(message.data, str) else message.data)
        return response

    async def show(request: web.Request) -> web.Response:
        return web.Response(
            text=f"{request.method} {request.rel_url.raw_path_qs} {(await request.read()).decode()}",
            headers={"Location": "/login", "Set-Cookie": "a=b; Path=/lab"},
        )

    app = web.Application()
    app.router.add_get("/v1/realtime", socket)
    app.router.add_get("/ws", socket)
    app.router.add_route("*", "/{path:.*}", show)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stage.seats.urls["m"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield runner
    await runner.cleanup()


@pytest.mark.parametrize("path", ["/v1/realtime?model=m", "/upstream/m/ws"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_websocket_both_ways(stage: Stage, engine: web.AppRunner, path: str, at_once: bool) -> None:
    stage.seats.at_once = at_once
    async with stage.client.ws_connect(stage.url + path, protocols=("b",)) as socket:
        assert socket.protocol == "b"
        assert len(stage.seats.leases) == 1
        for size in (1, 1000, 3_000_000):
            await socket.send_bytes(b"x" * size)
            assert len(await socket.receive_bytes()) == size
        await socket.send_str("bye")
        assert (await socket.receive()).type == aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4001
    async with asyncio.timeout(10):
        while stage.seats.leases:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def test_a_websocket_waits_for_its_seat_and_may_leave(stage: Stage, engine: web.AppRunner) -> None:
    stage.seats.open.clear()
    connecting = asyncio.ensure_future(stage.client.ws_connect(stage.url + "/v1/realtime?model=m"))
    await stage.seats.asked.wait()
    connecting.cancel()
    async with asyncio.timeout(10):
        while stage.seats.waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_websocket_that_is_refused(stage: Stage, engine: web.AppRunner) -> None:
    for path, status in (("/v1/realtime?model=none", 404), ("/v1/realtime", 400), ("/upstream/m/none", 200)):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await stage.client.ws_connect(stage.url + path)
        assert caught.value.status == status
    assert not stage.seats.leases


async def test_a_client_that_drops_its_websocket_ends_it_at_the_engine(stage: Stage) -> None:
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhi")
        assert await reader.readexactly(5) == b"early"
        assert await reader.read() == b""
        ended.set()

    async with engine_that(talk) as stage.seats.urls["m"]:
        async with connected(stage.port) as (reader, writer):
            writer.write(
                b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: localhost\r\n"
                b"Upgrade: x\r\nConnection: Upgrade\r\n\r\nearly"
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
            assert b"x-hotseat-workload: m" in head
            assert await reader.readexactly(2) == b"hi"
        async with asyncio.timeout(10):
            await ended.wait()
            while stage.seats.leases:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


async def test_a_tunnel_is_as_slow_as_its_reader(stage: Stage) -> None:
    written = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
        for _ in range(1000):
            writer.write(bytes(2**16))
            await writer.drain()
            written += 2**16
        writer.close()
        await writer.wait_closed()  # `drain` leaves up to 64 KiB, which this engine's end would throw away

    async with engine_that(talk) as stage.seats.urls["m"], connected(stage.port) as (reader, writer):
        writer.write(b"GET /v1/x?model=m HTTP/1.1\r\nHost: localhost\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while written != before:
            before = written
            await asyncio.sleep(0.2)
        assert written < 40 * 2**20
        async with asyncio.timeout(30):
            assert len(await reader.readexactly(1000 * 2**16)) == 1000 * 2**16


async def test_upstream_passes_everything_as_it_is(stage: Stage, engine: web.AppRunner) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        async with stage.client.request(
            method, stage.url + "/upstream/m/lab/../x?a=b%2F", data=b"" if method == "GET" else b"body"
        ) as response:
            assert response.headers["Location"] == "/login"
            assert response.headers["Set-Cookie"] == "a=b; Path=/lab"
            assert response.headers["x-hotseat-workload"] == "m"
            assert (await response.text()).startswith(f"{method} ")
    async with connected(stage.port) as (reader, writer):
        writer.write(
            b"GET /upstream/m HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"GET /upstream/m/a/b%2e?../c HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        assert (await answer(reader))[2] == b"GET / "
        assert (await answer(reader))[2] == b"GET /a/b%2e?../c "


async def test_a_browser_is_led_to_where_the_links_of_a_page_begin(stage: Stage) -> None:
    for asked, there in (("m", "./m/"), ("a%3Ab?x=1", "./a%3Ab/?x=1")):
        head = f"GET /upstream/{asked} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html,*/*\r\n"
        got = await exchange(stage.port, head.encode() + b"Connection: close\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 307 Temporary Redirect\r\n")
        assert f"\r\nLocation: {there}\r\n".encode() in got
    assert not stage.seats.given


@pytest.mark.parametrize(
    "path", ["../n", "a/..", "./a", "%2e%2e/n", "a/%2E./n", "a%2f..%2fn", "..%5Cn", "%252e%252e/n"]
)
async def test_upstream_with_a_segment_that_leads_elsewhere(stage: Stage, path: str) -> None:
    got = await exchange(
        stage.port, f"GET /upstream/m/{path}?x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    assert got.startswith(b"HTTP/1.1 400")
    assert b"segment . or .." in got
    assert not stage.seats.given


async def test_upstream_of_nobody_and_upstream_switched_off(stage: Stage) -> None:
    async with stage.client.get(stage.url + "/upstream/none/x") as response:
        assert response.status == 404
        assert "no workload 'none'" in (await response.json())["error"]["message"]
    stage.gateway.configure(stage.gateway.settings.model_copy(update={"upstream": False}))
    async with stage.client.get(stage.url + "/upstream/m/x") as response:
        assert response.status == 404
        assert "not served" in (await response.json())["error"]["message"]
