"""Graphs that are captured while memory is asked for: nothing is done that ends a capture."""

from __future__ import annotations

import asyncio

import pytest
from tests.interposer.conftest import Holder
from tests.interposer.programs import program

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
MODES = pytest.mark.parametrize("mode", [GLOBAL, THREAD_LOCAL, RELAXED], ids=["global", "thread-local", "relaxed"])


@MODES
@pytest.mark.parametrize("given", [False, True], ids=["new graph", "given graph"])
async def test_a_capture_that_goes_on_costs_the_yield_and_not_the_graph(
    interposed: dict[str, str], holder: Holder, mode: int, given: bool
) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 << 20)
        await holder("wait")
        assert await run("capture", "begin", 1, mode, given) == 0
        await run("capture", "set", 1, "a", 7)
        for question in ("yield 200", "yield 200"):
            refused = await holder(question)
            assert "graph" in refused["failed"]
            assert refused["result"] == -16, "EBUSY"
        assert await run("capture", "end", 1) == 0
        await run("capture", "launch", 1)
        assert await run("check", "a") == "same"
        await holder.through("yield", "out", "in", "resume")
        await run("fill", "a", 3)
        await run("capture", "launch", 1)
        await run("fill", "a", 7)
        assert await run("check", "a") == "same"


async def test_so_does_one_that_a_newer_call_has_begun(interposed: dict[str, str], holder: Holder) -> None:
    async with program(interposed) as run:
        await run("ask", "dlsym", "cuStreamBeginRecaptureToGraph")
        await run("alloc", "a", 4 << 20)
        await holder("wait")
        assert await run("capture", "begin", 1, GLOBAL) == 0
        assert await run("capture", "end", 1) == 0
        assert await run("capture", "begin again", 1, GLOBAL) == 0
        await run("capture", "set", 1, "a", 7)
        assert "graph" in (await holder("yield 200"))["failed"]
        assert await run("capture", "end", 1) == 0
        await holder.through("yield", "out", "in", "resume")
        await run("capture", "launch", 1)
        assert await run("check", "a") == "same"


async def test_a_yield_outwaits_a_capture(interposed: dict[str, str], holder: Holder) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 << 20)
        await holder("wait")
        assert await run("capture", "begin", 1, GLOBAL) == 0
        yielded = asyncio.create_task(holder("yield 15000"))
        await run("capture", "set", 1, "a", 7)
        done, _ = await asyncio.wait([yielded], timeout=0.2)
        assert not done
        assert await run("capture", "begin", 2, GLOBAL) == 0, "a thread that captures already is not held up"
        assert [await run("capture", "end", one) for one in (2, 1)] == [0, 0]
        assert (await yielded)["bytes"] == 4 << 20
        await holder("resume")
        await run("capture", "launch", 1)
        assert await run("check", "a") == "same"


async def test_one_graph_after_the_other_leaves_room_for_a_yield(interposed: dict[str, str], holder: Holder) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 << 20)
        await holder("wait")
        await run("capture", "on and on", "a")
        for _ in range(5):
            assert (await holder("yield 15000"))["bytes"] == 4 << 20
            await holder.through("out", "in", "resume")
        assert await run("capture", "no more") == "ok"
        assert await run("check", "a") == "same"


@MODES
@pytest.mark.parametrize("thread", [False, True], ids=["own thread", "another thread"])
async def test_what_is_freed_during_a_capture_is_released_after_it(
    interposed: dict[str, str], holder: Holder, mode: int, thread: bool
) -> None:
    async with program(interposed) as run:
        for key, size in (("a", 4 << 20), ("b", 80 << 20)):
            await run("alloc", key, size)
        await holder("wait")
        assert await run("capture", "begin", 1, mode) == 0
        await run("capture", "set", 1, "a", 7)
        free = ("free as told", "cuMemFree_v2", "b")
        assert await (run("thread", free) if thread else run(*free)) == 0
        assert await run("capture", "end", 1) == 0
        await run("capture", "launch", 1)
        assert await run("alloc", "c", 80 << 20) == "ok"
        assert (await holder("yield"))["bytes"] == 84 << 20
        await holder.through("out", "in", "resume")
        assert await run("check all") == []


async def test_memory_that_is_in_no_graph_is_not_freed_by_one(interposed: dict[str, str]) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 << 20)
        assert await run("capture", "begin", 1, GLOBAL) == 0
        at = await run("address", "a")
        stream = await run("capture", "stream", 1)
        assert await run("call", "cuMemFreeAsync", {"u64": at}, {"u64": stream}) == 1
        await run("capture", "set", 1, "a", 7)
        assert await run("capture", "end", 1) == 0
        await run("capture", "launch", 1)
        assert await run("check", "a") == "same"


async def test_a_stream_that_ends_in_its_capture_is_no_reason_to_wait(
    interposed: dict[str, str], holder: Holder
) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 << 20)
        await holder("wait")
        assert await run("capture", "begin", 1, GLOBAL) == 0
        await run("capture", "destroy", 1)
        assert (await holder("yield"))["bytes"] == 4 << 20
        await holder.through("out", "in", "resume")
        assert await run("check", "a") == "same"
