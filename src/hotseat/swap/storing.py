"""From host memory to disk: what is parked of a workload and is the store's goes there by the scheduler's choice."""

from __future__ import annotations

from hotseat.errors import HotseatError, Refused
from hotseat.store.port import HeldState, Store
from hotseat.swap.port import Deadlines, Observation, Progress, StoreRoom
from hotseat.words import State


def stored(seen: Observation) -> bool:
    """It is parked, and all that the store holds of it was spilled."""
    return seen.state is State.PARKED and bool(seen.held) and all(one.stored for one in seen.held.values())


async def spill(
    seen: Observation, store: Store | None, *, name: str, deadlines: Deadlines, progress: Progress | None
) -> None:
    """`Refused` if it is not parked, or not by the store. `NoRoom` (rule "disk"): it stays in host memory."""
    out = {process: one for process, one in seen.held.items() if one.state is HeldState.OUT}
    if seen.state is not State.PARKED:
        raise Refused(f"{name} is {seen.state}, not parked", rule="store")
    if store is None or not out:
        raise Refused(
            f"the store has no memory of {name}",
            rule="store",
            hint="it was parked by the driver, which keeps it in its processes' own memory: see docs/store.md",
        )
    tell = progress or (lambda phase, status: None)
    tell("store", "start")
    try:
        await store.spill(list(out), deadline=deadlines.spill(sum(one.bytes for one in out.values())))
    except HotseatError:
        tell("store", "failed")
        raise
    tell("store", "done")


async def room(store: Store | None, *, deadlines: Deadlines) -> StoreRoom | None:
    """None if there is no store, or it does not answer."""
    if store is None:
        return None
    try:
        status = await store.status(deadline=deadlines.query)
    except HotseatError:
        return None
    return StoreRoom(arena=max(status.arena, status.may_grow), disk_free=status.disk_free) if status.running else None
