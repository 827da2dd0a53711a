"""Processes without the interposer, by custom storage: real processes on the emulated driver, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from store_bench import WITHIN, Bench, Workload

from hotseat.emulator.faults import Fault, FaultKind
from hotseat.emulator.node import EmulatedNode
from hotseat.errors import DriverFailed, NoRoom, NotFound, ProcessGone, Refused
from hotseat.gpu.client import GpuClient
from hotseat.store.port import HeldState, Moved
from hotseat.store.wire import GRANULE
from hotseat.words import ProcessState

pytestmark = pytest.mark.emulated
CUSTOM = ("--custom-storage",)
STORES = 2 * GRANULE
"""What the store takes of a device: its context, and room for digests."""


@pytest.fixture
def node() -> Iterator[EmulatedNode]:
    with EmulatedNode.temporary(
        devices=[64 * GRANULE, 64 * GRANULE], context_bytes=GRANULE, custom_storage=True
    ) as node:
        yield node


@pytest.fixture
async def bench(node: EmulatedNode, tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(node, tmp_path / "store", options=CUSTOM) as bench:
        yield bench


@pytest.fixture
async def gpu(bench: Bench) -> AsyncIterator[GpuClient]:
    async with GpuClient(environ=bench.environ, spares=0) as client:
        yield client


async def admit(bench: Bench, one: Workload, chunks: int = 20) -> None:
    await bench.client.admit({one.ref: {bench.node.uuids()[0]: chunks * GRANULE}}, deadline=WITHIN)


async def out(bench: Bench, gpu: GpuClient, one: Workload) -> Moved:
    await admit(bench, one)
    await gpu.lock([one.ref], timeout=WITHIN)
    moved = await bench.client.checkpoint([one.ref], deadline=WITHIN)
    assert await driver_state(gpu, one) is ProcessState.CHECKPOINTED
    return moved


async def back(bench: Bench, gpu: GpuClient, one: Workload) -> Moved:
    moved = await bench.client.restore([one.ref], deadline=WITHIN)
    await gpu.unlock([one.ref], deadline=WITHIN)
    return moved


async def driver_state(gpu: GpuClient, one: Workload) -> ProcessState:
    return (await gpu.states([one.ref], deadline=WITHIN))[one.ref]


async def used(bench: Bench) -> int:
    return (await bench.client.status(deadline=WITHIN)).used


async def test_memory_goes_and_comes_back_byte_by_byte(bench: Bench, gpu: GpuClient) -> None:
    one = await bench.start(plain=True)
    await one.ask("alloc", 1, 3, 100)
    await one.ask("alloc", 2, 2, 0)
    await one.ask("odd", 3, GRANULE + 70000, 200)
    before = await one.ask("read")
    full = bench.device_bytes()
    moved = await out(bench, gpu, one)
    assert (moved.total, moved.copied, moved.zero) == (7 * GRANULE, 5 * GRANULE, 2 * GRANULE)
    assert bench.device_bytes() == full - 8 * GRANULE  # with its context
    held = await bench.held(one)
    assert (held.state, held.custom, held.parked_bytes, held.connected) == (HeldState.OUT, True, 5 * GRANULE, True)
    again = await back(bench, gpu, one)
    assert (again.copied, again.zero) == (5 * GRANULE, 2 * GRANULE)
    assert await one.ask("read") == before
    assert await bench.client.held([one.ref], deadline=WITHIN) == {}
    assert await used(bench) == 0


async def test_only_what_changed_is_copied_the_second_time(bench: Bench, gpu: GpuClient) -> None:
    one = await bench.start(plain=True)
    await one.ask("alloc", 1, 8, 100)
    for seed in (500, 501, 502):
        await one.ask("write", 1, 3, seed)
        before = await one.ask("read")
        moved = await out(bench, gpu, one)
        if seed > 500:
            assert (moved.copied, moved.unchanged) == (GRANULE, 7 * GRANULE)
        await back(bench, gpu, one)
        assert await one.ask("read") == before


async def test_what_an_interposed_process_has_too_is_kept_once(bench: Bench, gpu: GpuClient) -> None:
    one, two = await bench.start(plain=True), await bench.start()
    await one.ask("alloc", 1, 4, 100)
    await two.ask("alloc", 1, 4, 100)
    before = await one.ask("read"), await two.ask("read")
    await bench.client.take([two.ref], deadline=WITHIN)
    await bench.client.move_out([two.ref], deadline=WITHIN)
    moved = await out(bench, gpu, one)
    assert (moved.copied, moved.shared) == (0, 4 * GRANULE)
    assert await used(bench) == 4 * GRANULE
    await bench.client.move_in([two.ref], deadline=WITHIN)
    await bench.client.give([two.ref], deadline=WITHIN)
    await back(bench, gpu, one)
    assert (await one.ask("read"), await two.ask("read")) == before


async def test_it_goes_to_disk_and_comes_back_from_there(bench: Bench, gpu: GpuClient) -> None:
    one = await bench.start(plain=True)
    await one.ask("alloc", 1, 4, -7)
    await one.ask("odd", 2, GRANULE + 1234, 300)
    before = await one.ask("read")
    await out(bench, gpu, one)
    await bench.client.spill([one.ref], deadline=WITHIN)
    held = await bench.held(one)
    assert (held.stored, held.parked_bytes, len(bench.files())) == (True, 0, 1)
    other = await bench.start()  # takes what the arena still has of it
    await other.ask("alloc", 1, 40, 5000)
    await bench.client.take([other.ref], deadline=WITHIN)
    await bench.client.move_out([other.ref], deadline=WITHIN)
    await back(bench, gpu, one)
    assert await one.ask("read") == before
    await bench.until(lambda status: status.disk == 0)


async def test_room_is_kept_free_for_it_until_it_comes_or_is_dismissed(bench: Bench, gpu: GpuClient) -> None:
    one, two = await bench.start(plain=True), await bench.start()
    await one.ask("alloc", 1, 4, 100)
    await two.ask("alloc", 1, 40, 1000)
    with pytest.raises(NoRoom) as caught:
        await admit(bench, one, 65)
    assert caught.value.details["missing"] == GRANULE
    await admit(bench, one, 30)
    with pytest.raises(NoRoom):
        await bench.client.take([two.ref], deadline=WITHIN)
    await bench.client.dismiss([one.ref], deadline=WITHIN)
    await bench.client.take([two.ref], deadline=WITHIN)
    await bench.client.give([two.ref], deadline=WITHIN)
    await admit(bench, one, 60)
    await one.kill()  # which withdraws it too
    for _ in range(200):
        with contextlib.suppress(NoRoom):
            await bench.client.take([two.ref], deadline=WITHIN)
            break
        await asyncio.sleep(0.05)
    assert await bench.state(two) is HeldState.YIELDED


async def test_more_than_it_said_waits_for_room(bench: Bench, gpu: GpuClient) -> None:
    """The devices' figures are not the driver's: a promise that was too small must not cost a process."""
    one, two = await bench.start(plain=True), await bench.start()
    await one.ask("alloc", 1, 30, 100)
    await two.ask("alloc", 1, 30, 1000)
    before = await one.ask("read")
    await admit(bench, one, 4)
    await bench.client.take([two.ref], deadline=WITHIN)
    await bench.client.move_out([two.ref], deadline=WITHIN)
    three = await bench.start()
    await three.ask("alloc", 1, 8, 3000)
    await gpu.lock([one.ref], timeout=WITHIN)
    await bench.client.dismiss([one.ref], deadline=WITHIN)
    await bench.client.take([three.ref], deadline=WITHIN)
    await bench.client.move_out([three.ref], deadline=WITHIN)
    with pytest.raises(NoRoom):
        await bench.client.checkpoint([one.ref], deadline=0.2)
    assert await driver_state(gpu, one) is ProcessState.CHECKPOINTING
    assert await bench.state(one) is HeldState.YIELDED
    await bench.client.spill([two.ref], deadline=WITHIN)
    await bench.client.checkpoint([one.ref], deadline=WITHIN)
    assert await bench.state(one) is HeldState.OUT
    await back(bench, gpu, one)
    assert await one.ask("read") == before


async def test_what_the_driver_refuses_leaves_it_locked(bench: Bench, gpu: GpuClient) -> None:
    one = await bench.start(plain=True)
    await one.ask("alloc", 1, 4, 100)
    before = await one.ask("read")
    await admit(bench, one)
    with pytest.raises(Refused, match="RUNNING, not LOCKED"):
        await bench.client.checkpoint([one.ref], deadline=WITHIN)
    await gpu.lock([one.ref], timeout=WITHIN)
    bench.node.set_fault(Fault(kind=FaultKind.RESULT, op="checkpoint", pid=one.ref.pid, value=999))
    with pytest.raises(DriverFailed):
        await bench.client.checkpoint([one.ref], deadline=WITHIN)
    assert await driver_state(gpu, one) is ProcessState.LOCKED
    await bench.client.checkpoint([one.ref], deadline=WITHIN)
    await back(bench, gpu, one)
    assert await one.ask("read") == before


@pytest.mark.parametrize("op", ["checkpoint", "restore"])
async def test_a_copy_that_fails_is_tried_again(bench: Bench, gpu: GpuClient, op: str) -> None:
    one = await bench.start(plain=True)
    await one.ask("alloc", 1, 4, 100)
    before = await one.ask("read")
    await admit(bench, one)
    await gpu.lock([one.ref], timeout=WITHIN)
    copy = {"checkpoint": "cuMemcpyDtoHAsync_v2", "restore": "cuMemcpyHtoDAsync_v2"}[op]
    if op == "restore":
        await bench.client.checkpoint([one.ref], deadline=WITHIN)
    step = getattr(bench.client, op)
    bench.node.set_fault(Fault(kind=FaultKind.RESULT, op=copy, value=719))
    with pytest.raises(DriverFailed):
        await step([one.ref], deadline=WITHIN)
    assert await bench.state(one) is HeldState.YIELDED
    await step([one.ref], deadline=WITHIN)
    if op == "checkpoint":
        await bench.client.restore([one.ref], deadline=WITHIN)
    await gpu.unlock([one.ref], deadline=WITHIN)
    assert await one.ask("read") == before
    assert await used(bench) == 0


@pytest.mark.parametrize("where", ["checkpoint", "restore"])
async def test_with_the_worker_goes_what_it_had_mapped(bench: Bench, gpu: GpuClient, where: str) -> None:
    one = await bench.start(plain=True)
    await one.ask("alloc", 1, 4, 100)
    await admit(bench, one)
    await gpu.lock([one.ref], timeout=WITHIN)
    if where == "restore":
        await bench.client.checkpoint([one.ref], deadline=WITHIN)
    copy = {"checkpoint": "cuMemcpyDtoHAsync_v2", "restore": "cuMemcpyHtoDAsync_v2"}[where]
    step = getattr(bench.client, where)
    bench.node.set_fault(Fault(kind=FaultKind.RESULT, op=copy, value=719))
    with pytest.raises(DriverFailed):
        await step([one.ref], deadline=WITHIN)
    await bench.kill_worker()
    with pytest.raises((Refused, NotFound)):
        await step([one.ref], deadline=WITHIN)
    assert (
        await driver_state(gpu, one)
        is {
            "checkpoint": ProcessState.CHECKPOINTING,
            "restore": ProcessState.RESTORING,
        }[where]
    )
    await one.kill()
    await bench.until(lambda status: one.ref not in status.processes and status.used == 0)


async def test_a_worker_that_dies_while_it_is_out_costs_nothing(bench: Bench, gpu: GpuClient) -> None:
    one = await bench.start(plain=True)
    await one.ask("alloc", 1, 4, 100)
    before = await one.ask("read")
    await out(bench, gpu, one)
    await bench.kill_worker()
    assert (await bench.held(one)).custom
    await back(bench, gpu, one)
    assert await one.ask("read") == before


async def test_one_that_came_back_without_a_word_is_found_out(bench: Bench, gpu: GpuClient) -> None:
    """As by a worker that dies between the driver's completion and the record."""
    one = await bench.start(plain=True)
    await one.ask("alloc", 1, 4, 100)
    before = await one.ask("read")
    await out(bench, gpu, one)
    bench.node.set_fault(Fault(kind=FaultKind.RESULT, op="state", value=999))
    with pytest.raises(DriverFailed):
        await bench.client.restore([one.ref], deadline=WITHIN)
    assert await bench.state(one) is HeldState.OUT
    await bench.client.restore([one.ref], deadline=WITHIN)
    await bench.client.forget(one.ref, deadline=WITHIN)
    with pytest.raises(NotFound):
        await bench.client.restore([one.ref], deadline=WITHIN)
    await gpu.unlock([one.ref], deadline=WITHIN)
    assert await one.ask("read") == before


