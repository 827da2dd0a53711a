"""Host memory during one decision: what may still be parked, and who goes to disk or is stopped where it is not enough.

There are two kinds, each with its own room: ordinary memory (what the driver parks), and the arena of the store. Where
the arena is short, parked ones whose blocks the store can write to disk are stored rather than stopped. Only who can be
started again is ever stopped, and never one that holds frozen answers: those could not be brought back. A seated one
with answers under way is stopped last, and only after they have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hotseat.scheduler.price import loss, loss_stored
from hotseat.scheduler.records import HostRoom, Snapshot, WorkloadView
from hotseat.words import State

_HOLDING = (State.PARKED, State.STORED, State.SWAPPING_OUT, State.SWAPPING_IN)
_AWAY = (State.PARKED, State.STORED)


@dataclass(frozen=True, slots=True)
class Plan:
    """How some workloads, or what stayed of them, leave the devices."""

    park: Sequence[WorkloadView] = ()
    stop: Sequence[WorkloadView] = ()
    """Instead of being parked."""
    first: Sequence[WorkloadView] = ()
    """Parked ones that are stopped to make room on the host."""
    store: Sequence[WorkloadView] = ()
    """Parked ones that go to disk to make room in the arena."""
    ready: bool = True
    """The host has the room now, so they may go. Else once what is being stopped or stored has ended."""


class Pool:
    """One kind of memory. `now`: bytes free at this moment. `soon`: when everything under way, chosen and promised has
    ended."""

    def __init__(self, room: HostRoom | None, of: Callable[[WorkloadView], int]) -> None:
        self.limited = room is not None
        self.now = self.soon = 0 if room is None else room.budget
        self.of = of

    def add(self, view: WorkloadView) -> None:
        """Of what it holds."""
        nbytes = self.of(view)
        self.now -= nbytes
        if view.state is not State.SWAPPING_IN and not view.stopping and not (view.storing and self.of is _arena):
            self.soon -= nbytes

    def lacks(self, views: Sequence[WorkloadView]) -> int:
        """Bytes that are missing for all of them, in the end; 0 or less if none, also where it is overdrawn and they
        take nothing."""
        nbytes = sum(map(self.of, views))
        return nbytes - self.soon if self.limited and nbytes else 0

    def has_now(self, views: Sequence[WorkloadView]) -> bool:
        nbytes = sum(map(self.of, views))
        return nbytes <= self.now or not nbytes


def _host(view: WorkloadView) -> int:
    return view.host_bytes


def _arena(view: WorkloadView) -> int:
    return view.arena_bytes


def wholly(view: WorkloadView) -> WorkloadView:
    """What the host sees of it where its context leaves the device too; of what is away only that leaves."""
    context = sum(view.context.values())
    if view.state in _AWAY:
        return replace(view, host_bytes=context, arena_bytes=0, parkable=view.wholly)
    if not context:
        return view
    return replace(view, host_bytes=view.host_bytes + context, parkable=view.parkable and view.wholly)


class HostLedger:
    def __init__(self, snapshot: Snapshot, now: float) -> None:
        self.host, self.arena = Pool(snapshot.host, _host), Pool(snapshot.arena, _arena)
        self._pools = [pool for pool in (self.host, self.arena) if pool.limited]
        self._at = now
        self._parked: list[WorkloadView] = []
        self._found: list[WorkloadView] | None = None
        self._disk: list[WorkloadView] | None = None
        self._spared: set[str] = set()
        for view in snapshot.workloads if self._pools else ():
            if view.state not in _HOLDING or not (view.host_bytes or view.arena_bytes):
                continue
            for pool in self._pools:
                pool.add(view)
            if view.state is State.PARKED and not view.storing:
                self._parked.append(view)

    @property
    def _stoppable(self) -> list[WorkloadView]:
        """Parked, and may be stopped; the least lost first."""
        if self._found is None:
            may = [view for view in self._parked if self._may_stop(view) and view.name not in self._spared]
            self._found = sorted(may, key=lambda view: loss(view, now=self._at))
        return self._found

    @property
    def _storable(self) -> list[WorkloadView]:
        """Parked, and may go to disk; the least lost first, and those that nobody wants before all others."""
        if self._disk is None:
            may = [view for view in self._parked if view.storable and view.arena_bytes and view.keep_until <= self._at]
            may = [view for view in may if view.name not in self._spared]
            self._disk = sorted(may, key=lambda view: (not self._unwanted(view), loss_stored(view, now=self._at)))
        return self._disk

    def _unwanted(self, view: WorkloadView) -> bool:
        wanted = view.busy or view.demand_since is not None or view.warm_until > self._at
        return not wanted and view.keep_until <= self._at

    def _may_stop(self, view: WorkloadView) -> bool:
        return view.can_start and not view.pinned and self._unwanted(view)

    def _may_end(self, view: WorkloadView) -> bool:
        """Rather than leave the device in another way."""
        return self._may_stop(view) if view.state in _AWAY else view.can_start

    def can_leave(self, view: WorkloadView) -> bool:
        """Whether this one could, by itself, in one way or another. One that is away: as `wholly` has it."""
        if self._may_end(view) or not (self._pools and view.parkable):
            return self._may_end(view) or view.parkable
        return all(
            (lacking := pool.lacks([view])) <= 0 or lacking <= sum(map(pool.of, self._could_go(pool)))
            for pool in self._pools
        )

    def _could_go(self, pool: Pool) -> list[WorkloadView]:
        if pool is not self.arena:
            return self._stoppable
        names = {view.name for view in self._stoppable}
        return self._stoppable + [view for view in self._storable if view.name not in names]

    def fits(self, view: WorkloadView) -> bool:
        """It may be parked now, and nobody is stopped or stored for it."""
        return view.parkable and all(pool.has_now([view]) and pool.lacks([view]) <= 0 for pool in self._pools)

    def plan(self, leaving: Sequence[WorkloadView]) -> Plan | None:
        """How all of these leave; None if the host has no room for those that can only be parked. Who leaves `wholly`
        stands here as that has it."""
        must = [view for view in leaving if not view.parkable]
        if not all(map(self._may_end, must)):
            return None
        may, going = [view for view in leaving if view.parkable], {view.name for view in leaving}
        storable = [view for view in self._storable if view.name not in going]
        stored = _fewest(storable, _arena, self.arena.lacks(may))
        stopped: list[WorkloadView] = []
        for pool in self._pools:
            gone = [*stopped, *stored] if pool is self.arena else stopped
            chosen = self._stops(pool, may, sum(map(pool.of, gone)), {view.name for view in gone})
            if chosen is None:
                return None
            stopped += chosen
        names = {view.name for view in stopped}
        stored = [view for view in stored if view.name not in names]
        if self.arena.lacks(may) - sum(map(_arena, stopped)) <= 0:
            stored = []  # what is stopped for the other kind of memory has made that room too
        stopped += must
        names = {view.name for view in stopped}
        park = [view for view in leaving if view.name not in names]
        return Plan(
            park=park,
            stop=[view for view in stopped if view.name in going],
            first=[view for view in stopped if view.name not in going],
            store=stored,
            ready=all(pool.has_now(park) for pool in self._pools),
        )

    def _stops(
        self, pool: Pool, leaving: Sequence[WorkloadView], gone: int, names: set[str]
    ) -> list[WorkloadView] | None:
        """Who is stopped beside those with `names`, who make `gone` bytes of room; None if it is not enough."""
        short = pool.lacks(leaving) - gone
        if short <= 0:
            return []
        choice = [view for view in leaving if self._may_end(view) and pool.of(view) and view.name not in names]
        names = names | {view.name for view in leaving}
        others = [view for view in self._stoppable if pool.of(view) and view.name not in names]
        ranked = sorted([*choice, *others], key=lambda view: loss(view, now=self._at))
        if sum(map(pool.of, ranked)) >= short:
            return _fewest(ranked, pool.of, short)
        # The host is over its budget already. Who is stopped makes it no worse; whoever must be parked would.
        if any(pool.of(view) and not self._may_end(view) for view in leaving):
            return None
        return choice

    def take(self, plan: Plan) -> None:
        """It was decided so."""
        for pool in self._pools:
            parked = sum(map(pool.of, plan.park))
            pool.soon += sum(map(pool.of, plan.first)) - parked
            if pool is self.arena:
                pool.soon += sum(map(_arena, plan.store))
            if plan.ready:
                pool.now -= parked
        self.spare([*plan.first, *plan.store])

    def spare(self, views: Sequence[WorkloadView]) -> None:
        """Something else is begun with these."""
        self._spared.update(view.name for view in views)
        if self._found is not None:
            self._found = [view for view in self._found if view.name not in self._spared]
        if self._disk is not None:
            self._disk = [view for view in self._disk if view.name not in self._spared]

    def holders(self) -> Sequence[WorkloadView]:
        """Who is parked and may not be stopped."""
        return sorted((view for view in self._parked if not self._may_stop(view)), key=lambda view: view.name)


def _fewest(ranked: Sequence[WorkloadView], of: Callable[[WorkloadView], int], short: int) -> list[WorkloadView]:
    """The first that together have `short` bytes, or all. An early small one may be superfluous in the end: the dearest
    are spared first."""
    chosen: list[WorkloadView] = []
    for view in ranked:
        if short <= 0:
            break
        if of(view):
            chosen.append(view)
            short -= of(view)
    for view in reversed(chosen[:]):
        if short + of(view) <= 0:
            chosen.remove(view)
            short += of(view)
    return chosen
