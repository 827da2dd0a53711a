"""Every call of a swap is made to fail in every way, one at a time.

The list of calls is not written here: a swap without faults is run first and its calls are counted, so a new call in
the transaction is covered the moment it is made.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import swap_checks as checks
from swap_checks import stable, untouched
from swap_strikes import HotseatDied, Strike, What
from swap_world import MIB, World

from hotseat.errors import Failed, HotseatError, Quarantined, Refused, RolledBack
from hotseat.swap.port import Workload
from hotseat.words import State, SwapReport

PROCESSES = ({0: 300 * MIB}, {0: 100 * MIB, 1: 200 * MIB})


BLOCKS = {
    "driver": (None, None),
    "interposed": ({0: 200 * MIB}, {0: 60 * MIB, 1: 300 * MIB}),
    "mixed": (None, {0: 60 * MIB, 1: 300 * MIB}),
    "kept": ({0: 200 * MIB}, {0: 60 * MIB, 1: 300 * MIB}),
    "custom": (None, None),
    "custom mixed": (None, {0: 60 * MIB, 1: 300 * MIB}),
}
"""Of "kept" the contexts stay on the devices."""
MOVES = {  # the first call past the commit
    "kept": {"out": "move_out", "in": "move_in"},
    "custom": {"out": "custom_checkpoint", "in": "custom_restore"},
}
GIVES_UP = "gives up"
"""The third direction: a parked one's contexts, which stayed, leave."""


def build(directory: Path, way: str) -> tuple[World, Workload]:
    world = World(state_dir=directory)
    world.keeps, world.store.custom_storage = way == "kept", way.startswith("custom")
    world.container("neighbour", {0: 100 * MIB})
    world.container("a", *PROCESSES)
    return world, world.interpose("a", *BLOCKS[way])


async def swap(world: World, workload: Workload, direction: str) -> SwapReport:
    swapper = world.swapper()
    if direction == "out":
        return await swapper.swap_out(workload, keep=world.keeps)
    if direction == GIVES_UP:
        return await swapper.swap_out(workload)
    return await swapper.swap_in(workload)


async def attempt(world: World, workload: Workload, direction: str) -> BaseException | SwapReport:
    """The swap as a task of its own, so that it can be cancelled; what came of it."""
    world.caller = asyncio.create_task(swap(world, workload, direction))
    try:
        return await world.caller
    except (HotseatError, asyncio.CancelledError) as error:
        return error
    except HotseatDied as died:
        world.hotseat_dies()
        return died


def run(coroutine_function, directory: Path, way: str):
    async def main():
        world, workload = build(directory, way)
        try:
            return await coroutine_function(world, workload)
        finally:
            world.journal.close()

    return checks.run(main())


def calls_of(direction: str, directory: Path, way: str) -> list[tuple[str, int]]:
    """(name, how many of that name before it) of each call in a swap without faults."""

    async def dry(world: World, workload: Workload):
        if direction != "out":
            await swap(world, workload, "out")
        world.calls.clear()
        await swap(world, workload, direction)
        return [(name, world.calls[:index].count(name)) for index, name in enumerate(world.calls)]

    return run(dry, directory, way)


def calls_names(calls: list[tuple[str, int]]) -> set[str]:
    return {name for name, _ in calls}


@pytest.mark.parametrize("what", list(What))
@pytest.mark.parametrize(
    ("way", "direction"), [*[(way, direction) for way in BLOCKS for direction in ("out", "in")], ("kept", GIVES_UP)]
)
def test_a_fault_at_any_call_ends_in_a_stable_state(way: str, direction: str, what: What, tmp_path: Path):
    calls = calls_of(direction, tmp_path / "dry", way)
    assert len(calls) > 10
    names = calls_names(calls)
    if direction != GIVES_UP:
        assert not BLOCKS[way][1] or {"take", "move_out"} < names or {"move_in", "give"} < names
        assert not way.startswith("custom") or {"admit", "copy_out"} < names or "copy_in" in names
    at = {"out": "checkpoint", "in": "restore", GIVES_UP: "checkpoint"}[direction]
    if direction != GIVES_UP and way in MOVES:
        assert not names & {"checkpoint", "restore"}
        at = MOVES[way][direction]
    commit = calls.index((at, 0))
    origin = State.SEATED if direction == "out" else State.PARKED

    for number, (name, skip) in enumerate(calls):

        async def one(world: World, workload: Workload, number: int = number, name: str = name, skip: int = skip):
            if direction != "out":
                await swap(world, workload, "out")
            world.strikes.append(Strike(call=name, what=what, skip=skip))
            came = await attempt(world, workload, direction)
            where = f"{what} at call {number}: {name}"
            if isinstance(came, HotseatDied):
                await world.swapper().recover(workload)
            seen = await stable(world, "a", promised=name == "dismiss")
            assert untouched(world, "neighbour"), where
            if number < commit and not isinstance(came, (SwapReport, HotseatDied)):
                assert seen.state is origin, (where, seen, came)
                kept = world.is_parked_with_context("a")
                assert world.runs("a") if direction == "out" else world.is_parked("a") or kept, where
                assert isinstance(came, (Failed, Refused, asyncio.CancelledError)), where
                assert not isinstance(came, Quarantined), where
            if isinstance(came, SwapReport):
                assert seen.state is (State.SEATED if direction == "in" else State.PARKED), where
                if direction == "out":
                    keeps = world.keeps and bool(came.interposed)  # else by the driver: the store was silent in time
                    assert world.is_parked_with_context("a") is keeps, where
                if direction == GIVES_UP:
                    assert world.is_parked("a"), where
            if isinstance(came, Quarantined):
                assert seen.state is State.QUARANTINED, where
            if isinstance(came, RolledBack):
                assert seen.state in (State.SEATED, State.PARKED), where
            if what is What.CANCEL:
                # `find` and what comes before it is over before a task can be cancelled from within it
                assert isinstance(came, asyncio.CancelledError), where
            if seen.state is State.SEATED:
                assert isinstance(await swap(world, workload, "out"), SwapReport), where
                assert isinstance(await swap(world, workload, "in"), SwapReport), where
            elif seen.state is State.PARKED:
                assert isinstance(await swap(world, workload, "in"), SwapReport), where

        run(one, tmp_path / f"{number}", way)
