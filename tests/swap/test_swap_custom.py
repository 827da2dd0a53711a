"""Workloads without the interposer whose memory goes by custom storage: the plain way, the choice, what breaks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from swap_checks import stable, untouched
from swap_strikes import HotseatDied, Strike, What
from swap_world import MIB, World

from hotseat.errors import NoRoom, Quarantined, Refused, RolledBack, Unavailable
from hotseat.gpu.preload import Preload
from hotseat.linux.port import HostMemory
from hotseat.platforms.port import Status
from hotseat.store.port import TURNED_OFF, Held, HeldState, Moved
from hotseat.swap.port import Workload
from hotseat.swap.way import Offer, by_custom, way_of
from hotseat.words import ProcessRef, ProcessState, State

pytestmark = pytest.mark.looptime
TWO = ({0: 300 * MIB}, {0: 100 * MIB, 1: 200 * MIB})


@pytest.fixture
def workload(world: World) -> Workload:
    world.store.custom_storage = True
    world.container("neighbour", {0: 50 * MIB})
    return world.container("a", *TWO)


def refs(world: World) -> tuple[ProcessRef, ...]:
    return tuple(world.boxes["a"].secrets)


async def test_out_and_in_move_all_of_it_by_the_store(world: World, workload: Workload):
    assert (await world.swapper().observe(workload)).way.name == "custom-storage"
    out = await world.swapper().swap_out(workload)
    assert world.is_parked("a")
    assert (out.custom, out.interposed, out.gpu_bytes) == (refs(world), (), {0: 400 * MIB, 1: 200 * MIB})
    assert {op for op, _ in world.gpu.calls} & {"checkpoint", "restore"} == set()
    seen = await world.swapper().observe(workload)
    assert (seen.way.name, seen.parked_gpu_bytes) == ("custom-storage", {0: 400 * MIB, 1: 200 * MIB})
    back = await world.swapper().swap_in(workload)
    assert (back.custom, back.gpu_bytes) == (out.custom, out.gpu_bytes)
    assert (await stable(world, "a")).state is State.SEATED
    assert world.swapper().reports(workload.container.key)[0].custom == out.custom


async def test_room_is_made_first_and_the_store_is_told_when_nobody_comes(world: World, workload: Workload):
    world.strikes = [Strike(call="seize", what=What.FAIL)]
    with pytest.raises(RolledBack):
        await world.swapper().swap_out(workload)
    told = [name for name in world.calls if name in ("admit", "lock", "seize", "unlock", "dismiss")]
    assert told == ["admit", "lock", "seize", "unlock", "dismiss"]
    await stable(world, "a")


async def test_an_arena_without_room_refuses_and_the_workload_runs_on(world: World, workload: Workload):
    world.store.arena = 620 * MIB
    await world.swapper().swap_out(world.workload("neighbour"))
    with pytest.raises(NoRoom, match="arena lacks"):
        await world.swapper().swap_out(workload)
    assert (await stable(world, "a")).state is State.SEATED


async def test_what_the_arena_could_never_hold_goes_by_the_driver(world: World, workload: Workload):
    world.store.arena = 599 * MIB
    way = (await world.swapper().observe(workload)).way
    assert (way.name, "more than the store's arena" in way.why) == ("driver", True)
    assert (await world.swapper().swap_out(workload)).custom == ()
    await world.swapper().swap_in(workload)
    assert (await stable(world, "a")).state is State.SEATED


async def test_what_the_store_keeps_does_not_count_against_the_containers_limit(world: World):
    world.store.custom_storage = True
    gib = 1 << 30
    world.gpu.capacity = [100 * gib]
    workload = world.container("a", {0: 40 * gib})
    world.boxes["a"].memory = HostMemory(available=1 << 40, used=0, limit=4 * gib)
    await world.swapper().swap_out(workload)
    assert world.is_parked("a")


async def test_of_a_mixed_workload_each_process_takes_its_way(world: World, workload: Workload):
    world.interpose("a", {0: 40 * MIB}, None)
    assert (await world.swapper().observe(workload)).way.name == "mixed"
    out = await world.swapper().swap_out(workload)
    assert (out.interposed, out.custom) == (refs(world)[:1], refs(world)[1:])
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_one_that_begins_to_use_cuda_meanwhile_goes_this_way_too(world: World, workload: Workload):
    world.boxes["a"].born_while_freezing.append({1: 30 * MIB})
    report = await world.swapper().swap_out(workload)
    assert len(report.custom) == 3
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_one_whose_bytes_no_device_tells_goes_by_the_driver(world: World, workload: Workload, monkeypatch):
    """No room could be made sure of, and once its memory is mapped nothing leads back."""
    one = refs(world)[1]
    use = world.gpu.use

    async def hides():
        return tuple(
            replace(seen, processes={pid: nbytes if pid != one.pid else 0 for pid, nbytes in seen.processes.items()})
            for seen in await use()
        )

    monkeypatch.setattr(world.gpu, "use", hides)
    way = (await world.swapper().observe(workload)).way
    assert (way.name, "no device says how much it holds" in way.why) == ("mixed", True)
    assert (await world.swapper().swap_out(workload)).custom == refs(world)[:1]
    assert ("checkpoint", (one.pid,)) in world.gpu.calls
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_without_custom_storage_it_goes_by_the_driver(world: World, workload: Workload):
    world.store.custom_storage = False
    assert (await world.swapper().swap_out(workload)).custom == ()
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_a_parked_workload_waits_for_a_store_that_has_it(world: World, workload: Workload):
    await world.swapper().swap_out(workload)
    world.store.running = False
    with pytest.raises(Unavailable):
        await world.swapper().swap_in(workload)
    world.store.running, world.store.custom_storage = True, False
    with pytest.raises(Refused, match="parked by custom storage, and this store has none") as refused:
        await world.swapper().swap_in(workload)
    assert refused.value.rule == "custom storage"
    assert (await stable(world, "a")).state is State.PARKED
    world.store.custom_storage = True
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_a_parked_workload_whose_memory_is_lost_is_quarantined_with_the_truth(world: World, workload: Workload):
    await world.swapper().swap_out(workload)
    world.store.lose()
    with pytest.raises(Quarantined, match="died with its arena"):
        await world.swapper().swap_in(workload)
    assert (await stable(world, "a")).state is State.QUARANTINED


@pytest.mark.parametrize(("direction", "call"), [("out", "checkpoint"), ("in", "restore")])
async def test_with_the_worker_goes_what_it_had_mapped(
    world: World, workload: Workload, monkeypatch, direction: str, call: str
):
    """One is mapped and lost, so that the workload is; its device is freed, and the reason said."""
    if direction == "in":
        await world.swapper().swap_out(workload)
    step, copy = getattr(world.store, call), world.store._copy

    async def dies(direction: str, deadline: float) -> None:
        raise Unavailable("the worker died")

    async def tries(processes: list[ProcessRef], *, deadline: float) -> Moved:
        world.store._copy = dies  # type: ignore[method-assign]
        try:
            return await step(processes, deadline=deadline)
        finally:
            world.store._copy = copy  # type: ignore[method-assign]
            monkeypatch.setattr(world.store, call, step)
            world.store.worker_dies()

    monkeypatch.setattr(world.store, call, tries)
    with pytest.raises(Quarantined, match="killed to free") as error:
        await getattr(world.swapper(), f"swap_{direction}")(workload)
    assert "the worker died" in error.value.message
    assert world.boxes["a"].container.status is Status.EXITED
    assert world.gpu.free(1) == 1000 * MIB
    assert (await stable(world, "a")).state is State.QUARANTINED
    assert untouched(world, "neighbour")


@pytest.mark.parametrize("direction", ["out", "in"])
async def test_what_is_mapped_is_tried_again_once_and_only_forwards(world: World, workload: Workload, direction: str):
    if direction == "in":
        await world.swapper().swap_out(workload)
    world.strikes = [Strike(call=f"copy_{direction}", what=What.FAIL, times=2)]
    with pytest.raises(Quarantined):
        await getattr(world.swapper(), f"swap_{direction}")(workload)
    assert world.calls.count(f"copy_{direction}") == 2
    assert world.gpu.free(1) == 1000 * MIB
    assert (await stable(world, "a")).state is State.QUARANTINED


@pytest.mark.parametrize("direction", ["out", "in"])
async def test_a_hotseat_that_dies_in_the_copy_leaves_it_to_the_next(world: World, workload: Workload, direction: str):
    if direction == "in":
        await world.swapper().swap_out(workload)
    world.strikes = [Strike(call=f"copy_{direction}", what=What.DIE)]
    with pytest.raises(HotseatDied):
        await getattr(world.swapper(), f"swap_{direction}")(workload)
    world.hotseat_dies()
    mapped = {"out": ProcessState.CHECKPOINTING, "in": ProcessState.RESTORING}[direction]
    assert mapped in world.states("a")
    await world.swapper().recover(world.workload("a"))
    assert (await stable(world, "a")).state is {"out": State.PARKED, "in": State.SEATED}[direction]


async def test_a_store_that_missed_its_return_is_told_by_the_next_swap(world: World, workload: Workload):
    """As by a worker that died between the driver's completion and the record."""
    await world.swapper().swap_out(workload)
    await world.swapper().swap_in(workload)
    for ref in refs(world):
        world.store.kept[ref].state = HeldState.OUT
    assert (await world.swapper().observe(workload)).state is State.SEATED
    await world.swapper().swap_out(workload)
    await world.swapper().swap_in(workload)
    assert (await stable(world, "a")).state is State.SEATED


