"""What is parked of a workload and is the store's, from host memory to disk and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hotseat.errors import HotseatError, Refused
from hotseat.store.port import HeldState, Moved, Store
from hotseat.swap.lending import ahead_of
from hotseat.swap.port import Deadlines, Observation, Progress, StoreRoom
from hotseat.words import ProcessRef, State

PART_EVERY = 0.5
"""Seconds between two looks at how far it is."""
Part = Callable[[float], None]
"""Called with how much of it is done, 0 to 1. Must not block or raise."""


def stored(seen: Observation) -> bool:
    """It is parked, and all that the store holds of it was spilled."""
    return seen.state is State.PARKED and bool(seen.held) and all(one.stored for one in seen.held.values())


def not_the_stores(name: str) -> Refused:
    return Refused(
        f"the store has no memory of {name}",
        rule="store",
        hint="it was parked by the driver, which keeps it in its processes' own memory: see docs/store.md",
    )


async def move(
    seen: Observation,
    store: Store | None,
    *,
    to_disk: bool,
    name: str,
    deadlines: Deadlines,
    progress: Progress | None = None,
    part: Part | None = None,
) -> Moved:
    """To disk, or back into the store's arena. `Refused` if it is not parked, or not by the store. `NoRoom` (rule
    "disk" or "host memory"): it stays where it is."""
    if seen.state is not State.PARKED:
        raise Refused(f"{name} is {seen.state}, not parked", rule="store")
    out = {process: one for process, one in seen.held.items() if one.state is HeldState.OUT}
    if store is None or not out:
        raise not_the_stores(name)
    phase, tell = "store" if to_disk else "fetch", progress or (lambda phase, status: None)
    tell(phase, "start")
    deadline = deadlines.spill(sum(one.bytes for one in out.values()))
    call = store.spill if to_disk else store.fetch
    task = asyncio.ensure_future(call(list(out), deadline=deadline))
    try:
        while not (await asyncio.wait({task}, timeout=PART_EVERY))[0]:
            done = await _done(store, list(out), deadline=deadlines.query)
            if part is not None and done is not None:
                part(done)
        moved = await task
    except HotseatError:
        tell(phase, "failed")
        raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    tell(phase, "done")
    return moved


async def _done(store: Store, processes: list[ProcessRef], *, deadline: float) -> float | None:
    """None: it has not begun, or the store does not say."""
    try:
        held = (await store.held(processes, deadline=deadline)).values()
    except HotseatError:
        return None
    if all(one.progress is None for one in held):
        return None
    total = sum(one.bytes for one in held)
    return sum(one.bytes * (1.0 if one.progress is None else one.progress) for one in held) / max(total, 1)


async def room(store: Store | None, *, deadlines: Deadlines) -> StoreRoom | None:
    """None if there is no store, or it does not answer."""
    if store is None:
        return None
    try:
        status = await store.status(deadline=deadlines.query)
    except HotseatError:
        return None
    if not status.running:
        return None
    return StoreRoom(
        arena=max(status.arena, status.may_grow), disk_free=status.disk_free, ahead=ahead_of(status.processes)
    )
