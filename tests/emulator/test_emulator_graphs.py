"""What a stream capture forbids, as cuda.h words it, and graphs that do what was captured."""

from __future__ import annotations

import pytest
from tests.interposer.programs import Program, program

from hotseat.emulator import EmulatedNode

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
UNSUPPORTED, INVALIDATED, WRONG_THREAD, ILLEGAL_STATE = 900, 901, 908, 401


async def begun(run: Program, mode: int) -> None:
    await run("alloc", "a", 4 << 20)
    await run("alloc", "b", 4 << 20)
    assert await run("capture", "begin", 1, mode) == 0
    await run("capture", "set", 1, "a", 7)


@pytest.mark.parametrize("mode", [GLOBAL, THREAD_LOCAL, RELAXED])
async def test_who_waits_for_its_context_ends_a_capture(node: EmulatedNode, mode: int) -> None:
    async with program(dict(node.environment())) as run:
        await begun(run, mode)
        assert await run("call", "cuCtxSynchronize") == UNSUPPORTED
        assert await run("capture", "end", 1) == INVALIDATED
        assert await run("call", "cuCtxSynchronize") == 0


@pytest.mark.parametrize(
    ("mode", "thread", "allowed"),
    [
        (GLOBAL, False, False),
        (GLOBAL, True, False),
        (THREAD_LOCAL, False, False),
        (THREAD_LOCAL, True, True),
        (RELAXED, False, True),
        (RELAXED, True, True),
    ],
)
async def test_unsafe_calls_end_it_as_its_mode_says(node: EmulatedNode, mode: int, thread: bool, allowed: bool) -> None:
    async with program(dict(node.environment())) as run:
        await begun(run, mode)
        free = ("free as told", "cuMemFree_v2", "b")
        assert await (run("thread", free) if thread else run(*free)) == (0 if allowed else UNSUPPORTED)
        assert await run("capture", "end", 1) == (0 if allowed else INVALIDATED)


async def test_a_thread_may_say_that_it_knows_what_it_does(node: EmulatedNode) -> None:
    async with program(dict(node.environment())) as run:
        await begun(run, GLOBAL)
        assert await run("capture", "mode", RELAXED) == GLOBAL
        assert await run("free as told", "cuMemFree_v2", "b") == 0
        assert await run("capture", "mode", GLOBAL) == RELAXED
        assert await run("capture", "end", 1) == 0


async def test_what_is_captured_is_done_when_the_graph_is_launched(node: EmulatedNode) -> None:
    async with program(dict(node.environment())) as run:
        await begun(run, GLOBAL)
        assert await run("thread", ["capture", "end", 1]) == WRONG_THREAD
        assert await run("capture", "end", 2) == ILLEGAL_STATE
        assert await run("capture", "begin", 1, GLOBAL) == ILLEGAL_STATE
        assert await run("capture", "end", 1) == 0
        assert await run("check", "a") == "different", "not yet"
        await run("capture", "launch", 1)
        assert await run("check", "a") == "same"
