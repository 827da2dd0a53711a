"""Programs in Python, interposed: how they find the driver, forks, threads, and random uses of memory."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.interposer.conftest import Holder
from tests.interposer.programs import program

from hotseat.emulator import EmulatedNode, Fault, FaultKind


@pytest.mark.parametrize("way", ["dlsym", "cuGetProcAddress", "cuGetProcAddress_v2"])
async def test_however_it_finds_the_driver_its_memory_moves(
    interposed: dict[str, str], holder: Holder, way: str
) -> None:
    async with program(interposed) as run:
        await run("find", way)
        await run("alloc", "a", 5 << 20)
        await run("fill", "a", 7)
        assert (await holder("wait"))["lent"] == 0
        assert (await holder("yield"))["bytes"] == 6 << 20
        await holder.through("out", "in", "resume")
        assert await run("check", "a") == "same"


async def test_addresses_and_sizes_are_told_as_they_were_asked_for(interposed: dict[str, str]) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", (300 << 20) // 8 + 5)
        base, size, start, length = await run("range", "a", 4 << 20)
        assert (base, size) == (start, length) == (await run("address", "a"), (300 << 20) // 8 + 5)


async def test_a_child_begins_anew(interposed: dict[str, str], holder: Holder) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 << 20)
        await run("fill", "a", 3)
        first = await holder("wait")
        assert await run("fork") == "the child went on"
        assert (await holder("yield"))["bytes"] == 4 << 20
        assert "failed" not in await holder("resume")
        assert await run("check", "a") == "same"
        assert first["pid"] == run.process.pid


async def test_more_than_a_device_has_is_refused_whatever_the_size(interposed: dict[str, str]) -> None:
    async with program(interposed) as run:
        for size in (97 << 20, 1 << 52, 1 << 62, 2**64 - 1):
            assert await run("alloc", "a", size) == "no memory"
            assert await run("alloc async", "a", size) == "no memory"
        for granules in (49, 1 << 31, 1 << 41):
            assert await run("map", "a", granules) == "no memory"
        await run("alloc", "a", 4 << 20)
        assert await run("check", "a") == "same"


async def test_a_thread_that_ended_within_a_call_is_not_waited_for(interposed: dict[str, str], holder: Holder) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 << 20)
        await holder("wait")
        assert await run("end in a call") == "ok"
        await holder.through("yield", "out", "in", "resume")
        assert await run("check", "a") == "same"


async def test_who_allocates_during_a_yield_goes_on_after_it(interposed: dict[str, str], holder: Holder) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 << 20)
        await run("fill", "a", 3)
        await holder.through("wait", "yield")
        await run("alloc", "b", 8 << 20, wait=False)
        waiting = asyncio.create_task(run.answer())
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        await holder("resume")
        assert await waiting == "ok"
        await run("fill", "b", 9)
        assert [await run("check", name) for name in "ab"] == ["same", "same"]


async def test_a_lent_block_that_is_freed_is_told_of(interposed: dict[str, str], holder: Holder) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 << 20)
        await run("alloc", "b", 4 << 20)
        await run("fill", "b", 9)
        await holder.through("wait", "yield", "out", "in", "resume")
        await run("free", "a")
        assert (await holder("freed"))["freed"] > 0
        assert (await holder("yield"))["blocks"] == 1
        await holder.through("out", "in", "resume")
        assert await run("check", "b") == "same"


async def test_memory_of_another_process_is_a_reason_to_refuse(interposed: dict[str, str], holder: Holder) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 << 20)
        await run("fill", "a", 3)
        await holder("wait")
        await run("import")
        refused = await holder("yield")
        assert "another process" in refused["failed"]
        assert await run("check", "a") == "same"
        await run("release import")
        assert "failed" not in await holder("yield")
        await holder("resume")
        assert await run("check", "a") == "same"


@pytest.mark.parametrize("rollback", ["works", "fails"])
async def test_memory_that_cannot_be_unmapped_is_mapped_again_or_nobody_may_touch_it(
    interposed: dict[str, str], holder: Holder, node: EmulatedNode, rollback: str
) -> None:
    async with program(interposed) as run:
        for name in ("a", "b"):
            await run("alloc", name, 4 << 20)
            await run("fill", name, 3)
        await holder("wait")
        pid = run.process.pid
        node.set_fault(Fault(kind=FaultKind.RESULT, op="cuMemUnmap", pid=pid, value=206, skip=1, times=1))
        if rollback == "fails":
            node.set_fault(Fault(kind=FaultKind.RESULT, op="cuMemMap", pid=pid, value=205, times=1))
        assert "unmapping memory" in (await holder("yield"))["failed"]
        if rollback == "works":
            assert [await run("check", name) for name in "ab"] == ["same", "same"]
            assert "failed" not in await holder("yield")
        else:
            await run("check", "a", wait=False)
            waiting = asyncio.create_task(run.answer())
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            assert not done
            waiting.cancel()


async def test_a_device_that_stays_busy_costs_the_yield_and_nothing_else(
    interposed: dict[str, str], holder: Holder, node: EmulatedNode
) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 << 20)
        await run("fill", "a", 3)
        await holder("wait")
        hang = node.set_fault(Fault(kind=FaultKind.HANG, op="cuCtxSynchronize", pid=run.process.pid, times=None))
        for _ in range(2):  # the second one also outwaits the first one's wait
            refused = await holder("yield 300")
            assert "device's work did not end" in refused["failed"]
            assert refused["bytes"] == 4 << 20, "still mapped"
            assert await run("check", "a") == "same", "the gate is open"
        node.clear_fault(hang)
        assert (await holder("yield"))["bytes"] == 4 << 20
        await holder.through("out", "in", "resume")
        assert await run("check", "a") == "same"


async def test_what_may_be_shared_moves_until_it_is_shared(
    interposed: dict[str, str], holder: Holder, tmp_path: Path
) -> None:
    with (tmp_path / "stderr").open("w+b") as stderr:
        async with program(interposed, stderr=stderr) as run:
            for name in "ab":
                await run("map", name, 2, 1)
                await run("fill", name, 3)
            await holder("wait")
            assert (await run("share", "a"))[0] == 0
            assert (await holder("yield"))["bytes"] == 4 << 20, "b alone"
            await holder.through("out", "in", "resume")
            assert await run("check all") == []
            assert (await run("share", "a"))[0] == 0
            assert (await run("share", "b")) == [801, 801]
            await run("free", "a")
            assert (await holder("yield"))["bytes"] == 4 << 20
            await holder.through("out", "in", "resume")
            assert await run("check all") == []
        said = (tmp_path / "stderr").read_text()
        assert said.count("swapped once cannot be shared") == 1
        assert said.count("cannot be shared by cuIpcGetMemHandle") == 1


@pytest.mark.parametrize("node", [1100 << 20], indirect=True, ids=["1100 MiB"])
async def test_what_may_be_shared_moves_whatever_its_size(interposed: dict[str, str], holder: Holder) -> None:
    """vLLM's allocator may ask for gigabytes at a time in that way: one handle, and so one block."""
    async with program(interposed) as run:
        await run("map", "a", 514, 1)
        await holder("wait")
        yielded = await holder("yield")
        assert (yielded["blocks"], yielded["bytes"]) == (1, 514 << 21)
        await holder.through("out", "in", "resume")
        assert await run("check", "a") == "same"


