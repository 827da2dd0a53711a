"""What can go wrong: workers and processes that die at each step, no room, no driver, faults, strangers."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import stat
from pathlib import Path

import pytest
from store_bench import WITHIN, Bench, Workload, short

from hotseat.emulator.faults import Fault, FaultKind
from hotseat.emulator.node import EmulatedNode
from hotseat.errors import Busy, DriverFailed, DriverTimeout, Failed, NoRoom, NotFound, Refused, Unavailable
from hotseat.store import wire
from hotseat.store.client import StoreClient
from hotseat.store.port import HeldState
from hotseat.store.wire import GRANULE, Type
from hotseat.words import ProcessRef

pytestmark = pytest.mark.emulated
STEPS = ("take", "move_out", "move_in", "give")


async def go(bench: Bench, workload: Workload, step: str) -> None:
    await getattr(bench.client, step)([workload.ref], deadline=WITHIN)


@pytest.mark.parametrize("done", range(5))
async def test_a_worker_that_dies_between_two_steps_loses_nothing(bench: Bench, done: int) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 3, 100)
    await one.ask("alloc", 2, 1, 0)
    before = await one.ask("read")
    full = bench.device_bytes()
    for step in STEPS[:done]:
        await go(bench, one, step)
    await bench.kill_worker()
    await bench.connected(one)
    rest = STEPS[done:]
    if done == 3:  # moved in and not given: the arena still has it, so it is out
        assert await bench.state(one) is HeldState.OUT
        rest = ("move_in", "give")
    for step in (*rest, *STEPS):
        await go(bench, one, step)
    assert await one.ask("read") == before
    assert bench.device_bytes() == full


async def test_what_could_not_be_looked_at_is_looked_at_anew(bench: Bench) -> None:
    """Yielded to a worker that died; the next one fails once at its digests."""
    one = await bench.start()
    await one.ask("alloc", 1, 3, 100)
    before = await one.ask("read")
    await go(bench, one, "take")
    await bench.kill_worker()
    await bench.connected(one)
    worker = (await bench.client.status(deadline=WITHIN)).worker
    bench.node.set_fault(Fault(kind=FaultKind.RESULT, op="cuLaunchKernel", pid=worker, value=719))
    with pytest.raises(DriverFailed):
        await go(bench, one, "take")
    assert await bench.state(one) is HeldState.YIELDED
    for step in STEPS:
        await go(bench, one, step)
    assert await one.ask("read") == before


@pytest.mark.parametrize(
    ("step", "call"),
    [
        ("take", "cuLaunchKernel"),
        ("move_out", "cuMemcpyDtoHAsync_v2"),
        ("move_in", "cuMemCreate"),
        ("move_in", "cuMemcpyHtoDAsync_v2"),
        ("give", ""),
    ],
)
async def test_a_worker_that_dies_within_a_step_loses_nothing(bench: Bench, step: str, call: str) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 3, 100)
    before = await one.ask("read")
    full = bench.device_bytes()
    for earlier in STEPS[: STEPS.index(step)]:
        await go(bench, one, earlier)
    worker = (await bench.client.status(deadline=WITHIN)).worker
    if call:
        fault = bench.node.set_fault(Fault(kind=FaultKind.HANG, op=call, pid=worker, times=None))
    under_way = asyncio.ensure_future(go(bench, one, step))
    if call:
        await bench.until(lambda _: any(fault.fired for fault in bench.node.faults()))
    await bench.kill_worker()
    if call:
        bench.node.clear_fault(fault)
    with_error = await asyncio.gather(under_way, return_exceptions=True)
    assert with_error == [None] or isinstance(with_error[0], Unavailable)
    await bench.connected(one)
    await finish(bench, one)
    assert await one.ask("read") == before
    assert bench.device_bytes() == full


async def finish(bench: Bench, workload: Workload) -> None:
    """Back to running from wherever it is."""
    if await bench.state(workload) is HeldState.OUT:
        await go(bench, workload, "move_in")
    await go(bench, workload, "give")


@pytest.mark.parametrize("done", range(1, 5))
async def test_a_process_that_dies_is_freed_at_every_step(bench: Bench, done: int) -> None:
    empty = bench.device_bytes()
    one = await bench.start()
    await one.ask("alloc", 1, 3, 100)
    for step in STEPS[:done]:
        await go(bench, one, step)
    await one.kill()
    status = await bench.until(lambda status: one.ref not in status.processes)
    assert status.used == 0
    await bench.until(lambda _: bench.device_bytes() == empty)


async def test_no_room_in_the_arena_is_known_before_anything_is_done(node: EmulatedNode, tmp_path: Path) -> None:
    async with Bench(node, tmp_path / "store", arena=4) as bench:
        one = await bench.start()
        await one.ask("alloc", 1, 6, 100)
        before = await one.ask("read")
        with pytest.raises(NoRoom, match="lacks 4 MiB") as caught:
            await bench.client.take([one.ref], deadline=WITHIN)
        assert caught.value.details["missing"] == 2 * GRANULE
        assert await bench.state(one) is HeldState.RUNNING
        assert await one.ask("read") == before


async def test_no_room_on_the_device_leaves_it_out_and_nothing_allocated(bench: Bench) -> None:
    one, other = await bench.start(), await bench.start()
    await one.ask("alloc", 1, 30, 100)
    before = await one.ask("read")
    await go(bench, one, "take")
    await go(bench, one, "move_out")
    await other.ask("alloc", 1, 40, 0)
    full = bench.device_bytes()
    with pytest.raises(NoRoom, match="no room for 60 MiB"):
        await go(bench, one, "move_in")
    assert (await bench.state(one), bench.device_bytes()) == (HeldState.OUT, full)
    await other.kill()
    await bench.until(lambda _: bench.device_bytes() < full)
    await finish(bench, one)
    assert await one.ask("read") == before


@pytest.mark.parametrize(
    ("step", "call", "state"),
    [
        ("take", "cuMemImportFromShareableHandle", HeldState.RUNNING),
        ("take", "cuMemMap", HeldState.RUNNING),
        ("take", "cuLaunchKernel", HeldState.RUNNING),
        ("move_out", "cuMemcpyDtoHAsync_v2", HeldState.YIELDED),
        ("move_in", "cuMemAddressReserve", HeldState.OUT),
        ("move_in", "cuMemcpyHtoDAsync_v2", HeldState.OUT),
        ("move_in", "cuMemExportToShareableHandle", HeldState.OUT),
    ],
)
async def test_a_call_that_fails_leaves_the_state_before(bench: Bench, step: str, call: str, state: HeldState) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 3, 100)
    before = await one.ask("read")
    full = bench.device_bytes()
    for earlier in STEPS[: STEPS.index(step)]:
        await go(bench, one, earlier)
    held = bench.device_bytes()
    worker = (await bench.client.status(deadline=WITHIN)).worker
    bench.node.set_fault(Fault(kind=FaultKind.RESULT, op=call, pid=worker, value=719))
    with pytest.raises(DriverFailed, match=rf"{call}: CUDA_ERROR_LAUNCH_FAILED \(719\)") as caught:
        await go(bench, one, step)
    assert caught.value.result == 719
    assert caught.value.details["processes"] == [[*one.ref, str(state)]]
    assert (await bench.state(one), bench.device_bytes()) == (state, held)
    for again in STEPS[STEPS.index(step) :]:
        await go(bench, one, again)
    assert await one.ask("read") == before
    assert bench.device_bytes() == full


@pytest.mark.parametrize("limit", [14, 40])
async def test_more_blocks_than_the_keeper_may_open_cost_the_park_and_not_the_store(bench: Bench, limit: int) -> None:
    """What others have parked is the keeper's alone: it must not end by what one process sends."""
    one, other = await bench.start(), await bench.start()
    await other.ask("alloc", 1, 3, 100)
    for step in STEPS[:2]:
        await go(bench, other, step)
    for ident in range(25):
        await one.ask("alloc", ident, 1, 200 + ident)
    before = await one.ask("read")
    keeper = (await bench.client.status(deadline=WITHIN)).keeper
    limits = resource.prlimit(keeper, resource.RLIMIT_NOFILE)
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, (limit, limits[1]))
    with pytest.raises(Failed, match=f"keeps {limit // 2} blocks at most"):
        await go(bench, one, "take")
    assert await one.ask("read") == before
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, limits)
    await bench.connected(one)
    for step in STEPS:
        await go(bench, one, step)
    assert await one.ask("read") == before
    await finish(bench, other)


