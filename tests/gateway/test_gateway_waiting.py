"""While a request waits for its seat, and while its workload is parked in mid-answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from gateway_stage import Stage
from wire import asked, engine_that

from hotseat.errors import NoRoom
from hotseat.gateway import headers

COMMENT = b": hotseat: "


def events(stream: bytes) -> list[bytes]:
    """The events of a stream without its comments, as any SSE reader sees them."""
    blocks = [block for block in stream.split(b"\n\n") if block]
    return [block for block in blocks if not block.startswith(b":")]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def test_an_answer_keeps_its_true_status_when_the_wait_is_short(stage: Stage) -> None:
    stage.seats.open.clear()
    stage.engine.status = 422
    asking = asyncio.ensure_future(stage.post(stream=True).__aenter__())
    await stage.seats.asked.wait()
    stage.seats.open.set()
    response = await asking
    assert response.status == 422
    response.close()


async def test_a_stream_that_waits_gets_comments_then_the_answer(
    make_stage: Callable[..., Awaitable[Stage]],
) -> None:
    stage = await make_stage(keepalive=0.02)
    stage.seats.open.clear()
    async with stage.post(stream=True) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert headers.REQUEST_ID in response.headers
        for _ in range(3):
            assert (await response.content.readuntil(b"\n\n")).startswith(COMMENT)
        stage.seats.open.set()
        rest = await response.read()
    assert events(rest) == events(stage.engine.whole_stream)
    assert b": seated after 0.2 s" in rest


async def test_what_is_not_a_stream_waits_without_a_byte(make_stage: Callable[..., Awaitable[Stage]]) -> None:
    stage = await make_stage(keepalive=0.01)
    stage.seats.open.clear()
    asking = asyncio.ensure_future(stage.post().__aenter__())
    await stage.seats.asked.wait()
    await asyncio.sleep(0.05)
    assert not asking.done()
    stage.seats.open.set()
    response = await asking
    assert response.status == 200
    assert headers.WORKLOAD in response.headers
    await response.read()


async def test_sound_in_pieces_waits_without_a_byte_too(make_stage: Callable[..., Awaitable[Stage]]) -> None:
    """Some engines take `stream` for sound in pieces: that is no stream of events, and none must stand before it."""
    stage = await make_stage(keepalive=0.01)
    stage.seats.open.clear()
    sound = bytes(range(256)) * 100

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nConnection: close\r\n\r\n" + sound)
        await writer.drain()
        writer.close()

    async with engine_that(talk) as stage.seats.urls["m"]:
        asking = asyncio.ensure_future(stage.post("/v1/audio/speech", input="x", stream=True).__aenter__())
        await stage.seats.asked.wait()
        await asyncio.sleep(0.1)
        stage.seats.open.set()
        response = await asking
        assert (response.status, response.headers["Content-Type"]) == (200, "audio/mpeg")
        assert await response.read() == sound


async def test_a_refusal_after_the_head_comes_as_an_event(make_stage: Callable[..., Awaitable[Stage]]) -> None:
    stage = await make_stage(keepalive=0.01)
    stage.seats.open.clear()
    stage.seats.error = NoRoom("no seat", retry_after=3)
    async with stage.post(stream=True) as response:
        assert response.status == 200
        await response.content.readuntil(b"\n\n")
        stage.seats.open.set()
        error, done = events(await response.read())
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "no_room"
    assert done == b"data: [DONE]"


async def test_an_engines_refusal_after_the_head_comes_as_an_event(
    make_stage: Callable[..., Awaitable[Stage]],
) -> None:
    stage = await make_stage(keepalive=0.01)
    stage.seats.open.clear()
    stage.engine.status = 422
    async with stage.post(stream=True) as response:
        await response.content.readuntil(b"\n\n")
        stage.seats.open.set()
        error, _ = events(await response.read())
    message = json.loads(error.removeprefix(b"data: "))["error"]["message"]
    assert "422" in message
    assert "the engine refuses" in message


@pytest.mark.parametrize("after", [0, 3])
async def test_comments_while_frozen_and_then_every_byte(
    make_stage: Callable[..., Awaitable[Stage]], after: int
) -> None:
    stage = await make_stage(keepalive=0.02)
    stage.engine.hold_after = after
    async with stage.post(stream=True) as response:
        before = b"".join([await response.content.readuntil(b"\n\n") for _ in range(after)])
        await stage.engine.reached_hold.wait()
        (lease,) = stage.seats.leases
        lease.frozen = True
        for _ in range(3):
            assert (await response.content.readuntil(b"\n\n")).startswith(COMMENT)
        lease.frozen = False
        stage.engine.go.set()
        whole = before + await response.read()
    assert events(whole) == events(stage.engine.whole_stream)


async def test_no_comment_inside_an_event(make_stage: Callable[..., Awaitable[Stage]]) -> None:
    """The engine is parked in the middle of an event; a comment now would break it in two."""
    from aiohttp import web

    stage = await make_stage(keepalive=0.01)
    go = asyncio.Event()

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"half":')
        await go.wait()
        await response.write(b" 1}\n\n")
        return response

    app = web.Application()
    app.router.add_post("/{path:.*}", half)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stage.seats.urls["m"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with stage.post(stream=True) as response:
            assert await response.content.readany() == b'data: {"half":'
            stage.seats.leases[0].frozen = True
            await asyncio.sleep(0.1)
            go.set()
            assert await response.read() == b" 1}\n\n"
    finally:
        await runner.cleanup()


async def test_a_client_that_leaves_while_it_waits_gives_up_its_wait(stage: Stage) -> None:
    stage.seats.open.clear()
    asking = asyncio.ensure_future(stage.post(stream=True).__aenter__())
    await stage.seats.asked.wait()
    asking.cancel()
    await until(lambda: stage.seats.waiting == 0)
    assert not stage.engine.asked


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_before_the_first_token_stops_the_engine(stage: Stage, stream: bool) -> None:
    stage.engine.hold_after = 0
    asking = asyncio.ensure_future(stage.post(stream=stream).__aenter__())
    await stage.engine.reached_hold.wait()
    if asking.done():
        asking.result().close()
    else:
        asking.cancel()
    await until(lambda: stage.engine.asked[0].cancelled)
    await until(lambda: not stage.seats.leases)


async def test_a_client_that_leaves_in_mid_stream_stops_the_engine(stage: Stage) -> None:
    stage.engine.hold_after = 2
    async with stage.post(stream=True) as response:
        await response.content.readuntil(b"\n\n")
        await stage.engine.reached_hold.wait()
        response.close()
    await until(lambda: stage.engine.asked[0].cancelled)
    await until(lambda: not stage.seats.leases)


async def test_one_clients_departure_is_no_other_ones_business(stage: Stage) -> None:
    stage.engine.hold_after = 2
    leaver = await stage.post(stream=True).__aenter__()
    async with stage.post(stream=True) as response:
        await until(lambda: len(stage.engine.asked) == 2)
        leaver.close()
        await until(lambda: any(asked.cancelled for asked in stage.engine.asked))
        stage.engine.go.set()
        assert await response.read() == stage.engine.whole_stream


async def test_an_engine_that_is_seated_and_says_nothing_is_given_up(
    make_stage: Callable[..., Awaitable[Stage]],
) -> None:
    stage = await make_stage(max_silence=0.1)
    stage.engine.hold_after = 0
    async with stage.post() as response:
        assert response.status == 504
        assert (await response.json())["error"]["code"] == "engine_timeout"
    await until(lambda: stage.engine.asked[0].cancelled)


async def test_time_off_the_gpu_is_not_silence(make_stage: Callable[..., Awaitable[Stage]]) -> None:
    stage = await make_stage(max_silence=0.1)
    stage.engine.hold_after = 0
    asking = asyncio.ensure_future(stage.post().__aenter__())
    await stage.engine.reached_hold.wait()
    stage.seats.leases[0].frozen = True
    await asyncio.sleep(0.4)
    stage.seats.leases[0].frozen = False
    stage.engine.go.set()
    response = await asking
    assert response.status == 200
    await response.read()
