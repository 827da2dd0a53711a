"""What must hold of a world after any swap, however it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import looptime
from swap_world import World

from hotseat.platforms.port import Status
from hotseat.swap.classify import void
from hotseat.swap.port import Observation
from hotseat.words import State

T = TypeVar("T")


async def stable(world: World, name: str, *, promised: bool = False) -> Observation:
    """It is seated, parked, stopped, or quarantined with a reason; it is what it is said to be; nothing leaked.
    `promised`: but for room in the arena, where the store would not be told that nobody comes."""
    world.strikes.clear()
    seen = await world.swapper().observe(world.workload(name))
    if seen.state in (State.SWAPPING_OUT, State.SWAPPING_IN):
        assert "broken off" in seen.note, seen  # only if the platform was silent for longer than a swap has patience
        assert world.patience_was_tried, seen
        seen = await world.swapper().recover(world.workload(name))
    box = world.boxes[name]
    assert seen.state in (State.SEATED, State.PARKED, State.STOPPED, State.QUARANTINED), seen
    if seen.state is State.SEATED:
        assert world.runs(name), seen
        record = world.journal.read(box.container.key)
        assert record is None or void(box.container, record) or "brought back behind" in seen.note, seen
    elif seen.state is State.PARKED:
        if box.container.status is Status.RUNNING:
            assert "unpaused behind" in seen.note, seen
        else:
            keeps = any(seen.kept_gpu_bytes.values())
            assert world.is_parked_with_context(name) if keeps else world.is_parked(name), seen
    elif seen.state is State.STOPPED:
        assert box.container.status is Status.EXITED, seen
    else:
        assert seen.note, "a quarantine without a reason"
    assert not box.held, "threads are held by nobody"
    assert world.promised(box.container.key) == {}, "a reservation leaked"
    assert world.violations == []
    assert promised or all(kept.promised == 0 for kept in world.store.kept.values()), "room in the arena leaked"
    return seen


def untouched(world: World, name: str) -> bool:
    """A workload that has nothing to do with the swap."""
    return world.runs(name)


def run(main: Coroutine[Any, Any, T]) -> T:
    """asyncio.run under virtual time, that leaves alone the event loop which pytest-asyncio keeps for this thread."""
    loop = looptime.new_event_loop(start=0)
    try:
        return loop.run_until_complete(main)
    finally:
        close(loop)


def close(loop: asyncio.AbstractEventLoop) -> None:
    """With its threads, and with the calls that a double still hangs in."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
