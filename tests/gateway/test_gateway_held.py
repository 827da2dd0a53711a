"""What the bodies of requests that wait hold together is bounded, and given back when they end, however they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from gateway_stage import Stage
from wire import answer, connected, engine_that, post

from hotseat.errors import Unavailable
from hotseat.gateway.held import Held

MIB = 2**20
MakeStage = Callable[..., Awaitable[Stage]]


def body(size: int) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 1, "messages": [], "prompt": "x" * size}).encode()


async def until_held(stage: Stage, count: int) -> None:
    async with asyncio.timeout(20):
        while stage.gateway.held_bytes != count:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def test_what_is_refused_is_not_counted() -> None:
    held = Held()
    held.most = 10
    first = held.change(0, 6)
    with pytest.raises(Unavailable, match="hold 6 bytes") as caught:
        held.change(0, 5)
    assert caught.value.details["retry_after"] == 1.0
    assert held.bytes == 6
    held.most = 3  # after a reload: those that are there stay, and may become smaller
    assert held.change(first, 5) == 5
    assert held.change(5, 0) == held.bytes == 0


@pytest.mark.parametrize(("path", "kind"), [("/v1/completions", "server_error"), ("/v1/messages", "overloaded_error")])
async def test_one_more_than_all_may_hold_is_refused_and_the_others_are_served(
    make_stage: MakeStage, path: str, kind: str
) -> None:
    stage = await make_stage(max_body=MIB, max_held=MIB)
    stage.seats.open.clear()
    large = body(MIB * 3 // 4)
    async with connected(stage.port) as (reader, writer), connected(stage.port) as (late, more):
        writer.write(post(large))
        await until_held(stage, len(large))
        more.write(post(large, path=path))
        status, headers, said = await answer(late)
        assert (status, headers["retry-after"]) == (503, "1")
        assert json.loads(said)["error"]["type"] == kind
        assert b"gateway.max_held" in said
        assert stage.gateway.held_bytes == len(large)
        async with connected(stage.port) as (small, ask):
            ask.write(post(body(1000)))
            stage.seats.open.set()
            assert (await answer(small))[0] == 200
        assert (await answer(reader))[0] == 200
    assert stage.gateway.held_bytes == 0


async def test_whoever_leaves_makes_room(make_stage: MakeStage) -> None:
    stage = await make_stage(max_body=MIB, max_held=MIB)
    stage.seats.open.clear()
    large = body(MIB * 3 // 4)
    for sent in (len(large) // 2, len(large)):
        async with connected(stage.port) as (_, writer):
            writer.write(post(large)[:sent])
            async with asyncio.timeout(20):
                while not stage.gateway.held_bytes:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        await until_held(stage, 0)
    async with connected(stage.port) as (reader, writer):
        writer.write(post(large))
        stage.seats.open.set()
        assert (await answer(reader))[0] == 200


async def test_a_file_that_was_sent_on_is_held_no_more(make_stage: MakeStage) -> None:
    stage = await make_stage(max_body=4 * MIB, max_held=4 * MIB)
    stage.seats.open.clear()
    sent, end = bytes(2 * MIB), b"the end"
    whole, go_on = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(sent))
        whole.set()
        await go_on.wait()
        await reader.readexactly(len(end))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with engine_that(talk) as stage.seats.urls["m"], connected(stage.port) as (reader, writer):
        head = post(sent + end, "x-hotseat-model: m", "Content-Type: audio/wav", path="/v1/audio/transcriptions")
        writer.write(head[: -len(end)])
        await until_held(stage, len(sent))
        stage.seats.open.set()
        async with asyncio.timeout(20):
            await whole.wait()
        await until_held(stage, 0)
        go_on.set()
        writer.write(end)
        assert (await answer(reader))[2] == b"ok"


async def test_a_large_body_alone_always_fits(make_stage: MakeStage) -> None:
    stage = await make_stage(max_body=2 * MIB, max_held=0)
    async with connected(stage.port) as (reader, writer):
        writer.write(post(body(MIB)))
        assert (await answer(reader))[0] == 200
