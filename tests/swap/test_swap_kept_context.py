"""Workloads whose contexts stay on the devices while they are parked: out, in, and their leaving later."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from swap_blocks import BLOCKS, interposed
from swap_checks import stable
from swap_strikes import Strike, What
from swap_world import MIB, World

from hotseat.errors import NoRoom, RolledBack
from hotseat.linux.port import HostMemory
from hotseat.platforms.port import Status
from hotseat.swap.port import Workload
from hotseat.words import ProcessRef, State

pytestmark = pytest.mark.looptime


async def parked(world: World, *blocks: dict[int, int] | None) -> Workload:
    workload = interposed(world, *blocks)
    await world.swapper().swap_out(workload, keep=True)
    world.calls.clear()
    return workload


async def test_the_blocks_leave_the_devices_and_the_contexts_stay(world: World):
    workload = interposed(world)
    out = await world.swapper().swap_out(workload, keep=True)
    assert world.is_parked_with_context("a")
    assert "checkpoint" not in world.calls
    assert (world.gpu.free(0), world.gpu.free(1)) == (900 * MIB, 960 * MIB)
    assert out.gpu_bytes == {0: 400 * MIB, 1: 500 * MIB}
    seen = await stable(world, "a")
    assert seen.state is State.PARKED
    assert seen.gpu_bytes == seen.kept_gpu_bytes == {0: 100 * MIB, 1: 40 * MIB}
    assert seen.parked_gpu_bytes == {0: 400 * MIB, 1: 500 * MIB}
    assert "its context stays (100 MiB of device 0, 40 MiB of device 1)" in seen.note


async def test_on_the_way_back_nothing_is_restored(world: World):
    workload = await parked(world)
    back = await world.swapper().swap_in(workload)
    assert world.runs("a")
    assert "restore" not in world.calls
    assert back.gpu_bytes == {0: 400 * MIB, 1: 500 * MIB}
    seen = await stable(world, "a")
    assert seen.gpu_bytes == {0: 500 * MIB, 1: 540 * MIB}
    assert not seen.kept_gpu_bytes


async def test_they_leave_when_it_is_parked_again_without_leave_to_stay(world: World):
    workload = await parked(world)
    again = await world.swapper().swap_out(workload, keep=True)
    assert not again.phases, "done already"
    gone = await world.swapper().swap_out(workload)
    assert gone.gpu_bytes == {0: 100 * MIB, 1: 40 * MIB}
    assert world.is_parked("a")
    seen = await stable(world, "a")
    assert (seen.gpu_bytes, seen.kept_gpu_bytes) == ({}, {})
    assert seen.parked_gpu_bytes == {0: 500 * MIB, 1: 540 * MIB}
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_they_stay_for_all_of_its_processes_or_for_none(world: World):
    await parked(world, None, BLOCKS[1])
    assert world.is_parked("a")


async def test_a_process_that_comes_meanwhile_and_has_no_blocks_takes_all_contexts_with_it(world: World):
    workload = interposed(world)
    world.boxes["a"].born_while_freezing.append({1: 30 * MIB})
    await world.swapper().swap_out(workload, keep=True)
    assert world.is_parked("a")


async def test_what_stays_takes_no_host_memory_and_its_leaving_does(world: World):
    workload = interposed(world)
    world.boxes["a"].memory = HostMemory(available=0, used=100 * MIB, limit=100 * MIB)
    await world.swapper().swap_out(workload, keep=True)
    assert world.is_parked_with_context("a")
    with pytest.raises(NoRoom, match="host memory"):
        await world.swapper().swap_out(workload)
    assert world.is_parked_with_context("a")


async def test_unpaused_behind_our_back_it_is_still_parked(world: World):
    workload = await parked(world)
    world.set_status(world.boxes["a"], Status.RUNNING)
    seen = await stable(world, "a")
    assert (seen.state, "unpaused behind" in seen.note) == (State.PARKED, True)
    await world.swapper().swap_out(workload, keep=True)
    assert world.is_parked_with_context("a")
    world.set_status(world.boxes["a"], Status.RUNNING)
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_a_device_that_filled_up_meanwhile_leaves_it_parked(world: World):
    workload = await parked(world)
    world.container("b", {0: 700 * MIB})
    with pytest.raises(NoRoom):
        await world.swapper().swap_in(workload)
    assert world.is_parked_with_context("a")


async def test_what_stays_does_not_pass_for_what_was_promised(world: World, monkeypatch: pytest.MonkeyPatch):
    """While its blocks are on their way nobody else is granted their room."""
    workload = await parked(world)
    other = world.container("b", {0: 580 * MIB})
    await world.swapper().swap_out(other)
    move_in = world.store.move_in

    async def at_that_moment(processes: Sequence[ProcessRef], *, ahead: object, deadline: float) -> object:
        with pytest.raises(NoRoom, match="are reserved for a"):
            await world.swapper().swap_in(other)
        return await move_in(processes, deadline=deadline)

    monkeypatch.setattr(world.store, "move_in", at_that_moment)
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_a_driver_that_will_not_take_a_context_away_leaves_it_where_it_is(world: World):
    workload = await parked(world)
    world.strikes.append(Strike(call="checkpoint", what=What.FAIL, times=2))
    with pytest.raises(RolledBack, match="it is parked"):
        await world.swapper().swap_out(workload)
    assert world.is_parked_with_context("a")
    assert world.calls.count("checkpoint") == 1, "who is whole is not tried again"
    await world.swapper().swap_in(workload)
    assert world.runs("a")
