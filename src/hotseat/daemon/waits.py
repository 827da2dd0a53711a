"""How long a request that comes now would wait, and for whom: for Retry-After and /v1/models. Pure.

Made of what was measured (swaps, drains) and of what is left of rules (stays, pauses after failures), over the very
choice of the scheduler: who would have to leave its seat for it, and from when that one may be asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from hotseat.daemon.book import DRAIN, RETURN, JobKind, Record
from hotseat.scheduler import Snapshot, WorkloadView
from hotseat.scheduler.ledger import Ledger
from hotseat.scheduler.victims import Seats, choose, may_leave
from hotseat.scheduler.why import too_large
from hotseat.words import State

_COMING = State.SWAPPING_IN

UNKNOWN = 5.0
"""Seconds that a way in is taken for in Retry-After where none was measured."""


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
    """Until its seat; None: what it takes was never measured, or somebody holds its room for good."""
    retry_after: float
    """The same with a guess at what is not known."""
    holders: tuple[Holder, ...] = ()
    """Who makes room for it, or would have to; the last to leave first."""


@dataclass(slots=True)
class _Group:
    """Those that use exactly the same devices."""

    turns: dict[str, float] = field(default_factory=dict)
    """Who waits for a seat, and the seconds of its whole turn."""
    seconds: float = 0.0
    """Of all turns."""


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
        self._groups: dict[frozenset[int], _Group] = {}
        for record in self._records.values():
            if record.state is not State.SEATED and (record.waiting or record.wishes or record.in_flight):
                self._add(record)

    def _add(self, record: Record) -> None:
        if record.demand is None:
            return
        group = self._groups.setdefault(_devices(record), _Group())
        out = record.learned.seconds.get(JobKind.SWAP_OUT, 0.0)
        group.turns[record.name] = record.learned.seconds.get(_way_in(record), 0.0) + record.min_stay + out
        group.seconds += group.turns[record.name]

    def of(self, record: Record) -> float | None:
        return self.look(record).seconds

    def look(self, record: Record) -> Wait:
        """What is under way counts for what is left of it. Else: until those who hold its room have left it, its way
        in, and a whole turn of each that waits for these devices."""
        if record.state is State.SEATED and record.job is None and record.ready:
            return Wait(seconds=0.0, retry_after=0.0)
        way_in = record.learned.seconds.get(_way_in(record))
        job = record.job
        if job is not None and job.kind in (JobKind.SWAP_IN, JobKind.START):
            took, passed = record.learned.seconds.get(job.kind), self._now - job.begun
            return Wait(
                seconds=None if took is None else max(0.0, took - passed),
                retry_after=max(0.0, (UNKNOWN if took is None else took) - passed),
            )
        holders = self._holders(record)
        room = max([_leaves(record, self._now), *(self._rest(holder) for holder in holders)])
        before = max(0.0, record.not_before - self._now) + self._others(record)
        seconds = None if way_in is None or not math.isfinite(room) else room + before + way_in
        known_room = room if math.isfinite(room) else 0.0
        guess = known_room + before + (UNKNOWN if way_in is None else way_in)
        return Wait(seconds=seconds, retry_after=guess if seconds is None else seconds, holders=tuple(holders))

    def _others(self, record: Record) -> float:
        mine = _devices(record)
        near = [group for devices, group in self._groups.items() if mine & devices]
        return sum(group.seconds - group.turns.get(record.name, 0.0) for group in near)

    def _holders(self, record: Record) -> list[Holder]:
        """Who leaves, or would have to, before it has room; if nobody can make it, who will not leave."""
        view = self._views.get(record.name)
        if view is None:
            return []
        need = self._ledger.wants(view)
        if too_large(view, need, self._ledger) is not None or self._ledger.fits_now(need):
            return []
        on: dict[str, set[int]] = {}
        for index, nbytes in need.items():
            for name in self._on.get(index, ()) if nbytes else ():
                on.setdefault(name, set()).add(index)
        on.pop(view.name, None)
        missing = self._ledger.missing(need)
        victims = choose(self._seats.on(missing, target=view), missing)
        asked = set() if victims is None else {victim.view.name for victim in victims}
        found = []
        for name, devices in on.items():
            other = self._views[name]
            goes = name in asked or other.state is State.SWAPPING_OUT
            if goes if victims is not None else not may_leave(other, self._now):
                stays = self._stays(other, view) if goes else math.inf
                found.append(Holder(name=name, state=other.state, devices=tuple(sorted(devices)), stays=stays))
        return sorted(found, key=lambda holder: (-self._rest(holder), holder.name))

    def _stays(self, view: WorkloadView, target: WorkloadView) -> float:
        """Seconds until it may be asked to leave."""
        record = self._records[view.name]
        if view.state is State.SWAPPING_OUT:
            return 0.0
        if view.state is State.SWAPPING_IN:
            began = record.job.begun if record.job is not None else self._now
            took = record.learned.seconds.get(record.job.kind if record.job is not None else JobKind.SWAP_IN, 0.0)
            return max(0.0, took - (self._now - began)) + (0.0 if target.commanded else view.min_stay)
        return max(self._seats.leaves_at(view, target), view.keep_until) - self._now

    def _rest(self, holder: Holder) -> float:
        """Seconds until its device memory is free."""
        return holder.stays + _leaves(self._records[holder.name], self._now)


def _leaves(record: Record, now: float) -> float:
    """Seconds that its way out takes, or what is left of it; 0 for one that has no seat to leave."""
    job, seconds = record.job, record.learned.seconds
    if job is not None and job.kind in (JobKind.SWAP_OUT, JobKind.STOP):
        out = seconds.get(job.kind, 0.0)
        if record.drained:
            return max(0.0, _drains(record) - (now - job.begun)) + out
        return max(0.0, out - (now - job.moves_since))
    if record.state not in (State.SEATED, State.SWAPPING_IN):
        return 0.0
    return (_drains(record) if record.in_flight else 0.0) + seconds.get(JobKind.SWAP_OUT, 0.0)


def _drains(record: Record) -> float:
    """Seconds that its answers take to end, where they are waited for: as measured, at most its `drain`."""
    limit = record.spec.drain or 0.0
    return min(limit, record.learned.seconds.get(DRAIN, limit))


def _way_in(record: Record) -> str:
    if record.state is State.STORED and RETURN in record.learned.seconds:
        return RETURN
    return JobKind.START if record.startable else JobKind.SWAP_IN


def _devices(record: Record) -> frozenset[int]:
    seen = record.observation
    known = record.learned.memory or record.spec.gpu_memory or {}
    if seen is not None:
        known = {**known, **seen.gpu_bytes, **seen.parked_gpu_bytes}
    return frozenset(index for index, nbytes in known.items() if nbytes)