async def test_what_came_in_and_the_keeper_cannot_keep_is_the_devices_again(node: EmulatedNode, tmp_path: Path) -> None:
    """Also what it had kept of it before that."""
    async with Bench(node, tmp_path / "store", environ=short(tmp_path)[1]) as bench:
        one = await bench.start()
        for ident in range(20):
            await one.ask("alloc", ident, 1, 200 + ident)
        before = await one.ask("read")
        for step in STEPS[:2]:
            await go(bench, one, step)
        empty, keeper = bench.device_bytes(), (await bench.client.status(deadline=WITHIN)).keeper
        limits = resource.prlimit(keeper, resource.RLIMIT_NOFILE)
        resource.prlimit(keeper, resource.RLIMIT_NOFILE, (38, limits[1]))
        with pytest.raises(Failed, match="keeps 19 blocks at most"):
            await go(bench, one, "move_in")
        resource.prlimit(keeper, resource.RLIMIT_NOFILE, limits)
        await bench.until(lambda _: bench.device_bytes() == empty)
        await finish(bench, one)
        assert await one.ask("read") == before


async def test_a_keeper_of_more_than_a_thousand_descriptors_starts_its_worker_again(
    node: EmulatedNode, tmp_path: Path
) -> None:
    async with Bench(node, tmp_path / "store", crowded=1100) as bench:
        one = await bench.start()
        await one.ask("alloc", 1, 3, 100)
        before = await one.ask("read")
        for step in STEPS[:2]:
            await go(bench, one, step)
        await bench.kill_worker()
        await bench.connected(one)
        await finish(bench, one)
        assert await one.ask("read") == before


