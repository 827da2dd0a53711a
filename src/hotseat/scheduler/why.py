"""Why a demand cannot have its room: who holds it and may not be asked. Pure; sentences for people."""

from __future__ import annotations

from collections.abc import Mapping

from hotseat.config.units import format_size
from hotseat.scheduler.host import HostLedger
from hotseat.scheduler.ledger import Ledger
from hotseat.scheduler.records import Blocked, Snapshot, WorkloadView
from hotseat.scheduler.victims import may_leave
from hotseat.words import State


def too_large(view: WorkloadView, need: Mapping[int, int], ledger: Ledger) -> Blocked | None:
    """It can never be seated, or (never seen) there is nothing left that it could try its luck with."""
    size = ledger.size
    need = need if view.need is None else view.need
    for index, nbytes in need.items():
        if nbytes > size.get(index, 0):
            return _never(need, ledger)
    if view.need is None and not any(need.values()):
        return Blocked(reason="no device has room that could be made free for its cold start", forever=False)
    return None


def _never(need: Mapping[int, int], ledger: Ledger) -> Blocked:
    index, nbytes = min((index, nbytes) for index, nbytes in need.items() if nbytes > ledger.size.get(index, 0))
    if index not in ledger.size:
        return Blocked(reason=f"it needs device {index}, which is not there", forever=True)
    offered = f"device {index}, which offers {format_size(ledger.size[index])} in all"
    return Blocked(reason=f"it needs {format_size(nbytes)} of {offered}", forever=True)


def held(missing: Mapping[int, int], snapshot: Snapshot, ledger: Ledger, now: float, told: dict[int, str]) -> Blocked:
    """Names who holds what is missing and may not be asked to leave. `told`: per device, kept during one decision."""
    parts = []
    for index, nbytes in sorted(missing.items()):
        if index not in told:
            told[index] = _holders(index, snapshot, ledger, now)
        parts.append(f"device {index} lacks {format_size(nbytes)}" + (told[index] and f"; held by {told[index]}"))
    return Blocked(reason=", ".join(parts), forever=False)


def _holders(index: int, snapshot: Snapshot, ledger: Ledger, now: float) -> str:
    holders = []
    for view in sorted(snapshot.workloads, key=lambda view: view.name):
        nbytes = ledger.takes(view).get(index, 0)
        if nbytes and not may_leave(view, now):
            word = view.state.value
            if view.state is State.SEATED:
                word = "pinned" if view.pinned else "could not be parked"
            holders.append(f"{view.name} ({word}) {format_size(nbytes)}")
    if foreign := ledger.size[index] - ledger.capacity[index]:
        holders.append(f"foreign processes {format_size(foreign)}")
    return ", ".join(holders)


def host_is_full(host: HostLedger) -> Blocked:
    """The device could be made free, but what is there cannot be parked and must not be stopped."""
    stay = [f"{view.name} (parked) {format_size(view.host_bytes + view.arena_bytes)}" for view in host.holders()]
    arena = host.arena.limited and not (host.host.limited and host.host.soon < host.arena.soon)
    where, left = ("the store's arena", host.arena.soon) if arena else ("host memory", host.host.soon)
    free = f"{where} for parked workloads has {format_size(max(0, left))} left"
    kept = f"; held by {', '.join(stay)}" if stay else ""
    return Blocked(reason=f"{free}{kept}; who would have to make room cannot be started again", forever=False)
