"""A WebSocket over which nothing goes holds no seat: a tab left open must not bring its workload back for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from gateway_stage import Stage
from wire import connected, engine_that

from hotseat.errors import NoRoom
from hotseat.gateway import tunnel
from hotseat.gateway.frames import only_control

Make = Callable[..., Awaitable[Stage]]
UPGRADE = b"GET %b HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
PING, PONG = b"\x89\x80mask", b"\x8a\x00"
QUESTION, ANSWER = b"\x81\x81maskA", b"\x81\x01B"


@pytest.fixture
async def stage(make_stage: Make, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """An engine that answers pings at once, and questions when it is told to."""
    monkeypatch.setattr(tunnel, "REST", 0.1)
    stage = await make_stage(keepalive=0.02)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")

        async def push() -> None:
            await pushed.wait()
            writer.write(ANSWER)

        pushing = asyncio.create_task(push())
        try:
            while data := await reader.read(1 << 16):
                if only_control(data):
                    writer.write(PONG)
                else:
                    await stage.engine.go.wait()
                    writer.write(ANSWER)
        finally:
            pushing.cancel()

    pushed = stage.engine.reached_hold
    stage.engine.go.set()
    async with engine_that(talk) as stage.seats.urls["m"]:
        yield stage


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def opened(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: bytes) -> None:
    writer.write(UPGRADE % path)
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("path", [b"/v1/realtime?model=m", b"/upstream/m/ws"])
async def test_at_rest_it_holds_no_seat_and_waits_for_one_when_it_speaks(
    stage: Stage, path: bytes, at_once: bool
) -> None:
    stage.seats.at_once = at_once
    async with connected(stage.port) as (reader, writer):
        await opened(reader, writer, path)
        for _ in range(2):
            writer.write(QUESTION)
            assert await reader.readexactly(len(ANSWER)) == ANSWER
            await until(lambda: not stage.seats.leases)
            stage.seats.open.clear()
            writer.write(QUESTION)
            await until(lambda: stage.seats.waiting == 1)
            writer.write(QUESTION)
            stage.seats.open.set()
            assert await reader.readexactly(len(ANSWER)) == ANSWER
            assert len(stage.seats.leases) == 1
            await until(lambda: not stage.seats.leases)


async def test_pings_are_answered_and_are_no_work(stage: Stage) -> None:
    async with connected(stage.port) as (reader, writer):
        await opened(reader, writer, b"/v1/realtime?model=m")
        for _ in range(40):
            writer.write(PING)
            assert await reader.readexactly(2) == PONG
            await asyncio.sleep(0.01)
        assert not stage.seats.leases


async def test_who_waits_for_an_answer_is_not_at_rest(stage: Stage) -> None:
    stage.engine.go.clear()
    async with connected(stage.port) as (reader, writer):
        await opened(reader, writer, b"/v1/realtime?model=m")
        writer.write(QUESTION)
        await asyncio.sleep(0.4)
        assert len(stage.seats.leases) == 1
        stage.engine.go.set()
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        await until(lambda: not stage.seats.leases)


async def test_time_off_the_gpu_is_no_rest(stage: Stage) -> None:
    async with connected(stage.port) as (reader, writer):
        await opened(reader, writer, b"/v1/realtime?model=m")
        (lease,) = stage.seats.leases
        lease.frozen = True
        await asyncio.sleep(0.4)
        assert stage.seats.leases == [lease]
        lease.frozen = False
        await until(lambda: not stage.seats.leases)


async def test_turns_in_the_seat_that_are_short_add_up(stage: Stage) -> None:
    async with connected(stage.port) as (reader, writer):
        await opened(reader, writer, b"/v1/realtime?model=m")
        (lease,) = stage.seats.leases
        async with asyncio.timeout(10):
            while stage.seats.leases:
                lease.frozen = not lease.frozen
                await asyncio.sleep(0.05)


async def test_an_engine_that_speaks_by_itself_is_at_work(stage: Stage) -> None:
    async with connected(stage.port) as (reader, writer):
        await opened(reader, writer, b"/v1/realtime?model=m")
        await until(lambda: not stage.seats.leases)
        stage.engine.reached_hold.set()
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        await until(lambda: stage.seats.given == 2)
        await until(lambda: not stage.seats.leases)


async def test_who_leaves_at_rest_or_while_it_waits_is_gone(stage: Stage) -> None:
    for waiting in (0, 1):
        async with connected(stage.port) as (reader, writer):
            await opened(reader, writer, b"/v1/realtime?model=m")
            await until(lambda: not stage.seats.leases)
            if waiting:
                stage.seats.open.clear()
                writer.write(QUESTION)
                await until(lambda: stage.seats.waiting == 1)
        await until(lambda: not stage.seats.waiting and not stage.gateway._desk.pool._all)
        stage.seats.open.set()
        assert not stage.seats.leases


async def test_without_a_seat_to_come_back_to_it_is_closed(stage: Stage) -> None:
    async with connected(stage.port) as (reader, writer):
        await opened(reader, writer, b"/v1/realtime?model=m")
        await until(lambda: not stage.seats.leases)
        stage.seats.error = NoRoom("no seat", retry_after=3)
        writer.write(QUESTION)
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(10):
                await reader.read()
    await until(lambda: not stage.gateway._desk.pool._all)


@pytest.mark.parametrize(
    ("data", "control"),
    [
        (PING, True),
        (PONG, True),
        (PING + PING + b"\x89\x82maskab", True),
        (QUESTION, False),
        (PING + QUESTION, False),
        (PING[:3], False),
        (b"\x89\x7e\x00\x80" + bytes(128), False),
        (b"\x88\x00", False),
        (b"", False),
    ],
)
def test_what_is_only_pings_and_pongs(data: bytes, control: bool) -> None:
    assert only_control(data) is control
