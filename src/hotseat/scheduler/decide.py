"""The policy: oldest demand first, together where they fit, the fewest and least wanted make room.

Bound on waiting. A demand that was looked at has its room promised: no younger one can take it. It waits for workloads
that were there before, and each of those goes at the latest `min_stay` after it was seated. So with n workloads on a
device nobody waits longer than n times (min_stay + one swap out + one swap in); `tests/scheduler` shows it by
simulation. Not bounded: waiting for memory that is pinned, paused by others, quarantined or foreign (then `Blocked`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from hotseat.scheduler.ledger import Ledger
from hotseat.scheduler.records import Action, Blocked, Decision, Kind, Snapshot, WorkloadView
from hotseat.words import State


def decide(now: float, snapshot: Snapshot) -> Decision:
    """What to begin at `now`. Pure: the order in which devices and workloads stand does not matter."""
    round_ = _Round(now=now, snapshot=snapshot, ledger=Ledger(snapshot))
    for view in sorted(filter(_wants_seat, snapshot.workloads), key=_turn):
        if view.not_before > now:
            round_.wake(view.not_before)
        else:
            round_.serve(view)
    wake_at = None if round_.wake_at == math.inf else round_.wake_at
    return Decision(actions=tuple(round_.actions), wake_at=wake_at, blocked=round_.blocked)


def _wants_seat(view: WorkloadView) -> bool:
    if view.demand_since is None:
        return False
    return view.state is State.PARKED or (view.state is State.STOPPED and view.can_start)


def _turn(view: WorkloadView) -> tuple[bool, float, str]:
    assert view.demand_since is not None
    return (not view.commanded, view.demand_since, view.name)


@dataclass(frozen=True, slots=True)
class _Victim:
    view: WorkloadView
    takes: Mapping[int, int]
    leaves_at: float
    """From when it may be parked; infinite while it is still on its way in (its end is an event, not a time)."""


@dataclass(slots=True, kw_only=True)
class _Round:
    """One decision while it is made, demand by demand, the oldest first."""

    now: float
    snapshot: Snapshot
    ledger: Ledger
    actions: list[Action] = field(default_factory=list)
    blocked: dict[str, Blocked] = field(default_factory=dict)
    wake_at: float = math.inf
    leaving: set[str] = field(default_factory=set)
    """Already chosen to make room."""
    elders: list[WorkloadView] = field(default_factory=list)
    """Older demands that are seated, or have room promised, by this decision."""

    def wake(self, at: float) -> None:
        self.wake_at = min(self.wake_at, at)

    def serve(self, view: WorkloadView) -> None:
        need = self.ledger.wants(view)
        if no := self._too_large(view, need):
            self.blocked[view.name] = no
            return
        if self.ledger.fits_now(need):
            kind = Kind.START if view.state is State.STOPPED else Kind.SWAP_IN
            self.actions.append(Action(kind=kind, workload=view.name))
            self.ledger.seat(need)
            self.elders.append(view)
            return
        missing = self.ledger.missing(need)
        candidates = self._candidates(view, missing)
        victims = _choose(candidates, missing)
        if victims is not None:
            self._make_room(view, victims)
            self.ledger.promise(need)
            self.elders.append(view)
        elif not self._has_room_after_elders(candidates, missing):
            self.blocked[view.name] = self._why(view, missing)
            self.wake(min((v.keep_until for v in self.snapshot.workloads if v.keep_until > self.now), default=math.inf))
        # Else older demands take in this very decision what it lacks, and make room in their turn. Nothing is promised
        # to it until then; younger ones may use the time, they leave as soon as those elders do.

    def _make_room(self, view: WorkloadView, victims: list[_Victim]) -> None:
        # Go together or not at all: whoever left early would wait for the last one off its seat for nothing.
        ready_at = max((victim.leaves_at for victim in victims), default=self.now)
        for victim in victims:
            if ready_at <= self.now:
                self.actions.append(Action(kind=Kind.SWAP_OUT, workload=victim.view.name, makes_room_for=view.name))
            self.leaving.add(victim.view.name)
            self.ledger.will_free(victim.takes)
        if ready_at > self.now:
            self.wake(ready_at)

    def _candidates(self, target: WorkloadView, missing: Mapping[int, int]) -> list[_Victim]:
        """Who holds some of what is missing and may be asked to leave, now or later; least wanted first."""
        found = [
            victim
            for view in self.snapshot.workloads
            if view.name not in self.leaving and (victim := self._victim(view, commanded=target.commanded))
        ]
        found = [victim for victim in found if any(victim.takes.get(index) for index in missing)]
        return sorted(found, key=lambda v: (v.leaves_at, v.view.busy, v.view.last_used, v.view.name))

    def _victim(self, view: WorkloadView, *, commanded: bool) -> _Victim | None:
        if view.pinned or view.keep_until > self.now or view.state not in (State.SEATED, State.SWAPPING_IN):
            return None
        takes = self.ledger.takes(view)
        if view.state is State.SWAPPING_IN:
            return _Victim(view, takes, math.inf)
        stays_until = view.seated_since + view.min_stay
        if not view.busy:
            stays_until = min(stays_until, view.last_used + view.linger)
        return _Victim(view, takes, self.now if commanded else max(self.now, stays_until))

    def _has_room_after_elders(self, candidates: list[_Victim], missing: Mapping[int, int]) -> bool:
        later = [victim.takes for victim in candidates]
        later += [self.ledger.wants(view) for view in self.elders if not view.pinned]
        return all(sum(takes.get(index, 0) for takes in later) >= nbytes for index, nbytes in missing.items())

    def _too_large(self, view: WorkloadView, need: Mapping[int, int]) -> Blocked | None:
        size = self.ledger.size
        for index, nbytes in sorted(need.items()):
            if nbytes and index not in size:
                return Blocked(reason=f"it needs device {index}, which is not there", forever=True)
            if nbytes > size.get(index, 0):
                offered = f"device {index}, which offers {_gib(size[index])} in all"
                return Blocked(reason=f"it needs {_gib(nbytes)} of {offered}", forever=True)
        if view.need is None and not any(need.values()):
            return Blocked(reason="no device has room that could be made free for its cold start", forever=False)
        return None

    def _why(self, target: WorkloadView, missing: Mapping[int, int]) -> Blocked:
        """Names who holds what is missing and may not be asked to leave."""
        parts = []
        for index, nbytes in sorted(missing.items()):
            holders = []
            for view in sorted(self.snapshot.workloads, key=lambda view: view.name):
                held = self.ledger.takes(view).get(index, 0)
                if held and view is not target and self._victim(view, commanded=True) is None:
                    word = view.state.value
                    if view.state is State.SEATED:
                        word = "pinned" if view.pinned else "could not be parked"
                    holders.append(f"{view.name} ({word}) {_gib(held)}")
            if foreign := self.ledger.size[index] - self.ledger.capacity[index]:
                holders.append(f"foreign processes {_gib(foreign)}")
            parts.append(
                f"device {index} lacks {_gib(nbytes)}" + ("; held by " + ", ".join(holders) if holders else "")
            )
        return Blocked(reason=", ".join(parts), forever=False)


def _choose(candidates: list[_Victim], missing: Mapping[int, int]) -> list[_Victim] | None:
    """Who makes room; [] if swaps out under way already do; None if all together hold too little."""
    short = dict(missing)
    chosen: list[_Victim] = []
    for victim in candidates:
        if any(nbytes > 0 and victim.takes.get(index) for index, nbytes in short.items()):
            chosen.append(victim)
            short = {index: nbytes - victim.takes.get(index, 0) for index, nbytes in short.items()}
    if any(nbytes > 0 for nbytes in short.values()):
        return None
    # An early small one may be superfluous now that a later large one goes too: spare the most wanted first.
    for victim in reversed(chosen[:]):
        without = {index: nbytes + victim.takes.get(index, 0) for index, nbytes in short.items()}
        if all(nbytes <= 0 for nbytes in without.values()):
            chosen.remove(victim)
            short = without
    return chosen


def _gib(nbytes: int) -> str:
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**29 else f"{nbytes / 2**20:.1f} MiB"