STRANGER = """
import os, sys
from hotseat.store.device import Devices, device_uuid
devices, pid = Devices("libcuda.so.1"), int(sys.argv[1])
devices.get(device_uuid(sys.argv[2]))
storage = devices.custom_storage()
storage.complete(storage.restore(pid, os.pidfd_open(pid)))
"""


@pytest.mark.parametrize("then", ["dismiss", "admit"])
async def test_one_that_came_back_by_another_is_noticed_and_its_room_freed(
    bench: Bench, gpu: GpuClient, then: str
) -> None:
    """As by a worker that died between the driver's completion and the record."""
    one = await bench.start(plain=True)
    await one.ask("alloc", 1, 4, 100)
    await out(bench, gpu, one)
    argv = [sys.executable, "-c", STRANGER, str(one.ref.pid), bench.node.uuids()[0]]
    stranger = await asyncio.create_subprocess_exec(*argv, env=bench.environ)
    assert await stranger.wait() == 0
    assert await driver_state(gpu, one) is ProcessState.LOCKED
    assert await used(bench) > 0
    await gpu.unlock([one.ref], deadline=WITHIN)
    if then == "dismiss":
        await bench.client.dismiss([one.ref], deadline=WITHIN)
        assert await used(bench) == 0
    await out(bench, gpu, one)