@pytest.mark.parametrize("free_from", ["first", "its end"])
async def test_memory_of_a_context_ends_with_it(
    interposed: dict[str, str], holder: Holder, node: EmulatedNode, free_from: str
) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 << 20)
        before = [one.bytes for one in node.report().processes if one.pid == run.process.pid]
        await holder("wait")
        await run("other context", "b", 8 << 20, free_from)
        assert [one.bytes for one in node.report().processes if one.pid == run.process.pid] == before
        assert (await holder("yield"))["bytes"] == 4 << 20
        assert "failed" not in await holder("resume")
        assert await run("check", "a") == "same"


async def test_a_program_that_becomes_another_is_one_anew(interposed: dict[str, str], holder: Holder) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 << 20)
        await holder("wait")
        assert await run("exec") == "goes"
        await run("alloc", "b", 2 << 20)
        await run("fill", "b", 5)
        again = await holder("wait")
        assert (again["pid"], again["token"]) == (run.process.pid, 0)
        assert (await holder("yield"))["bytes"] == 2 << 20
        await holder.through("out", "in", "resume")
        assert await run("check", "b") == "same"


MOVES = st.sampled_from([["yield", "resume"], ["yield", "out", "in", "resume"], ["localise"]])
STEP = st.one_of(
    st.tuples(st.just("alloc"), st.integers(0, 5), st.integers(1, 5 << 20)),
    st.tuples(st.just("alloc async"), st.integers(0, 5), st.integers(1, 5 << 20)),
    st.tuples(st.just("map"), st.integers(0, 5), st.integers(1, 3)),
    st.tuples(st.just("free"), st.integers(0, 5)),
    st.tuples(st.just("fill"), st.integers(0, 5), st.integers(0, 255)),
    st.tuples(st.just("copy"), st.integers(0, 5), st.integers(0, 5)),
    st.tuples(st.just("move"), MOVES),
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, min_size=4, max_size=20))
async def test_random_programs_keep_every_byte(
    interposed: dict[str, str], holder: Holder, steps: list[tuple[Any, ...]]
) -> None:
    async with program(interposed) as run:
        await run("alloc", "first", 2 << 20)
        await holder("wait")
        for step in [*steps, ("move", ["yield", "out", "in", "resume"])]:
            if step[0] == "move":
                await holder.through(*step[1])
            else:
                await run(*step)
        assert await run("check all") == []
    await holder("forget")
