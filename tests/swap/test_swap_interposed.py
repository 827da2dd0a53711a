"""Workloads whose memory the store holds: the plain way, what is refused, and a store that dies at the wrong moment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from swap_blocks import BLOCKS, interposed
from swap_checks import stable
from swap_world import MIB, World

from hotseat.errors import NoRoom, Quarantined, Refused, Unavailable
from hotseat.gpu.preload import Preload
from hotseat.linux.port import HostMemory
from hotseat.store.port import Held, HeldState, Moved
from hotseat.swap.way import Offer, way_of
from hotseat.words import ProcessRef, State

pytestmark = pytest.mark.looptime


async def test_out_and_in_move_the_blocks_by_the_store_and_the_contexts_by_the_driver(world: World):
    workload = interposed(world)
    out = await world.swapper().swap_out(workload)
    assert world.is_parked("a")
    assert (world.gpu.free(0), world.gpu.free(1)) == (1000 * MIB, 1000 * MIB)
    assert out.gpu_bytes == {0: 500 * MIB, 1: 540 * MIB}
    assert len(out.interposed) == 2
    seen = await world.swapper().observe(workload)
    assert seen.parked_gpu_bytes == {0: 500 * MIB, 1: 540 * MIB}
    back = await world.swapper().swap_in(workload)
    assert world.runs("a")
    assert back.gpu_bytes == out.gpu_bytes
    assert back.interposed == out.interposed
    assert (await world.swapper().observe(workload)).gpu_bytes == out.gpu_bytes


async def test_blocks_are_taken_before_the_lock_and_given_after_the_threads_run(world: World):
    workload = interposed(world)
    await world.swapper().swap_out(workload)
    await world.swapper().swap_in(workload)
    told = [
        name for name in world.calls if name in ("take", "lock", "move_out", "unpause", "move_in", "unlock", "give")
    ]
    assert told == ["take", "lock", "move_out", "unpause", "move_in", "unlock", "give"]


async def test_of_a_mixed_workload_each_process_takes_its_way(world: World):
    workload = interposed(world, None, BLOCKS[1])
    report = await world.swapper().swap_out(workload)
    assert list(report.interposed) == [list(world.boxes["a"].secrets)[1]]
    assert (await world.swapper().observe(workload)).way.name == "mixed"
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_a_process_that_begins_to_use_cuda_meanwhile_takes_the_drivers_way_beside_them(world: World):
    workload = interposed(world)
    world.boxes["a"].born_while_freezing.append({1: 30 * MIB})
    report = await world.swapper().swap_out(workload)
    assert (report.cuda_processes, len(report.interposed)) == (3, 2)
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_what_the_store_keeps_does_not_count_against_the_containers_limit(world: World):
    workload = interposed(world)
    world.boxes["a"].memory = HostMemory(available=1 << 40, used=0, limit=300 * MIB)
    await world.swapper().swap_out(workload)
    assert world.is_parked("a")


async def test_an_arena_without_room_refuses_and_the_workload_runs_on(world: World):
    workload = interposed(world)
    world.store.arena = 100 * MIB
    with pytest.raises(NoRoom, match="arena lacks"):
        await world.swapper().swap_out(workload)
    assert world.runs("a")


async def test_lent_memory_and_no_store_is_refused_for_it_could_not_be_restored(world: World):
    workload = interposed(world)
    await world.swapper().swap_out(workload)
    await world.swapper().swap_in(workload)
    world.store.running = False
    with pytest.raises(Refused, match="could not be restored") as refused:
        await world.swapper().swap_out(workload)
    assert refused.value.rule == "store"
    assert world.runs("a")
    world.store.running = True
    await world.swapper().swap_out(workload)
    assert world.is_parked("a")


async def test_after_localise_a_workload_is_whole_without_the_store(world: World):
    workload = interposed(world)
    await world.swapper().swap_out(workload)
    await world.swapper().swap_in(workload)
    await world.store.localise(list(world.store.kept), deadline=1)
    assert world.runs("a")
    assert all(kept.lent is False for kept in world.store.kept.values())


async def test_blocks_not_yet_lent_go_by_the_driver_where_no_store_runs(world: World):
    workload = interposed(world)
    world.store.running = False
    report = await world.swapper().swap_out(workload)
    assert report.interposed == ()
    way = (await world.swapper().observe(workload)).way
    assert (way.name, "no store runs" in way.why) == ("driver", True)
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_a_parked_workload_waits_for_its_store(world: World):
    workload = interposed(world)
    await world.swapper().swap_out(workload)
    world.store.running = False
    assert "the store has memory of it" in (await world.swapper().observe(workload)).note
    with pytest.raises(Unavailable):
        await world.swapper().swap_in(workload)
    assert (await world.swapper().observe(workload)).state is State.PARKED
    world.store.running = True
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_a_parked_workload_whose_memory_is_lost_is_quarantined_with_the_truth(world: World):
    workload = interposed(world)
    await world.swapper().swap_out(workload)
    world.store.lose()
    with pytest.raises(Quarantined, match="died with its arena"):
        await world.swapper().swap_in(workload)
    assert (await stable(world, "a")).state is State.QUARANTINED


@pytest.mark.parametrize(
    ("direction", "call"), [("out", "take"), ("out", "move_out"), ("in", "move_in"), ("in", "give")]
)
@pytest.mark.parametrize("survives", [True, False])
async def test_a_store_that_dies_in_a_call(world: World, monkeypatch, direction: str, call: str, survives: bool):
    """While it is silent the swap stays open and nothing is killed; with its arena back, the workload is whole."""
    workload = interposed(world)
    if direction == "in":
        await world.swapper().swap_out(workload)
    done = getattr(world.store, call)

    async def dies(processes: list[ProcessRef], **how: Any) -> Moved:
        await done(processes, **how)
        world.store.running = False
        raise Unavailable("the store died")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, call, dies)
        with pytest.raises(Unavailable):
            await getattr(world.swapper(), f"swap_{direction}")(workload)
    assert world.boxes["a"].container.status in ("running", "paused")
    world.store.running = True
    if not survives:
        world.store.lose()
    seen = await world.swapper().recover(world.workload("a"))
    if survives or call == "give":  # what was given is the process's own
        assert seen.state in (State.SEATED, State.PARKED)
        assert world.runs("a") or world.is_parked("a")
    else:
        assert seen.state is State.QUARANTINED
        assert "lost memory" in seen.note
    assert not world.boxes["a"].held


async def test_a_move_out_that_fails_twice_brings_everything_back(world: World, monkeypatch):
    workload = interposed(world)

    async def refuses(processes: list[ProcessRef], *, deadline: float) -> Moved:
        raise NoRoom("the arena is full", rule="host memory")

    monkeypatch.setattr(world.store, "move_out", refuses)
    with pytest.raises(Exception, match="arena is full"):
        await world.swapper().swap_out(workload)
    assert world.runs("a")


P, Q = ProcessRef(1, 1), ProcessRef(2, 2)
HAS = Preload(loaded=True, store=True)
HELD = Held(state=HeldState.RUNNING, blocks=1, bytes=5)


@pytest.mark.parametrize(
    ("held", "preloads", "store", "name", "why"),
    [
        ({P: HELD, Q: HELD}, {}, "", "interposed", "holds its blocks"),
        ({P: replace(HELD, lent_bytes=5), Q: HELD}, {}, "", "interposed", "lends it memory"),
        ({P: HELD}, {}, "", "mixed", "process 2 was started without"),
        ({}, {P: HAS, Q: HAS}, "no store runs", "driver", "process 1 is interposed, and no store runs"),
        ({}, {P: HAS, Q: HAS}, "", "driver", "not connected"),
        ({}, {P: Preload(loaded=True)}, "", "driver", "process 1 has the interposer without HOTSEAT_STORE"),
    ],
)
def test_the_way_and_why(held, preloads, store: str, name: str, why: str):
    way = way_of(cuda=[P, Q], held=held, custom=(), preloads=preloads, listed={}, store=store, offer=Offer())
    assert way.name == name
    assert why in way.why
