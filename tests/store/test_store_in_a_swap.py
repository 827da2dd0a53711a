"""Whole swaps by hotseat with real processes: the emulated driver, a store, and agents that hold device memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from store_bench import WITHIN, Bench, short

from hotseat.daemon.wiring import Runtime, build
from hotseat.emulator.faults import Fault, FaultKind
from hotseat.emulator.node import EmulatedNode
from hotseat.errors import Refused, RolledBack
from hotseat.store.port import HeldState, Status
from hotseat.store.wire import GRANULE
from hotseat.swap.port import Workload
from hotseat.words import ProcessRef, State

pytestmark = pytest.mark.emulated
CONTEXT = GRANULE
"""What the node takes for a context."""


def environ(bench: Bench, *, socket: str = "control.sock") -> dict[str, str]:
    return {**bench.environ, "HOTSEAT_STORE_CONTROL": str(bench.directory / socket)}


async def workload(runtime: Runtime, pid: int) -> Workload:
    return await runtime.find_workload(str(pid))


async def test_a_process_is_parked_and_seated_byte_by_byte_by_the_store(bench: Bench, tmp_path: Path) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 4, 100)
    await one.ask("alloc", 2, 2, 0)
    async with build(state=tmp_path / "state", environ=environ(bench)) as runtime:
        it = await workload(runtime, one.ref.pid)
        for seed in (500, 501, 502):  # the first time its blocks are its own, later they are lent
            await one.ask("write", 1, 3, seed)
            before = await one.ask("read")
            out = await runtime.swapper.swap_out(it)
            assert out.interposed == (one.ref,)
            assert await bench.state(one) is HeldState.OUT
            seen = await runtime.swapper.observe(it)
            assert (seen.state, seen.way.name) == (State.PARKED, "interposed")
            assert seen.parked_gpu_bytes == {0: 6 * GRANULE + CONTEXT}
            back = await runtime.swapper.swap_in(it)
            assert back.gpu_bytes == out.gpu_bytes == {0: 6 * GRANULE + CONTEXT}
            assert await bench.state(one) is HeldState.RUNNING
            assert await one.ask("read") == before


async def test_a_device_that_the_two_fill_in_turn_has_room_for_each(node: EmulatedNode, tmp_path: Path) -> None:
    """Nothing is counted twice: each takes more than half of the device."""
    async with (
        Bench(node, tmp_path / "store", arena=96) as bench,
        build(state=tmp_path / "state", environ=environ(bench)) as runtime,
    ):
        first, second = await bench.start(), await bench.start()
        await first.ask("alloc", 1, 40, 100)
        one, two = await workload(runtime, first.ref.pid), await workload(runtime, second.ref.pid)
        before = await first.ask("read")
        await runtime.swapper.swap_out(one)
        await second.ask("alloc", 1, 40, 900)
        other = await second.ask("read")
        for _ in range(2):
            await runtime.swapper.swap_out(two)
            await runtime.swapper.swap_in(one)
            assert await first.ask("read") == before
            await runtime.swapper.swap_out(one)
            await runtime.swapper.swap_in(two)
            assert await second.ask("read") == other


async def test_the_stores_worker_may_die_while_the_workload_is_parked(bench: Bench, tmp_path: Path) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 4, 100)
    before = await one.ask("read")
    async with build(state=tmp_path / "state", environ=environ(bench)) as runtime:
        it = await workload(runtime, one.ref.pid)
        await runtime.swapper.swap_out(it)
        await bench.kill_worker()
        await runtime.swapper.swap_in(it)
    assert await one.ask("read") == before


async def test_lent_memory_is_not_parked_without_the_store(bench: Bench, tmp_path: Path) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 4, 100)
    before = await one.ask("read")
    async with build(state=tmp_path / "state", environ=environ(bench)) as runtime:
        it = await workload(runtime, one.ref.pid)
        await runtime.swapper.swap_out(it)
        await runtime.swapper.swap_in(it)
    async with build(state=tmp_path / "state", environ=environ(bench, socket="nobody.sock")) as alone:
        with pytest.raises(Refused, match="could not be restored"):
            await alone.swapper.swap_out(it)
    assert await one.ask("read") == before


async def test_what_came_ahead_is_given_up_for_one_that_cannot_leave_after_all(
    node: EmulatedNode, tmp_path: Path
) -> None:
    """The next one is there in part, and more of it comes while the last one's blocks go out; its checkpoint fails."""
    async with (
        Bench(node, tmp_path / "store", arena=96) as bench,
        build(state=tmp_path / "state", environ=environ(bench)) as runtime,
    ):
        swapper, contents = runtime.swapper, dict[ProcessRef, object]()
        workloads = list[Workload]()
        for seed in (100, 5000):
            agent = await bench.start()
            for block in range(5):
                await agent.ask("alloc", block + 1, 8, seed + 100 * block)
            contents[agent.ref] = await agent.ask("read")
            workloads.append(await workload(runtime, agent.ref.pid))
            if seed == 100:
                first = agent
                await swapper.swap_out(workloads[0])
        coming, going = workloads

        def here(status: Status) -> bool:
            return sum(status.processes[first.ref].ahead_bytes.values()) > 0

        await swapper.ahead(coming)
        await bench.until(here)
        bench.node.set_fault(Fault(kind=FaultKind.RESULT, op="checkpoint", pid=agent.ref.pid, value=999))
        with pytest.raises(RolledBack):
            await swapper.swap_out(going)
        assert (await swapper.observe(going)).state is State.SEATED
        assert await agent.ask("read") == contents[agent.ref]
        assert not here(await bench.client.status(deadline=WITHIN))
        out = await swapper.swap_out(going)
        await swapper.ahead(coming)
        await bench.until(here)
        back = await swapper.swap_in(coming)
        assert out.gpu_bytes == back.gpu_bytes == {0: 40 * GRANULE + CONTEXT}
        assert await first.ask("read") == contents[first.ref]
        await swapper.swap_out(coming)
        await swapper.swap_in(going)
        assert await agent.ask("read") == contents[agent.ref]