async def test_an_operation_that_the_driver_does_not_end_is_lost_and_its_mapping_goes(
    bench: Bench, gpu: GpuClient
) -> None:
    one, two = await bench.start(plain=True), await bench.start()
    await one.ask("alloc", 1, 4, 100)
    await two.ask("alloc", 1, 2, 500)
    before = await two.ask("read")
    await admit(bench, one)
    await gpu.lock([one.ref], timeout=WITHIN)
    bench.node.set_fault(Fault(kind=FaultKind.RESULT, op="cuCheckpointOperationComplete", value=999))
    with pytest.raises(DriverFailed):
        await bench.client.checkpoint([one.ref], deadline=WITHIN)
    await bench.until(lambda status: status.running and status.starts == 2)  # nothing else ends what is mapped
    assert await bench.client.held([one.ref], deadline=WITHIN) == {}
    await one.kill()
    await bench.until(lambda status: status.ready == status.arena)
    await bench.connected(two)
    assert bench.device_bytes() == (2 + 1) * GRANULE + STORES  # two's memory and context
    await bench.client.take([two.ref], deadline=WITHIN)
    await bench.client.move_out([two.ref], deadline=WITHIN)
    await bench.client.move_in([two.ref], deadline=WITHIN)
    await bench.client.give([two.ref], deadline=WITHIN)
    assert await two.ask("read") == before


