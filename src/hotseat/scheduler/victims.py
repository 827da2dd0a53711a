"""Who could make room on the devices during one decision, and which of them it costs least to ask. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hotseat.scheduler.ledger import Ledger
from hotseat.scheduler.price import price
from hotseat.scheduler.records import Snapshot, WorkloadView
from hotseat.scheduler.turns import leaves_at
from hotseat.words import State

_COMING = State.SWAPPING_IN
_SITS = (State.SEATED, State.SWAPPING_IN)
_AWAY = (State.PARKED, State.STORED)


@dataclass(frozen=True, slots=True)
class Victim:
    view: WorkloadView
    takes: Mapping[int, int]
    leaves_at: float

    @property
    def sits(self) -> bool:
        """Else it is parked, and only its context is there."""
        return self.view.state in _SITS


def may_leave(view: WorkloadView, now: float) -> bool:
    """Now or later: it is no fixture. Of a parked one its context may."""
    if view.keep_until > now:
        return False
    if view.state in _AWAY:
        return any(view.context.values()) and not (view.storing or view.fetching)
    return view.state in _SITS and not view.pinned


class Seats:
    """Workloads that hold some of a device and may be asked to leave, found by device."""

    def __init__(self, snapshot: Snapshot, ledger: Ledger, now: float) -> None:
        self._now = now
        self._on: dict[int, dict[str, tuple[WorkloadView, Mapping[int, int]]]] = {}
        for view in snapshot.workloads:
            if (view.holds or view.state is _COMING) and may_leave(view, now):
                takes = view.context if view.state in _AWAY else ledger.takes(view)
                for index, nbytes in takes.items():
                    if nbytes:
                        self._on.setdefault(index, {})[view.name] = (view, takes)

    def on(self, devices: Iterable[int], *, target: WorkloadView) -> list[Victim]:
        """Those that sit on any of these, for `target`; the cheapest first."""
        found: dict[str, Victim] = {}
        for index in devices:
            for name, (view, takes) in self._on.get(index, {}).items():
                if name not in found and name != target.name:
                    found[name] = Victim(view, takes, self.leaves_at(view, target))
        return sorted(found.values(), key=lambda victim: price(victim.view, now=self._now, leaves_at=victim.leaves_at))

    def leaves_at(self, view: WorkloadView, target: WorkloadView) -> float:
        """For a demand that comes now where there is none yet."""
        since = self._now if target.demand_since is None else target.demand_since
        priority, commanded = target.priority, target.commanded
        return leaves_at(view, now=self._now, priority=priority, since=since, commanded=commanded)

    def drop(self, view: WorkloadView) -> None:
        """It has been asked."""
        for index in list(self._on) if view.need is None else view.holds.keys() | view.need.keys():
            self._on.get(index, {}).pop(view.name, None)


def choose(candidates: Sequence[Victim], missing: Mapping[int, int]) -> list[Victim] | None:
    """Who makes room; [] if swaps out under way already do; None if all together hold too little."""
    short = dict(missing)
    chosen: list[Victim] = []
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


def whole(victims: Sequence[Victim], missing: Mapping[int, int]) -> set[str]:
    """Names of those among them whose contexts must leave too, if `missing` is to be free: the most wanted keep theirs
    first. `victims`: chosen for `missing`, the cheapest first."""
    over = {index: sum(victim.takes.get(index, 0) for victim in victims) - n for index, n in missing.items()}
    gone = {victim.view.name for victim in victims if not victim.sits}
    for victim in reversed(victims):
        if not victim.sits or not any(victim.view.context.values()):
            continue
        if all(nbytes <= over[index] for index, nbytes in victim.view.context.items() if index in over):
            over = {index: nbytes - victim.view.context.get(index, 0) for index, nbytes in over.items()}
        else:
            gone.add(victim.view.name)
    return gone
