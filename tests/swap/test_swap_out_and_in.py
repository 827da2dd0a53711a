"""One workload gives up the devices and takes them back: the plain way, and what a person is told on it."""

from __future__ import annotations

import pytest
from swap_world import MIB, World

from hotseat.words import Direction

pytestmark = pytest.mark.looptime

PROCESSES = ({0: 300 * MIB}, {0: 100 * MIB, 1: 200 * MIB})


async def test_a_swap_out_frees_every_device_and_pauses_the_container(world: World):
    workload = world.container("a", *PROCESSES)
    report = await world.swapper().swap_out(workload)
    assert world.is_parked("a")
    assert world.gpu.free(0) == 1000 * MIB
    assert world.gpu.free(1) == 1000 * MIB
    assert report.direction is Direction.OUT
    assert report.gpu_bytes == {0: 400 * MIB, 1: 200 * MIB}
    assert (report.processes, report.cuda_processes, report.threads) == (3, 2, 9)


async def test_a_swap_in_brings_everything_back_and_leaves_no_reservation(world: World):
    swapper = world.swapper()
    workload = world.container("a", *PROCESSES)
    await swapper.swap_out(workload)
    report = await swapper.swap_in(workload)
    assert world.runs("a")
    assert report.gpu_bytes == {0: 400 * MIB, 1: 200 * MIB}
    assert world.promised() == {}
    assert await swapper.known() == []


async def test_no_time_is_the_stores_where_it_moved_nothing(world: World):
    swapper = world.swapper()
    workload = world.container("a", *PROCESSES)
    for report in (await swapper.swap_out(workload), await swapper.swap_in(workload)):
        assert [phase.name for phase in report.phases if phase.part == "store"] == []


async def test_the_order_of_driver_calls_is_all_of_one_kind_after_the_other(world: World):
    swapper = world.swapper()
    workload = world.container("a", *PROCESSES)
    await swapper.swap_out(workload)
    await swapper.swap_in(workload)
    moved = [(op, len(pids)) for op, pids in world.gpu.calls if op in ("lock", "checkpoint", "restore", "unlock")]
    assert moved == [("lock", 2), ("checkpoint", 2), ("restore", 2), ("unlock", 2)]