async def test_one_that_dies_in_the_middle_leaves_nothing(bench: Bench, gpu: GpuClient) -> None:
    one = await bench.start(plain=True)
    await one.ask("alloc", 1, 4, 100)
    await admit(bench, one)
    await gpu.lock([one.ref], timeout=WITHIN)
    bench.node.set_fault(Fault(kind=FaultKind.DIE, op="complete", pid=one.ref.pid))
    with pytest.raises(ProcessGone):
        await bench.client.checkpoint([one.ref], deadline=WITHIN)
    await bench.until(lambda status: one.ref not in status.processes and status.used == 0)
    assert bench.device_bytes() == STORES


async def test_a_store_without_it_says_why(node: EmulatedNode, tmp_path: Path) -> None:
    async with Bench(node, tmp_path / "store") as bench:
        status = await bench.client.status(deadline=WITHIN)
        assert (status.custom_storage, status.no_custom_storage) == (False, "it is turned off (custom_storage)")
        one = await bench.start(plain=True)
        with pytest.raises(Refused, match="turned off"):
            await admit(bench, one)
    with EmulatedNode.temporary(devices=[64 * GRANULE], context_bytes=GRANULE) as old:
        async with Bench(old, tmp_path / "old", options=CUSTOM) as bench:
            status = await bench.client.status(deadline=WITHIN)
            assert not status.custom_storage
            assert "this driver's CUDA is 13.0" in status.no_custom_storage


async def test_an_interposed_one_is_none_of_them(bench: Bench) -> None:
    one = await bench.start()
    with pytest.raises(Refused, match="is interposed"):
        await admit(bench, one)
    with pytest.raises(Refused, match="is interposed"):
        await bench.client.checkpoint([one.ref], deadline=WITHIN)


async def test_a_worker_that_dies_while_it_is_out_has_seen_no_device_since(bench: Bench, gpu: GpuClient) -> None:
    """The next one opens the devices that it needs before the driver maps anything there."""
    bench._more["CUDA_VISIBLE_DEVICES"] = "1"
    one = await bench.start(plain=True)
    await one.ask("alloc", 1, 4, 100)
    before = await one.ask("read")
    await bench.client.admit({one.ref: {bench.node.uuids()[1]: 20 * GRANULE}}, deadline=WITHIN)
    await gpu.lock([one.ref], timeout=WITHIN)
    await bench.client.checkpoint([one.ref], deadline=WITHIN)
    await bench.kill_worker()
    await back(bench, gpu, one)
    assert await one.ask("read") == before
