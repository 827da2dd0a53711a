"""The next one comes in ahead while the last one goes out: room for each, whoever else wants it, whatever fails."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swap_checks import run, stable
from swap_strikes import HotseatDied, Strike, What
from swap_world import DEADLINES, MIB, World

from hotseat.errors import HotseatError, NoRoom, RolledBack
from hotseat.swap.port import Progress, Workload
from hotseat.swap.reservations import Reservations
from hotseat.testing.gpu import Effect, Fault
from hotseat.words import State, SwapReport

pytestmark = pytest.mark.looptime
CONTEXT = 50 * MIB
moments = st.integers(0, 12).map(lambda steps: steps * 0.05)
SIZES = {"a": 600 * MIB, "b": 700 * MIB}
NEED = {name: {0: size + CONTEXT} for name, size in SIZES.items()}


@pytest.fixture
async def two(world: World) -> dict[str, Workload]:
    return await two_of(world)


async def two_of(world: World, *, keep: bool = False) -> dict[str, Workload]:
    """a sits, b is parked, and they do not fit together: beside a there are 350 MiB free."""
    out: dict[str, Workload] = {}
    for name in ("b", "a"):
        world.container(name, {0: CONTEXT})
        out[name] = world.interpose(name, {0: SIZES[name]})
        if name == "b":
            await world.swapper().swap_out(out["b"], keep=keep)
    return out


def came(world: World, name: str = "b") -> int:
    """Bytes that are there ahead of it."""
    return sum(sum((world.store.kept[ref].ahead or {}).values()) for ref in world.boxes[name].secrets)


async def out_beside(world: World, going: Workload, coming: Workload, seen: list[int] | None = None) -> SwapReport:
    """`going` swaps out as the daemon does it: the next one begins to come in beside its checkpoint."""
    swapper, begun = world.swapper(), list[asyncio.Task[None]]()

    def progress(phase: str, status: str) -> None:
        if (phase, status) == ("checkpoint", "start"):
            begun.append(asyncio.create_task(swapper.ahead(coming)))
        if seen is not None:
            seen.append(came(world, coming.name))

    watch: Progress = progress
    try:
        return await swapper.swap_out(going, progress=watch)
    finally:
        await asyncio.gather(*begun)


async def test_the_next_one_is_there_when_the_last_one_has_left(world: World, two: Mapping[str, Workload]):
    seen: list[int] = []
    out = await out_beside(world, two["a"], two["b"], seen)
    assert out.gpu_bytes == NEED["a"], "its own, and not less by what came meanwhile"
    assert (await world.swapper().observe(two["a"])).parked_gpu_bytes == NEED["a"]
    assert came(world) == SIZES["b"]
    assert (await stable(world, "b")).state is State.PARKED
    back = await world.swapper().swap_in(two["b"])
    assert back.gpu_bytes == NEED["b"]
    assert came(world) == 0
    for name in ("a", "b"):
        await stable(world, name)
    assert world.gpu.free(0) == 1000 * MIB - SIZES["b"] - CONTEXT


async def test_no_more_comes_than_the_cap_allows(world: World, two: Mapping[str, Workload]):
    """Of 1000 MiB: as much as is left of the cap while a sits, and more as it leaves."""
    caps = {0: 900 * MIB}
    beyond = world.gpu.free(0) - 100 * MIB
    await world.swapper().ahead(two["b"], caps=caps)
    assert (came(world), world.gpu.free(0)) == (beyond, 100 * MIB)
    await out_beside(world, two["a"], two["b"])
    assert came(world) == SIZES["b"]
    assert world.gpu.free(0) >= 100 * MIB
    await world.swapper().swap_in(two["b"], caps=caps)
    assert (await stable(world, "b")).state is State.SEATED


async def test_while_its_grant_holds_nobody_else_is_promised_what_it_still_lacks(
    world: World, two: Mapping[str, Workload]
):
    """b's 700 MiB are there; of the rest of the device only what its context leaves is anybody's."""
    await out_beside(world, two["a"], two["b"])
    promised: list[int] = []

    def progress(phase: str, status: str) -> None:
        if (phase, status) in (("hold", "start"), ("unlock", "start")):
            promised.extend(world.promised(two["b"].container.key).values())

    await world.swapper().swap_in(two["b"], progress=progress)
    assert promised == [CONTEXT, CONTEXT], "also when the blocks are in, and the driver may be at the context still"


@pytest.mark.parametrize("third", ["a", "c"])
async def test_who_takes_its_place_finds_that_memory_free(world: World, two: Mapping[str, Workload], third: str):
    """Whether the store holds it, or the driver has all of it."""
    world.container("c", {0: 350 * MIB})
    for name in ("a", "c"):
        await world.swapper().swap_out(world.workload(name))
    await world.swapper().ahead(two["b"])
    assert came(world) == SIZES["b"]
    await world.swapper().swap_in(world.workload(third))
    assert came(world) == 0
    for name, state in ((third, State.SEATED), ("b", State.PARKED)):
        assert (await stable(world, name)).state is state


async def test_one_of_which_half_has_left_comes_back_into_what_is_promised_to_it(
    world: World, two: Mapping[str, Workload]
):
    """Its copies fail twice, and b has begun to come into what left."""
    world.store.halves = 2
    promised: list[int] = []

    def progress(phase: str, status: str) -> None:
        promised.append(world.promised(two["a"].container.key).get(0, 0))

    await world.swapper().ahead(two["b"])
    with pytest.raises(RolledBack):
        await world.swapper().swap_out(two["a"], progress=progress)
    assert max(promised) == CONTEXT + SIZES["a"] // 4 * 3
    assert came(world) == 0
    assert (await stable(world, "a")).state is State.SEATED
    await out_beside(world, two["a"], two["b"])
    await world.swapper().swap_in(two["b"])
    for name, state in (("b", State.SEATED), ("a", State.PARKED)):
        assert (await stable(world, name)).state is state


async def test_one_of_which_half_has_left_is_parked_at_the_second_try(world: World, two: Mapping[str, Workload]):
    world.store.halves = 1
    await out_beside(world, two["a"], two["b"])
    assert (await stable(world, "a")).state is State.PARKED
    await world.swapper().swap_in(two["b"])
    assert (await stable(world, "b")).state is State.SEATED


async def test_one_that_cannot_leave_after_all_gets_its_memory_back(world: World, two: Mapping[str, Workload]):
    world.gpu.faults.append(Fault(op="checkpoint", effect=Effect.RESULT, times=1))
    seen: list[int] = []
    with pytest.raises(RolledBack):
        await out_beside(world, two["a"], two["b"], seen)
    assert max(seen) > 0, "b had begun to come"
    assert came(world) == 0
    assert world.runs("a")
    await stable(world, "a")
    assert (await stable(world, "b")).state is State.PARKED
    await world.swapper().swap_out(two["a"])
    await world.swapper().swap_in(two["b"])
    assert (await stable(world, "b")).state is State.SEATED


async def test_nothing_comes_ahead_into_what_is_promised_to_another(world: World, two: Mapping[str, Workload]):
    world.container("c", {0: 300 * MIB})
    await world.swapper().swap_out(world.workload("c"))
    world.gpu.call_seconds = 0.1
    swapper = world.swapper()
    granted = asyncio.Event()

    def progress(phase: str, status: str) -> None:
        if (phase, status) == ("restore", "start"):
            granted.set()

    coming = asyncio.create_task(swapper.swap_in(world.workload("c"), progress=progress))
    await granted.wait()
    await swapper.ahead(two["b"])
    assert came(world) == 0
    await coming
    await swapper.ahead(two["b"])
    assert came(world) == 50 * MIB, "what was left"
    await stable(world, "c")


async def test_while_one_gets_its_grant_nobody_begins_to_come_and_another_grant_waits(
    world: World, two: Mapping[str, Workload]
):
    """Between what the store says and what is written down, in any hotseat process."""
    await world.swapper().swap_out(two["a"])
    swapper, reservations = world.swapper(), Reservations(journal=world.journal, alive=lambda process: True)
    with reservations.settling():
        await swapper.ahead(two["b"])
        assert "ahead" not in world.calls
        coming = asyncio.create_task(swapper.swap_in(two["b"]))
        await asyncio.sleep(DEADLINES.room / 2)
        assert "claim" not in world.calls
    await coming
    assert (await stable(world, "b")).state is State.SEATED


async def test_who_is_refused_for_want_of_room_claims_nothing_any_more(world: World, two: Mapping[str, Workload]):
    await world.swapper().ahead(two["b"])
    assert came(world) == 350 * MIB
    with pytest.raises(NoRoom) as refused:
        await world.swapper().swap_in(two["b"])
    assert refused.value.details["lacking"] == {0: 400 * MIB}
    await world.swapper().none_ahead()
    assert came(world) == 0
    assert (await stable(world, "b")).state is State.PARKED


async def test_beside_a_store_that_hangs_while_somebody_comes_nobody_is_promised_memory(
    world: World, two: Mapping[str, Workload], monkeypatch: pytest.MonkeyPatch
):
    """It may go on taking some. Where nobody was asked to come, who goes by the driver does not wait for it."""
    world.container("c", {0: 100 * MIB})
    await world.swapper().swap_out(world.workload("c"))

    async def hangs(*args: object, **how: object) -> object:
        return await asyncio.sleep(1000)

    swapper = world.swapper()
    with monkeypatch.context() as broken:
        broken.setattr(world.store, "claim", hangs)
        await swapper.swap_in(world.workload("c"))
    await swapper.swap_out(world.workload("c"))
    await swapper.ahead(two["b"], caps={0: 700 * MIB})
    assert world.gpu.free(0) > 200 * MIB
    with monkeypatch.context() as broken:
        broken.setattr(world.store, "claim", hangs)
        with pytest.raises(NoRoom):
            await swapper.swap_in(world.workload("c"))
    assert (await stable(world, "c")).state is State.PARKED
    await swapper.swap_in(world.workload("c"))
    assert (await stable(world, "c")).state is State.SEATED


async def test_what_had_come_and_is_lost_again_is_reserved_before_anything_is_restored(
    world: World, two: Mapping[str, Workload]
):
    """Its worker dies between the grant and the move in: all that it needs is reserved then."""
    await out_beside(world, two["a"], two["b"])
    swapper = world.swapper()

    def progress(phase: str, status: str) -> None:
        if (phase, status) == ("settle", "start"):
            for kept in world.store.kept.values():
                world.store._give_up(kept)

    await swapper.swap_in(two["b"], progress=progress)
    assert (await stable(world, "b")).state is State.SEATED


async def test_what_had_come_and_is_lost_in_the_last_moment_is_not_taken_from_who_has_it_promised(
    world: World, two: Mapping[str, Workload]
):
    """Its worker dies between the last look and the move in, and another is promised what became free by that."""
    await out_beside(world, two["a"], two["b"])
    swapper, reservations = world.swapper(), Reservations(journal=world.journal, alive=lambda process: True)
    promised: list[int] = []

    def progress(phase: str, status: str) -> None:
        if (phase, status) == ("restore", "start") and not promised:
            for kept in world.store.kept.values():
                world.store._give_up(kept)
            promised.append(world.gpu.free(0) - CONTEXT)
            lacking = reservations.grant(key="c", name="c", need={0: promised[0]}, pids=[], uses=[world.gpu._use(0)],
                                         caps={}, epoch=reservations.epoch())  # fmt: skip
            assert lacking == []

    with pytest.raises(HotseatError):
        await swapper.swap_in(two["b"], progress=progress)
    assert world.gpu.free(0) >= promised[0] > 0
    assert (await stable(world, "b")).state is State.PARKED
    reservations.give_back("c")
    await swapper.swap_in(two["b"])
    assert (await stable(world, "b")).state is State.SEATED


@pytest.mark.parametrize("call", ["held", "use", "ahead"])
async def test_what_fails_on_the_way_is_its_callers_to_hear_and_changes_nothing(
    world: World, two: Mapping[str, Workload], call: str
):
    world.strikes.append(Strike(call=call, what=What.FAIL))
    with pytest.raises(HotseatError):
        await world.swapper().ahead(two["b"])
    assert came(world) == 0
    for name, state in (("a", State.SEATED), ("b", State.PARKED)):
        assert (await stable(world, name)).state is state


async def test_of_all_others_nothing_comes(world: World, two: Mapping[str, Workload]):
    """Seated, never parked, parked by the driver, without a store, and while a device does not say who has what."""
    world.container("c", {0: 100 * MIB})
    swapper = world.swapper()
    await swapper.ahead(two["a"])
    await swapper.ahead(world.workload("c"))
    await swapper.swap_out(world.workload("c"))
    await swapper.ahead(world.workload("c"))
    world.store.running = False
    await swapper.ahead(two["b"])
    world.store.running = True
    whole = world.gpu._use
    world.gpu._use = lambda index: replace(whole(index), processes=dict.fromkeys(whole(index).processes, 0))  # type: ignore[method-assign]
    await swapper.ahead(two["b"])
    world.gpu._use = lambda index: replace(whole(index), processes={})  # type: ignore[method-assign]
    await swapper.ahead(two["b"])
    assert came(world, "a") == came(world) == 0
    assert "ahead" not in world.calls


async def test_after_hotseat_died_between_the_two_the_next_one_brings_it_in(world: World, two: Mapping[str, Workload]):
    world.strikes.append(Strike(call="pause", what=What.DIE))
    with pytest.raises(HotseatDied):
        await out_beside(world, two["a"], two["b"])
    world.hotseat_dies()
    assert came(world) > 0
    assert (await world.swapper().recover(two["a"])).state is State.PARKED
    await world.swapper().swap_in(two["b"])
    for name, state in (("a", State.PARKED), ("b", State.SEATED)):
        assert (await stable(world, name)).state is state


async def test_what_a_dead_hotseat_had_claimed_is_in_nobodys_way_for_ever(world: World, two: Mapping[str, Workload]):
    await out_beside(world, two["a"], two["b"])
    world.strikes.append(Strike(call="unpause", what=What.DIE))
    with pytest.raises(HotseatDied):
        await world.swapper().swap_in(two["b"])
    world.hotseat_dies()
    assert (await world.swapper().recover(two["b"])).state is State.PARKED
    await world.swapper().swap_in(two["a"])
    assert (await stable(world, "a")).state is State.SEATED


@settings(max_examples=60, deadline=None)
@given(
    leaves=moments,
    others=st.lists(
        st.tuples(st.sampled_from("bbcd"), st.sampled_from(["ahead", "ahead", "in"]), moments), min_size=1, max_size=6
    ),
    fails=st.booleans(),
    halves=st.integers(0, 1),
    keep=st.booleans(),
)
def test_whoever_comes_when_nobody_takes_what_is_promised_to_another(
    leaves: float, others: list[tuple[str, str, float]], fails: bool, halves: int, keep: bool
) -> None:
    """a leaves, or cannot, or at its second try; b and d come ahead, b, c and d come in: at any time, and no restore
    runs out of memory. `keep`: the contexts of a and b stay on the device."""

    async def at(moment: float, world: World, name: str, what: str) -> None:
        await asyncio.sleep(moment)
        swapper, workload = world.swapper(), world.workload(name)
        out = functools.partial(swapper.swap_out, keep=keep)
        call = {"out": out, "in": swapper.swap_in, "ahead": swapper.ahead}[what]
        with contextlib.suppress(HotseatError):
            await call(workload)

    async def main() -> None:
        with tempfile.TemporaryDirectory() as directory:
            world = World(state_dir=Path(directory))
            world.container("c", {0: 300 * MIB})
            await world.swapper().swap_out(world.workload("c"))
            world.container("d", {0: CONTEXT})
            await world.swapper().swap_out(world.interpose("d", {0: 250 * MIB}))
            await two_of(world, keep=keep)
            world.gpu.call_seconds, world.store.slow, world.store.halves = 0.04, True, halves
            if fails:
                world.gpu.faults.append(Fault(op="checkpoint", effect=Effect.RESULT))
            await asyncio.gather(
                at(leaves, world, "a", "out"), *(at(when, world, name, what) for name, what, when in others)
            )
            world.gpu.call_seconds = 0.0
            assert not any(process.lost for process in world.gpu.processes.values())
            for name in "abcd":
                assert (await stable(world, name)).state in (State.SEATED, State.PARKED)
            world.journal.close()

    run(main())