async def test_a_process_that_refuses_to_yield_runs_on(bench: Bench, tmp_path: Path) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 4, 100)
    before = await one.ask("read")
    async with build(state=tmp_path / "state", environ=environ(bench)) as runtime:
        it = await workload(runtime, one.ref.pid)
        await one.ask("refuse")
        with pytest.raises(RolledBack, match="take"):
            await runtime.swapper.swap_out(it)
        assert (await runtime.swapper.observe(it)).state is State.SEATED
        assert await one.ask("read") == before
        await runtime.swapper.swap_out(it)
        await runtime.swapper.swap_in(it)
    assert await one.ask("read") == before


async def test_a_checkpoint_that_fails_brings_blocks_and_all_back(bench: Bench, tmp_path: Path) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 4, 100)
    before = await one.ask("read")
    async with build(state=tmp_path / "state", environ=environ(bench)) as runtime:
        it = await workload(runtime, one.ref.pid)
        bench.node.set_fault(Fault(kind=FaultKind.RESULT, op="checkpoint", pid=one.ref.pid, value=999))
        with pytest.raises(RolledBack):
            await runtime.swapper.swap_out(it)
        assert (await runtime.swapper.observe(it)).state is State.SEATED
    assert await one.ask("read") == before


async def test_a_context_that_stays_is_there_for_the_next_hotseat(bench: Bench, tmp_path: Path) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 4, 100)
    await one.ask("alloc", 2, 2, 0)
    before = await one.ask("read")
    used = bench.node.report().used_bytes[0]
    async with build(state=tmp_path / "state", environ=environ(bench)) as runtime:
        out = await runtime.swapper.swap_out(await workload(runtime, one.ref.pid), keep=True)
        assert out.gpu_bytes == {0: 6 * GRANULE}
        assert bench.node.report().used_bytes[0] == used - 6 * GRANULE
    async with build(state=tmp_path / "state", environ=environ(bench)) as runtime:
        it = await workload(runtime, one.ref.pid)
        seen = await runtime.swapper.observe(it)
        assert (seen.state, seen.parked_gpu_bytes) == (State.PARKED, {0: 6 * GRANULE})
        assert seen.gpu_bytes == seen.kept_gpu_bytes == {0: CONTEXT}
        assert [phase.name for phase in (await runtime.swapper.swap_in(it)).phases if phase.name == "restore"]
        assert await one.ask("read") == before
        assert (await runtime.swapper.observe(it)).context_gpu_bytes == {0: CONTEXT}


async def test_a_context_that_stayed_leaves_when_it_is_to(bench: Bench, tmp_path: Path) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 4, 100)
    before = await one.ask("read")
    used = bench.node.report().used_bytes[0]
    async with build(state=tmp_path / "state", environ=environ(bench)) as runtime:
        it = await workload(runtime, one.ref.pid)
        await runtime.swapper.swap_out(it, keep=True)
        assert (await runtime.swapper.swap_out(it)).gpu_bytes == {0: CONTEXT}
        assert bench.node.report().used_bytes[0] == used - 4 * GRANULE - CONTEXT
        await runtime.swapper.swap_in(it)
        assert await one.ask("read") == before
        bench.node.set_fault(Fault(kind=FaultKind.RESULT, op="checkpoint", pid=one.ref.pid, value=999))
        await runtime.swapper.swap_out(it, keep=True)  # the driver is not asked for it
        with pytest.raises(RolledBack, match="it is parked"):
            await runtime.swapper.swap_out(it)
        await runtime.swapper.swap_in(it)
        assert await one.ask("read") == before


@pytest.mark.parametrize("times", [1, 2])
async def test_copies_that_fail_when_some_blocks_have_left_lose_nothing(
    node: EmulatedNode, tmp_path: Path, times: int
) -> None:
    """They are tried once more; if that fails too, all comes back."""
    flag, more = short(tmp_path)
    flag.touch()
    async with (
        Bench(node, tmp_path / "store", environ=more) as bench,
        build(state=tmp_path / "state", environ=environ(bench)) as runtime,
    ):
        one = await bench.start()
        for ident in range(10):
            await one.ask("alloc", ident, 1, 100 + ident)
        before, full = await one.ask("read"), bench.device_bytes()
        it = await workload(runtime, one.ref.pid)
        worker = (await bench.client.status(deadline=WITHIN)).worker
        copy = Fault(kind=FaultKind.HANG, op="cuMemcpyDtoHAsync_v2", pid=worker, times=None)
        hang = node.set_fault(replace(copy, skip=5 + 3))  # so often it looks at them all, and copies some
        out = asyncio.ensure_future(runtime.swapper.swap_out(it))
        await bench.until(lambda _: bench.device_bytes() < full - CONTEXT)
        node.set_fault(replace(copy, kind=FaultKind.RESULT, value=719, times=times))
        node.clear_fault(hang)
        if times == 1:
            await out
            await runtime.swapper.swap_in(it)
        else:
            with pytest.raises(RolledBack, match="it was brought back and runs on"):
                await out
        assert (await runtime.swapper.observe(it)).state is State.SEATED
        assert await one.ask("read") == before
        assert bench.device_bytes() == full