async def test_one_that_refuses_to_yield_is_named_and_the_others_run_on(bench: Bench) -> None:
    one, other = await bench.start(), await bench.start()
    for workload in (one, other):
        await workload.ask("alloc", 1, 3, 100)
    before, others = await one.ask("read"), await other.ask("read")
    await one.ask("refuse")
    with pytest.raises(DriverFailed, match=f"process {one.ref.pid}: it was told to refuse"):
        await bench.client.take([one.ref, other.ref], deadline=WITHIN)
    assert [await bench.state(one), await bench.state(other)] == [HeldState.RUNNING, HeldState.RUNNING]
    assert await other.ask("read") == others
    for again in STEPS:
        await go(bench, one, again)
    assert await one.ask("read") == before


async def test_bytes_are_compared_where_digests_are_equal(node: EmulatedNode, tmp_path: Path) -> None:
    async with Bench(node, tmp_path / "store", options=["--compare"]) as bench:
        one, other = await bench.start(), await bench.start()
        for workload in (one, other):
            await workload.ask("alloc", 1, 3, 100)
        before = await other.ask("read")
        for workload in (one, other):
            await go(bench, workload, "take")
            moved = await bench.client.move_out([workload.ref], deadline=WITHIN)
        assert (moved.copied, moved.shared) == (0, 3 * GRANULE)
        await finish(bench, other)
        assert await other.ask("read") == before


async def test_steps_out_of_order_are_refused(bench: Bench) -> None:
    one = await bench.start()
    for step in ("move_out", "move_in"):
        with pytest.raises(Refused, match="is running, not"):
            await go(bench, one, step)
    with pytest.raises(NotFound, match="does not hold"):
        await bench.client.take([ProcessRef(os.getpid(), 1)], deadline=WITHIN)


async def test_a_store_without_a_driver_says_so_and_touches_nobody(node: EmulatedNode, tmp_path: Path) -> None:
    async with Bench(node, tmp_path / "store", options=["--library=libnone.so.1"], ready=False) as bench:
        assert "cannot use libnone.so.1" in (await bench.client.status(deadline=WITHIN)).note
        one = await bench.start()
        with pytest.raises(Unavailable, match="has no driver"):
            await go(bench, one, "take")
        assert await bench.state(one) is HeldState.RUNNING


