"""The policy: whose turn it is, together where they fit, the fewest and least wanted make room.

Bound on waiting. Let S be the longest stay (`min_stay`, `turns.stay`), H the head start of the greatest difference in
priority, O the longest way out (what `drain` allows, another one's way to disk, and the swap out), I the longest swap
in, n the workloads that share the devices and are not pinned. No demand waits longer than

    H + n * (S + H + O + I)

H: later demands overtake it only if they come less than their head start after it (`turns`). Then its turn is fixed: at
most one demand of each other workload is before it. Its room is promised and no later one can take it. What it waits
for leaves at the latest S + H after it was seated, or H after the demand came, whatever its price (`turns.leaves_at`);
each of the n workloads is waited for at most once. `tests/scheduler` shows it by simulation of this very code. Not
bounded: waiting for memory that is pinned, paused by others, quarantined or foreign (then `Blocked` says so), for host
memory that nobody may give up, for swaps that fail, and for persons, whose commands go first.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hotseat.scheduler import spare, why
from hotseat.scheduler.host import HostLedger, Plan, wholly
from hotseat.scheduler.ledger import Ledger, less
from hotseat.scheduler.records import Action, Blocked, Decision, Kind, Snapshot, WorkloadView
from hotseat.scheduler.turns import turn
from hotseat.scheduler.victims import Seats, Victim, choose, whole
from hotseat.words import State

_PARKED, _STORED, _STOPPED, _SEATED = State.PARKED, State.STORED, State.STOPPED, State.SEATED


def decide(now: float, snapshot: Snapshot) -> Decision:
    """What to begin at `now`. Pure: the order in which devices and workloads stand does not matter."""
    demands, idle, warm, away = [], [], [], []
    for view in snapshot.workloads:  # one pass: most of a large table has no part in a decision
        state = view.state
        at_rest = (state is _PARKED and not view.storing) or (state is _STORED and not view.fetching)
        if at_rest or (state is _STOPPED and view.can_start):
            if view.demand_since is not None:
                demands.append(view)
            elif view.preload or view.warm_until > now:
                warm.append(view)
            elif view.prefetch and at_rest:
                away.append(view)
        elif state is _SEATED and view.idle_timeout is not None:
            idle.append(view)
    round_ = Round(now=now, snapshot=snapshot)
    for view in sorted(demands, key=order):
        if view.not_before > now:
            round_.wake(view.not_before)
        else:
            round_.serve(view)
    spare.leave_idle(round_, idle)
    crowded = spare.leave_crowded(round_)
    spare.warm_up(round_, warm)
    spare.prefetch(round_, away)
    wake_at = None if round_.wake_at == math.inf else round_.wake_at
    return Decision(actions=tuple(round_.actions), wake_at=wake_at, blocked=round_.blocked, crowded=crowded)


def order(view: WorkloadView) -> tuple[bool, float, str]:
    """Of demands: the smaller is served first."""
    assert view.demand_since is not None
    return (not view.commanded, turn(view.demand_since, view.priority), view.name)


@dataclass(slots=True, kw_only=True)
class Round:
    """One decision while it is made, demand by demand in their turn."""

    now: float
    snapshot: Snapshot
    actions: list[Action] = field(default_factory=list)
    blocked: dict[str, Blocked] = field(default_factory=dict)
    wake_at: float = math.inf
    leaving: set[str] = field(default_factory=set)
    """Already chosen to leave their seats."""
    stowed: set[str] = field(default_factory=set)
    """Already chosen to leave the host."""
    unserved: set[int] = field(default_factory=set)
    """Devices that a demand wants some of and has not been promised yet."""
    _ledger: Ledger | None = None
    _host: HostLedger | None = None
    _seats: Seats | None = None
    _elders: dict[int, int] = field(default_factory=dict)
    """Bytes of earlier demands that are seated, or have room promised, by this decision, and will leave again."""
    _holders: dict[int, str] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        if self._ledger is None:
            self._ledger = Ledger(self.snapshot)
        return self._ledger

    @property
    def host(self) -> HostLedger:
        if self._host is None:
            self._host = HostLedger(self.snapshot, self.now)
        return self._host

    @property
    def seats(self) -> Seats:
        if self._seats is None:
            self._seats = Seats(self.snapshot, self.ledger, self.now)
        return self._seats

    def wake(self, at: float) -> None:
        self.wake_at = min(self.wake_at, at)

    def goes(self, view: WorkloadView) -> bool:
        """Off a device, or from the host, by this decision."""
        return view.name in self.leaving or view.name in self.stowed

    def serve(self, view: WorkloadView) -> None:
        gives_up = view.name in self.leaving  # an earlier demand has its context
        need = view.need if gives_up and view.need is not None else self.ledger.wants(view)
        if no := why.too_large(view, need, self.ledger):
            self.blocked[view.name] = no
        elif self.ledger.fits_now(need) and not self.goes(view):
            self.seat(view, need)
            self._is_elder(view, need)
        else:
            self._find_room(view, need, self.ledger.missing(need))

    def seat(self, view: WorkloadView, need: Mapping[int, int], *, why: str = "") -> None:
        kind = Kind.START if view.state is State.STOPPED else Kind.SWAP_IN
        self.actions.append(Action(kind=kind, workload=view.name, why=why))
        self.ledger.seat(need)
        self.host.spare([view])
        self._stays(view)

    def _stays(self, view: WorkloadView) -> None:
        """A context that it has is counted on."""
        if view.context:
            self.seats.drop(view)

    def _find_room(self, view: WorkloadView, need: Mapping[int, int], missing: Mapping[int, int]) -> None:
        candidates = self.seats.on(missing, target=view) if missing else []
        contexts = any(one.sits and one.view.context for one in candidates)
        # Where the host has no room for the context of the cheapest, it may have it for another's.
        for strict in (False, True) if contexts else (False,):
            able = [one for one in candidates if self.host.can_leave(self._form(one, whole=strict))]
            victims = choose(able, missing)
            plan = None if victims is None else self.plan(victims, missing)
            if victims is not None and plan is not None:
                self.make_room(view, victims, plan, missing)
                self.ledger.promise(need)
                self._stays(view)
                self._is_elder(view, need)
                return
        self.unserved.update(missing)
        if choose(candidates, missing) is not None:
            self._block(view, why.host_is_full(self.host))
        elif not self._has_room_after_elders(candidates, missing):
            self._block(view, why.held(missing, self.snapshot, self.ledger, self.now, self._holders))
        # Else earlier demands take in this very decision what it lacks, and make room in their turn. Nothing is
        # promised to it until then; later ones may use the time, they leave as soon as those elders do.

    def plan(self, victims: Sequence[Victim], missing: Mapping[int, int]) -> Plan | None:
        """How they leave, as far as the host is concerned."""
        gone = whole(victims, missing)
        forms = [self._form(victim, whole=victim.view.name in gone) for victim in victims]
        return self.host.plan(forms)

    def _form(self, victim: Victim, *, whole: bool) -> WorkloadView:
        return wholly(victim.view) if whole or not victim.sits else victim.view

    def make_room(self, view: WorkloadView, victims: list[Victim], plan: Plan, missing: Mapping[int, int]) -> None:
        """They go together or not at all: whoever left early would wait for the last one off its seat for nothing."""
        gone = whole(victims, missing) | {one.name for one in plan.stop}
        ready_at = max((victim.leaves_at for victim in victims), default=self.now)
        self.host.take(plan)
        self.host.spare([victim.view for victim in victims])
        for gone_from_host in (*plan.first, *plan.store):
            self.stowed.add(gone_from_host.name)
            self.seats.drop(gone_from_host)
        if ready_at > self.now:
            self.wake(ready_at)
        else:
            self._begin(Kind.STOP, plan.first, view)
            self._begin(Kind.STORE, plan.store, view)
            if plan.ready:
                self._begin(Kind.STOP, plan.stop, view)
                self._begin(Kind.SWAP_OUT, plan.park, view, whole=gone)
        for victim in victims:
            self.leaving.add(victim.view.name)
            self.seats.drop(victim.view)
            stays = {} if victim.view.name in gone else victim.view.context
            self.ledger.will_free(less(victim.takes, stays))

    def _begin(
        self,
        kind: Kind,
        views: Sequence[WorkloadView],
        target: WorkloadView,
        *,
        whole: Collection[str] = (),
    ) -> None:
        self.actions += [
            Action(kind=kind, workload=view.name, makes_room_for=target.name, whole=view.name in whole)
            for view in views
        ]

    def _is_elder(self, view: WorkloadView, need: Mapping[int, int]) -> None:
        if not view.pinned:
            for index, nbytes in need.items():
                self._elders[index] = self._elders.get(index, 0) + nbytes

    def _has_room_after_elders(self, candidates: list[Victim], missing: Mapping[int, int]) -> bool:
        return all(
            self._elders.get(index, 0) + sum(victim.takes.get(index, 0) for victim in candidates) >= nbytes
            for index, nbytes in missing.items()
        )

    def _block(self, view: WorkloadView, blocked: Blocked) -> None:
        """For now: until those that could not leave their seats may be asked again."""
        again_at = min(
            (kept.keep_until for kept in self.snapshot.workloads if kept.keep_until > self.now), default=None
        )
        self.blocked[view.name] = replace(blocked, again_at=again_at)
        if again_at is not None:
            self.wake(again_at)
