"""Host memory during one decision: what may still be parked, and who is stopped where that is not enough.

Only who can be started again is ever stopped, and never one that holds frozen answers: those could not be brought
back. A seated one with answers under way is stopped last, and only after they have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hotseat.scheduler.price import loss
from hotseat.scheduler.records import Snapshot, WorkloadView
from hotseat.words import State

_HOLDING = (State.PARKED, State.SWAPPING_OUT, State.SWAPPING_IN)


@dataclass(frozen=True, slots=True)
class Plan:
    """How some workloads leave their seats."""

    park: Sequence[WorkloadView] = ()
    stop: Sequence[WorkloadView] = ()
    first: Sequence[WorkloadView] = ()
    """Parked ones that are stopped to make room on the host."""
    ready: bool = True
    """The host has the room now, so they may go. Else once what is being stopped has ended."""


class HostLedger:
    """`now`: bytes free at this moment. `soon`: when everything under way, chosen and promised has ended."""

    def __init__(self, snapshot: Snapshot, now: float) -> None:
        self.limited = snapshot.host is not None
        self._at = now
        self._parked: list[WorkloadView] = []
        self._found: list[WorkloadView] | None = None
        self.now = self.soon = 0
        if snapshot.host is None:
            return
        self.now = self.soon = snapshot.host.budget
        for view in snapshot.workloads:
            if not view.host_bytes or view.state not in _HOLDING:
                continue
            self.now -= view.host_bytes
            if view.state is not State.SWAPPING_IN and not view.stopping:
                self.soon -= view.host_bytes
            if view.state is State.PARKED:
                self._parked.append(view)

    @property
    def _stoppable(self) -> list[WorkloadView]:
        """Parked, and may be stopped; the least lost first."""
        if self._found is None:
            self._found = sorted(filter(self._may_stop, self._parked), key=lambda view: loss(view, now=self._at))
        return self._found

    def _may_stop(self, view: WorkloadView) -> bool:
        wanted = view.busy or view.demand_since is not None or view.warm_until > self._at
        return view.can_start and not view.pinned and not wanted and view.keep_until <= self._at

    def can_leave(self, view: WorkloadView) -> bool:
        """Whether this one could, by itself, in one way or another."""
        if view.can_start or not (self.limited and view.parkable):
            return view.can_start or view.parkable
        lacking = view.host_bytes - self.soon
        return lacking <= 0 or lacking <= sum(other.host_bytes for other in self._stoppable)

    def fits(self, view: WorkloadView) -> bool:
        """It may be parked now, and nobody is stopped for it."""
        return view.parkable and (not self.limited or view.host_bytes <= min(self.now, self.soon))

    def plan(self, leaving: Sequence[WorkloadView]) -> Plan | None:
        """How all of these leave; None if the host has no room for those that can only be parked."""
        must = [view for view in leaving if not view.parkable]
        if not all(view.can_start for view in must):
            return None
        short = sum(view.host_bytes for view in leaving if view.parkable) - self.soon
        stopped: list[WorkloadView] = []
        if self.limited and short > 0:
            choice = [view for view in leaving if view.parkable and view.can_start and view.host_bytes]
            for view in sorted([*choice, *self._stoppable], key=lambda view: loss(view, now=self._at)):
                if short <= 0:
                    break
                stopped.append(view)
                short -= view.host_bytes
            if short > 0:
                # The host is over its budget already. Who is stopped makes it no worse; whoever must be parked would.
                if any(view.parkable and view.host_bytes and not view.can_start for view in leaving):
                    return None
                stopped = choice
            for view in reversed(stopped[:]):  # an early small one may be superfluous now: spare the dearest first
                if short + view.host_bytes <= 0:
                    stopped.remove(view)
                    short += view.host_bytes
        stopped += must
        park = [view for view in leaving if view not in stopped]
        return Plan(
            park=park,
            stop=[view for view in stopped if view.state is not State.PARKED],
            first=[view for view in stopped if view.state is State.PARKED],
            ready=not (self.limited and park) or sum(view.host_bytes for view in park) <= self.now,
        )

    def take(self, plan: Plan) -> None:
        """It was decided so."""
        if not self.limited:
            return
        parked = sum(view.host_bytes for view in plan.park)
        self.soon += sum(view.host_bytes for view in plan.first) - parked
        if plan.ready:
            self.now -= parked
        if plan.first:
            self._found = [view for view in self._stoppable if view not in plan.first]

    def holders(self) -> Sequence[WorkloadView]:
        """Who is parked and may not be stopped."""
        return sorted((view for view in self._parked if not self._may_stop(view)), key=lambda view: view.name)
