"""How long a request that comes now would wait, and for whom: for Retry-After and /v1/models. Pure.

Made of what was measured (swaps, drains) and of what is left of rules (stays, pauses after failures), over the very
choice of the scheduler: who would have to leave its seat for it, and from when that one may be asked. No wait is told
of what does not come by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from hotseat.daemon import spans, verdicts
from hotseat.daemon.book import JobKind, Record
from hotseat.daemon.spans import NOTHING, UNKNOWN, Span
from hotseat.scheduler import Snapshot, WorkloadView
from hotseat.scheduler.decide import order
from hotseat.scheduler.ledger import Ledger, never_leaves
from hotseat.scheduler.turns import head_start
from hotseat.scheduler.victims import Seats, choose, may_leave
from hotseat.scheduler.why import too_large
from hotseat.words import State

_COMING = State.SWAPPING_IN


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds what a workload needs."""

    name: str
    state: State
    devices: tuple[int, ...]
    stays: float
    """Seconds for which it keeps its seat at least; infinite: it is pinned, or may not be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    seconds: float | None
    """Until its seat; None: what it takes was never measured, or it does not come by itself."""
    retry_after: float | None
    """The same with a guess at what is not known; None: trying again does not help before somebody has done
    something."""
    holders: tuple[Holder, ...] = ()
    """Who makes room for it, or would have to; the last to leave first."""


NEVER = Wait(seconds=None, retry_after=None)


@dataclass(slots=True)
class _Group:
    """Those that use exactly the same devices."""

    turns: list[tuple[WorkloadView, Span]] = field(default_factory=list)
    """Who waits for a seat, and what its whole turn takes, but for the head start of its priority."""


class Waits:
    """Of all workloads at `now`: what one needs to know of the others is gathered once."""

    def __init__(self, records: Iterable[Record], snapshot: Snapshot, now: float) -> None:
        self._now = now
        self._records = {record.name: record for record in records}
        self._views = {view.name: view for view in snapshot.workloads}
        self._ledger = Ledger(snapshot)
        self._seats = Seats(snapshot, self._ledger, now)
        self._on: dict[int, list[str]] = {}
        """Who holds, or takes, some of a device."""
        for view in snapshot.workloads:
            for index, nbytes in self._ledger.takes(view).items() if view.holds or view.state is _COMING else ():
                if nbytes:
                    self._on.setdefault(index, []).append(view.name)
        self._rooms: dict[str, tuple[Span, tuple[Holder, ...], bool]] = {}
        self._groups: dict[frozenset[int], _Group] = {}
        for record in self._records.values():
            if record.state is not State.SEATED and (record.waiting or record.wishes or record.in_flight):
                self._add(record)

    def _add(self, record: Record) -> None:
        view = self._views.get(record.name)
        if view is None or view.demand_since is None or _comes(record):  # who comes holds room already
            return
        if verdicts.hopeless(record, closing=False) is not None:
            return
        turn = spans.way_in(record) + Span(record.min_stay) + spans.swap_out(record)
        self._groups.setdefault(_devices(record), _Group()).turns.append((view, turn))

    def of(self, record: Record) -> float | None:
        return self.look(record).seconds

    def look(self, record: Record) -> Wait:
        """What is under way counts for what is left of it. Else: until those who hold its room have left it, its way
        in, and a whole turn of each that waits for these devices."""
        if record.state is State.SEATED and record.job is None and record.ready:
            return Wait(seconds=0.0, retry_after=0.0)
        if verdicts.hopeless(record, closing=False) is not None:
            return NEVER
        if _comes(record):
            return _wait(spans.rest_of_job(record, self._now))
        view = self._views.get(record.name)
        not_asked = record.state is State.SEATED and record.job is None
        if view is None or not_asked or record.successor is not None or record.sought_until is not None:
            return _wait(Span(UNKNOWN, measured=False))
        need = self._ledger.wants(view)
        if (blocked := too_large(view, need, self._ledger)) is not None and blocked.forever:
            return NEVER
        room, holders, known = self._room(record, view)
        before, turns = self._others(record, view)
        wait = spans.last([room, before]) + turns + spans.way_in(record)
        return _wait(wait if known and blocked is None else Span(wait.seconds, measured=False), holders)

    def _room(self, record: Record, view: WorkloadView) -> tuple[Span, tuple[Holder, ...], bool]:
        """Until there is room for it, and until it may try its luck again. See `_holders`."""
        if (made := self._rooms.get(record.name)) is None:
            holders, known = self._holders(view)
            pause = Span(max(0.0, record.not_before - self._now))
            own = spans.way_out(record, self._now) if record.job is not None else NOTHING
            room = spans.last([own, *(rest for _, rest in holders)]) + pause
            made = self._rooms[record.name] = (room, tuple(holder for holder, _ in holders), known)
        return made

    def _others(self, record: Record, view: WorkloadView) -> tuple[Span, Span]:
        """Those that wait for its devices and come before it: until the last of them has room, and all their turns.
        Who has none because nobody may be asked for it holds up nobody."""
        mine = _devices(record)
        near = [group for devices, group in self._groups.items() if mine & devices or not (mine and devices)]
        place = order(view) if view.demand_since is not None else None
        rooms, seconds, measured = [NOTHING], 0.0, True
        for other, turn in (one for group in near for one in group.turns):
            if place is None or order(other) < place:
                room, _, known = self._room(self._records[other.name], other)
                if known:
                    rooms.append(room)
                    seconds += turn.seconds + head_start(other.priority, over=view.priority)
                    measured &= turn.measured
        return spans.last(rooms), Span(seconds, measured)

    def _holders(self, view: WorkloadView) -> tuple[list[tuple[Holder, Span]], bool]:
        """Who leaves, or would have to, before it has room, each with the time until its memory is free, the last one
        first; and True. If nobody can make it now: who will not leave."""
        need = self._ledger.wants(view)
        if self._ledger.fits_now(need):
            return [], True
        on: dict[str, set[int]] = {}
        for index, nbytes in need.items():
            for name in self._on.get(index, ()) if nbytes else ():
                on.setdefault(name, set()).add(index)
        on.pop(view.name, None)
        missing = self._ledger.missing(need)
        victims = choose(self._seats.on(missing, target=view), missing)
        asked = {victim.view.name: self._stays(victim.view, view) for victim in victims or ()}
        together = max(asked.values(), default=0.0)  # none leaves before all may
        found = []
        for name, devices in on.items():
            other = self._views[name]
            goes = name in asked or other.state is State.SWAPPING_OUT
            if goes if victims is not None else not may_leave(other, self._now):
                stays = together if name in asked else self._stays(other, view)
                holder = Holder(name=name, state=other.state, devices=tuple(sorted(devices)), stays=stays)
                found.append((holder, self._rest(holder)))
        found.sort(key=lambda one: (-one[1].seconds, one[0].name))
        return found, victims is not None

    def _stays(self, view: WorkloadView, target: WorkloadView) -> float:
        """Seconds until it may be asked to leave."""
        if view.state is State.SWAPPING_OUT:
            return 0.0
        if never_leaves(view):
            return math.inf
        if view.state is State.SWAPPING_IN:
            comes = spans.rest_of_job(self._records[view.name], self._now)
            known = comes.seconds if comes.measured else 0.0
            keeps = view.busy and not target.commanded
            return known + (view.min_stay + head_start(view.priority, over=target.priority) if keeps else 0.0)
        return max(self._seats.leaves_at(view, target), view.keep_until) - self._now

    def _rest(self, holder: Holder) -> Span:
        """Until its device memory is free. Of who stays for good nothing is known."""
        if not math.isfinite(holder.stays):
            return Span(0.0, measured=False)
        record = self._records[holder.name]
        out = spans.way_out(record, self._now)
        comes = spans.rest_of_job(record, self._now) if record.state is _COMING else NOTHING
        return Span(holder.stays + out.seconds, measured=out.measured and comes.measured)


def _comes(record: Record) -> bool:
    return record.job is not None and record.job.kind in (JobKind.SWAP_IN, JobKind.START)


def _wait(span: Span, holders: tuple[Holder, ...] = ()) -> Wait:
    return Wait(seconds=span.seconds if span.measured else None, retry_after=span.seconds, holders=holders)


def _devices(record: Record) -> frozenset[int]:
    """Empty: nobody knows."""
    seen = record.observation
    known = record.learned.memory or record.spec.gpu_memory or {}
    if seen is not None:
        known = {**known, **seen.gpu_bytes, **seen.parked_gpu_bytes}
    return frozenset(index for index, nbytes in known.items() if nbytes)