async def test_no_store_at_all_is_said(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    client = StoreClient(directory / "control.sock")
    status = await client.status(deadline=WITHIN)
    assert not status.running
    assert "no store answers" in status.note
    assert await client.held([ProcessRef(1, 1)], deadline=WITHIN) == {}
    with pytest.raises(Unavailable):
        await client.take([ProcessRef(1, 1)], deadline=WITHIN)


async def test_sockets_are_closed_to_others_and_nonsense_ends_a_connection(bench: Bench) -> None:
    assert stat.S_IMODE(bench.directory.stat().st_mode) == 0o700
    for name in ("agents/store.sock", "control.sock"):
        assert stat.S_IMODE((bench.directory / name).stat().st_mode) == 0o600
    loop = asyncio.get_running_loop()
    for data in (b"nonsense", bytes(wire.head(Type.BLOCKS, 1))):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.connect(str(bench.agents))
            sock.setblocking(False)
            await loop.sock_sendall(sock, data)
            async with asyncio.timeout(WITHIN):
                assert await loop.sock_recv(sock, 100) == b""


async def test_when_the_keeper_dies_what_was_parked_is_lost_and_said(bench: Bench) -> None:
    one, other = await bench.start(), await bench.start()
    for workload in (one, other):
        await workload.ask("alloc", 1, 3, 100)
    before = await other.ask("read")
    for step in STEPS[:2]:
        await go(bench, one, step)
    await bench.kill_keeper()
    for workload in (one, other):
        await bench.connected(workload)
    held = await bench.held(one)
    assert held.state is HeldState.LOST
    assert "it was restarted" in held.note
    with pytest.raises(Refused, match="is lost, not out: it waits for blocks"):
        await go(bench, one, "move_in")
    for step in STEPS:
        await go(bench, other, step)
    assert await other.ask("read") == before
    await one.kill()
    await bench.until(lambda status: one.ref not in status.processes)


async def test_what_is_forgotten_is_freed_though_its_process_lives(bench: Bench) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 3, 100)
    for step in STEPS[:2]:
        await go(bench, one, step)
    await bench.client.forget(one.ref, deadline=WITHIN)
    status = await bench.until(lambda status: one.ref in status.processes and status.processes[one.ref].connected)
    assert (status.used, status.processes[one.ref].state) == (0, HeldState.LOST)


async def test_memory_that_a_store_before_lent_is_made_the_processs_own(bench: Bench) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 3, 100)
    before = await one.ask("read")
    for step in STEPS:
        await go(bench, one, step)
    await bench.kill_keeper()
    await bench.connected(one)
    assert await one.ask("read") == before
    assert (await bench.held(one)).lent_bytes == 3 * GRANULE
    with pytest.raises(Refused, match="an earlier store lent"):
        await go(bench, one, "take")
    for step in ("localise", *STEPS):
        await go(bench, one, step)
    assert await one.ask("read") == before


async def test_a_process_that_yields_after_the_deadline_runs_on(bench: Bench) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 3, 100)
    before = await one.ask("read")
    fault = Fault(kind=FaultKind.HANG, op="cuMemExportToShareableHandle", pid=one.ref.pid, times=None)
    index = bench.node.set_fault(fault)
    with pytest.raises(DriverTimeout, match="goes on"):
        await bench.client.take([one.ref], deadline=0.1)
    with pytest.raises(Busy, match="works on process"):
        await bench.client.take([one.ref], deadline=WITHIN)
    bench.node.clear_fault(index)
    assert await one.ask("read") == before  # which waits until its gate is open again
    for step in STEPS:
        await go(bench, one, step)
    assert await one.ask("read") == before


async def test_a_copy_that_hangs_past_its_deadline_loses_nothing(bench: Bench) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 3, 100)
    before = await one.ask("read")
    await go(bench, one, "take")
    worker = (await bench.client.status(deadline=WITHIN)).worker
    index = bench.node.set_fault(Fault(kind=FaultKind.HANG, op="cuMemcpyDtoHAsync_v2", pid=worker, times=None))
    with pytest.raises(DriverTimeout, match="goes on"):
        await bench.client.move_out([one.ref], deadline=0.1)
    assert await bench.state(one) is HeldState.YIELDED
    bench.node.clear_fault(index)
    await bench.until(lambda status: status.processes[one.ref].state is HeldState.OUT)
    await finish(bench, one)
    assert await one.ask("read") == before
