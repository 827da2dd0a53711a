"""Bringing in ahead: into what is free, into what becomes free, given up where it is needed, and nothing lost by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from store_bench import WITHIN, Bench, Workload

from hotseat.emulator.faults import Fault, FaultKind
from hotseat.emulator.node import EmulatedNode
from hotseat.errors import NoRoom
from hotseat.store.port import HeldState
from hotseat.store.wire import GRANULE

pytestmark = pytest.mark.emulated


@pytest.fixture
async def bench(node: EmulatedNode, tmp_path: Path) -> AsyncIterator[Bench]:
    """Its device has no room for two of those that `start` makes, its arena has."""
    async with Bench(node, tmp_path / "store", arena=128) as bench:
        yield bench


async def start(bench: Bench, *, seed: int, blocks: int = 5, chunks: int = 8) -> Workload:
    workload = await bench.start()
    for block in range(blocks):
        await workload.ask("alloc", block + 1, chunks, seed + 100 * block)
    return workload


async def leave(bench: Bench, workload: Workload) -> None:
    await bench.client.take([workload.ref], deadline=WITHIN)
    await bench.client.move_out([workload.ref], deadline=WITHIN)


async def parked(bench: Bench) -> tuple[Workload, object, int]:
    """One that has left, its content, and what the device then holds."""
    one = await start(bench, seed=1)
    before = await one.ask("read")
    await leave(bench, one)
    return one, before, bench.device_bytes()


async def come(bench: Bench, workload: Workload) -> None:
    await bench.client.move_in([workload.ref], deadline=WITHIN)
    await bench.client.give([workload.ref], deadline=WITHIN)


async def ahead(bench: Bench, workload: Workload, *, chunks: int, deadline: float = WITHIN) -> None:
    """And wait until so much of it has come."""
    await bench.client.ahead([workload.ref], deadline=deadline)
    await come_ahead(bench, workload, chunks=chunks)


async def come_ahead(bench: Bench, workload: Workload, *, chunks: int) -> None:
    await bench.until(lambda status: sum(status.processes[workload.ref].ahead_bytes.values()) == chunks * GRANULE)


async def freed(bench: Bench, nbytes: int) -> None:
    await bench.until(lambda _: bench.device_bytes() == nbytes)


async def test_what_has_come_ahead_is_taken_by_the_move_in(bench: Bench) -> None:
    one, before, empty = await parked(bench)
    await ahead(bench, one, chunks=40)
    held = await bench.held(one)
    assert (held.state, held.ahead_bytes) == (HeldState.OUT, {bench.node.uuids()[0]: 40 * GRANULE})
    assert bench.device_bytes() == empty + 40 * GRANULE
    moved = await bench.client.move_in([one.ref], deadline=WITHIN)
    assert (moved.copied, bench.device_bytes()) == (40 * GRANULE, empty + 40 * GRANULE)
    assert (await bench.held(one)).ahead_bytes == {}
    await bench.client.give([one.ref], deadline=WITHIN)
    assert await one.ask("read") == before
    await leave(bench, one)
    assert bench.device_bytes() == empty


async def test_one_comes_into_what_another_leaves_on_a_device_that_has_not_room_for_both(bench: Bench) -> None:
    one, other = await start(bench, seed=1), await bench.start()
    contents = [await one.ask("read")]
    await leave(bench, one)
    for block in range(5):
        await other.ask("alloc", block + 1, 8, 1000 + 100 * block)
    contents.append(await other.ask("read"))
    for out, back in ((other, one), (one, other), (other, one)):
        await bench.client.take([out.ref], deadline=WITHIN)
        with pytest.raises(NoRoom):
            await bench.client.move_in([back.ref], deadline=WITHIN)
        await bench.client.ahead([back.ref], deadline=WITHIN)
        assert await bench.state(back) is HeldState.OUT
        await bench.client.move_out([out.ref], deadline=WITHIN)
        await come(bench, back)
    await leave(bench, one)
    await come(bench, other)
    full = bench.device_bytes()
    for block in (1, 2, 3):
        await other.ask("free", block)
    await freed(bench, full - 24 * GRANULE)
    await come(bench, one)
    assert await one.ask("read") == contents[0]
    assert await other.ask("read") == {ident: digest for ident, digest in contents[1].items() if ident in ("4", "5")}


async def test_what_is_to_stay_free_stays_free_but_for_its_move_in(bench: Bench) -> None:
    one, before, empty = await parked(bench)
    left = {bench.node.uuids()[0]: 64 * GRANULE - empty - 20 * GRANULE}
    await bench.client.ahead([one.ref], leave=left, deadline=WITHIN)
    await come_ahead(bench, one, chunks=16)
    await come(bench, one)
    assert await one.ask("read") == before
    assert bench.device_bytes() == empty + 40 * GRANULE


async def test_who_claims_it_keeps_it_and_the_rest_makes_way(bench: Bench) -> None:
    one, other = await start(bench, seed=1, blocks=2), await start(bench, seed=1000, blocks=3)
    before = [await one.ask("read"), await other.ask("read")]
    await leave(bench, one)
    await leave(bench, other)
    empty = bench.device_bytes()
    await ahead(bench, one, chunks=16)
    await ahead(bench, other, chunks=24)
    told = await bench.client.claim([one.ref], alone=False, deadline=WITHIN)
    assert sum(told[one.ref].ahead_bytes.values()) == 16 * GRANULE
    assert bench.device_bytes() == empty + 40 * GRANULE
    await bench.client.claim([], alone=True, deadline=WITHIN)
    assert bench.device_bytes() == empty + 16 * GRANULE
    assert (await bench.held(other)).ahead_bytes == {}
    await come(bench, one)
    await come(bench, other)
    assert [await one.ask("read"), await other.ask("read")] == before


async def test_what_nobody_comes_for_is_given_up_after_a_while(bench: Bench) -> None:
    one, before, empty = await parked(bench)
    await bench.client.ahead([one.ref], deadline=0.2)
    await bench.client.claim([one.ref], alone=False, deadline=0.3)
    await freed(bench, empty)
    await bench.until(lambda status: not status.processes[one.ref].ahead_bytes)
    await come(bench, one)
    assert await one.ask("read") == before


async def test_a_move_in_does_not_wait_for_room_that_nobody_makes(bench: Bench) -> None:
    one = await start(bench, seed=1)
    await leave(bench, one)
    other = await start(bench, seed=1000, blocks=6)
    full = bench.device_bytes()
    await ahead(bench, one, chunks=8)
    with pytest.raises(NoRoom, match="no room for 80 MiB"):
        await bench.client.move_in([one.ref], deadline=WITHIN)
    held = await bench.held(one)
    assert (held.state, held.ahead_bytes, bench.device_bytes()) == (HeldState.OUT, {}, full)
    await bench.client.take([other.ref], deadline=WITHIN)
    await bench.client.give([other.ref], deadline=WITHIN)


async def test_it_goes_to_disk_and_comes_ahead_from_there(bench: Bench) -> None:
    one, before, empty = await parked(bench)
    await ahead(bench, one, chunks=40)
    await bench.client.spill([one.ref], deadline=WITHIN)
    assert bench.device_bytes() == empty
    await ahead(bench, one, chunks=40)
    assert (await bench.held(one)).stored
    await come(bench, one)
    assert await one.ask("read") == before


@pytest.mark.parametrize("whole", [True, False])
async def test_a_process_that_ends_meanwhile_leaves_nothing(bench: Bench, whole: bool) -> None:
    one, _, empty = await parked(bench)
    other = None if whole else await start(bench, seed=1000)
    await ahead(bench, one, chunks=40 if whole else 16)
    await one.kill()
    await bench.until(lambda status: one.ref not in status.processes)
    await freed(bench, empty - GRANULE if other is None else empty + 40 * GRANULE)


async def test_a_worker_that_dies_meanwhile_leaves_it_where_it_was(bench: Bench) -> None:
    one, before, empty = await parked(bench)
    await ahead(bench, one, chunks=40)
    await bench.kill_worker()
    await bench.connected(one)
    assert (await bench.held(one)).ahead_bytes == {}
    assert bench.device_bytes() <= empty
    await come(bench, one)
    assert await one.ask("read") == before


async def test_a_copy_that_fails_meanwhile_costs_a_second_one(bench: Bench) -> None:
    one, before, _ = await parked(bench)
    worker = (await bench.client.status(deadline=WITHIN)).worker
    bench.node.set_fault(Fault(kind=FaultKind.RESULT, op="cuMemcpyHtoDAsync_v2", pid=worker, value=719))
    await bench.client.ahead([one.ref], deadline=WITHIN)
    await come(bench, one)
    assert await one.ask("read") == before


async def test_who_runs_or_goes_is_left_alone(bench: Bench) -> None:
    one = await start(bench, seed=1)
    before = await one.ask("read")
    await bench.client.ahead([one.ref], deadline=WITHIN)
    assert await bench.state(one) is HeldState.RUNNING
    await bench.client.take([one.ref], deadline=WITHIN)
    await bench.client.ahead([one.ref], deadline=WITHIN)
    await bench.client.give([one.ref], deadline=WITHIN)
    assert await one.ask("read") == before


async def test_who_claims_it_no_more_is_in_nobodys_way(bench: Bench) -> None:
    one, _, empty = await parked(bench)
    await ahead(bench, one, chunks=40)
    await bench.client.claim([one.ref], alone=False, deadline=WITHIN)
    await bench.client.claim([one.ref], alone=False, deadline=0.0)
    await bench.client.claim([], alone=True, deadline=WITHIN)
    assert bench.device_bytes() == empty


async def test_who_has_no_room_beside_what_has_come_is_refused_once_that_is_lost(bench: Bench) -> None:
    """Else it would take what another was promised meanwhile."""
    one, before, empty = await parked(bench)
    await ahead(bench, one, chunks=40)
    came = (await bench.held(one)).ahead_bytes
    await bench.kill_worker()
    await bench.connected(one)
    with pytest.raises(NoRoom, match="not there any more"):
        await bench.client.move_in([one.ref], ahead=came, deadline=WITHIN)
    assert bench.device_bytes() <= empty
    # Also where that is lost while it waits for the rest.
    worker = (await bench.client.status(deadline=WITHIN)).worker
    hang = bench.node.set_fault(Fault(kind=FaultKind.HANG, op="cuMemcpyHtoDAsync_v2", pid=worker, times=None))
    await ahead(bench, one, chunks=40)
    moves = asyncio.ensure_future(bench.client.move_in([one.ref], ahead=came, deadline=WITHIN))
    await come_ahead(bench, one, chunks=0)
    fails = bench.node.set_fault(Fault(kind=FaultKind.RESULT, op="cuMemcpyHtoDAsync_v2", pid=worker, value=719))
    bench.node.clear_fault(hang)
    with pytest.raises(NoRoom, match="not there any more"):
        await moves
    bench.node.clear_fault(fails)
    assert bench.device_bytes() <= empty
    await bench.client.move_in([one.ref], deadline=WITHIN)
    await bench.client.give([one.ref], deadline=WITHIN)
    assert await one.ask("read") == before