P, Q = ProcessRef(1, 1), ProcessRef(2, 2)
PLAIN = Preload()
OUT = Held(state=HeldState.OUT, blocks=1, bytes=5)
WORKS = Offer(works=True, room=100)


@pytest.mark.parametrize(
    ("held", "preloads", "offer", "name", "why"),
    [
        ({}, {P: PLAIN, Q: PLAIN}, WORKS, "custom-storage", "map the memory of processes 1, 2"),
        ({P: replace(OUT, custom=True)}, {Q: PLAIN}, WORKS, "custom-storage", "map the memory of processes 1, 2"),
        ({P: OUT}, {Q: PLAIN}, WORKS, "mixed", "map the memory of process 2"),
        ({}, {P: PLAIN, Q: Preload(loaded=True, store=True)}, WORKS, "mixed", "process 2 is interposed and not"),
        ({}, {P: PLAIN}, Offer(why="no CUDA 13.4"), "driver", "has no custom storage: no CUDA 13.4"),
        ({}, {P: PLAIN}, Offer(why=TURNED_OFF), "driver", "was started without the interposer"),
    ],
)
def test_the_way_and_why(held, preloads, offer: Offer, name: str, why: str):
    listed = {P: {0: 5}, Q: {0: 5, 1: 6}}
    custom = by_custom(preloads, listed=listed, offer=offer)
    cuda = sorted({*held, *preloads})
    way = way_of(cuda=cuda, held=held, custom=custom, preloads=preloads, listed=listed, store="", offer=offer)
    assert way.name == name
    assert why in way.why
    assert TURNED_OFF not in way.why


async def test_a_context_on_each_device_counts_against_the_containers_limit(world: World):
    world.store.custom_storage = True
    gib = 1 << 30
    world.gpu.capacity = [100 * gib] * 4
    workload = world.container("a", dict.fromkeys(range(4), 40 * gib))
    world.boxes["a"].memory = HostMemory(available=1 << 40, used=0, limit=3 * gib)
    with pytest.raises(NoRoom, match="memory limit"):
        await world.swapper().swap_out(workload)
    await stable(world, "a")
