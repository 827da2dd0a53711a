"""What is parked goes to the store's disk and comes back by hand of whoever asks the swapper."""

from __future__ import annotations

import asyncio

import pytest
from swap_blocks import BLOCKS, interposed
from swap_world import World

from hotseat.errors import Busy, NoRoom, Refused
from hotseat.swap.port import Workload
from hotseat.words import State

pytestmark = pytest.mark.looptime
BYTES = sum(sum(blocks.values()) for blocks in BLOCKS)


async def parked(world: World) -> Workload:
    workload = interposed(world)
    await world.swapper().swap_out(workload)
    world.store.disk = 2 * BYTES
    return workload


async def test_to_disk_and_back_and_to_its_seat_from_either(world: World):
    workload, swapper = await parked(world), world.swapper()
    for _ in range(2):
        assert (await swapper.store(workload)).copied == BYTES
        assert (await swapper.observe(workload)).state is State.STORED
        assert (await swapper.store(workload)).copied == 0, "done already"
        assert (await swapper.fetch(workload)).copied == BYTES
        assert (await swapper.observe(workload)).state is State.PARKED
        assert (await swapper.fetch(workload)).copied == 0, "done already"
    await swapper.store(workload)
    await swapper.swap_in(workload)
    assert world.runs("a")


async def test_how_far_it_is_is_told_all_along(world: World):
    workload, swapper = await parked(world), world.swapper()
    world.store.disk_seconds = 10.0
    parts: list[float] = []
    phases: list[tuple[str, str]] = []
    for move in (swapper.store, swapper.fetch):
        await move(workload, progress=lambda *phase: phases.append(phase), part=parts.append)
        assert parts == sorted(parts)
        assert (set(parts), len(parts)) == ({tenths / 10 for tenths in range(10)}, 19)
        parts.clear()
    assert phases == [("store", "start"), ("store", "done"), ("fetch", "start"), ("fetch", "done")]


async def test_nobody_else_swaps_it_meanwhile(world: World):
    workload = await parked(world)
    world.store.disk_seconds = 1.0
    storing = asyncio.create_task(world.swapper().store(workload))
    await asyncio.sleep(0.5)
    with pytest.raises(Busy):
        await world.swapper().swap_in(workload)
    await storing
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_only_what_is_parked_by_a_store_with_a_disk(world: World):
    workload, swapper = interposed(world), world.swapper()
    for move in (swapper.store, swapper.fetch):
        with pytest.raises(Refused, match="a is seated, not parked"):
            await move(workload)
    await swapper.swap_out(workload)
    phases: list[tuple[str, str]] = []
    with pytest.raises(Refused, match="spills nothing") as refused:
        await swapper.store(workload, progress=lambda *phase: phases.append(phase))
    assert refused.value.rule == "disk"
    assert phases == [("store", "start"), ("store", "failed")]
    other = world.container("b", {0: 50 << 20})
    await swapper.swap_out(other)
    for move in (swapper.store, swapper.fetch):
        with pytest.raises(Refused, match="the store has no memory of b"):
            await move(other)


async def test_without_room_it_stays_where_it_is(world: World):
    workload, swapper = await parked(world), world.swapper()
    world.store.disk = BYTES - 1
    with pytest.raises(NoRoom, match="the disk has no room"):
        await swapper.store(workload)
    assert (await swapper.observe(workload)).state is State.PARKED
    world.store.disk = BYTES
    await swapper.store(workload)
    world.store.arena = BYTES - 1
    with pytest.raises(NoRoom, match="the arena lacks room"):
        await swapper.fetch(workload)
    assert (await swapper.observe(workload)).state is State.STORED
    await swapper.swap_in(workload)
    assert world.runs("a")
