"""Who decides in the simulated world: hotseat's scheduler itself, and what it is compared with. Pure.

The baselines get the same snapshot and answer with the same actions as `decide`. They are simple on purpose:

`fifo`         strictly in the order of arrival: nobody is served before the request that came before it. Only who
               answers nobody makes room, the longest unused first.
`lru`          serve at once: the least recently used makes room as soon as somebody asks for another; it takes no new
               requests then, ends those it has, and is parked.
`stop-start`   the same with stop and cold start in place of parking, as llama-swap does.
`clairvoyant`  `lru`, but whose next request is the farthest in the future makes room (Belady's rule).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hotseat.scheduler import Action, Decision, Kind, Snapshot, WorkloadView, decide
from hotseat.scheduler.ledger import Ledger
from hotseat.words import State

Future = Callable[[str], float]
"""Name of a workload -> when its next request arrives, which only the clairvoyant asks; infinite: never again."""
Choose = Callable[[float, Snapshot, Future], Decision]
Order = Callable[[WorkloadView], tuple[float, ...]]

_ASKED = (State.PARKED, State.STOPPED)
_ON_HOST = (State.PARKED, State.SWAPPING_OUT, State.SWAPPING_IN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    name: str
    about: str
    choose: Choose
    drains: bool = True
    """Who makes room ends its answers first. (hotseat: as the workload's `drain` says.)"""
    in_order: bool = False
    """No request is given its seat before those that came earlier."""
    parks: bool = True
    """Workloads are parked at the beginning; else stopped."""


def _hotseat(now: float, snapshot: Snapshot, _future: Future) -> Decision:
    return decide(now, snapshot)


def _fifo(now: float, snapshot: Snapshot, _future: Future) -> Decision:
    asked = [view for view in snapshot.workloads if view.demand_since is not None and view.state is not State.SEATED]
    head = min(asked, key=_since, default=None)
    if head is None or head.state not in _ASKED:
        return Decision()
    return _make_room(snapshot, [head], lambda view: (view.last_used,), only_idle=True)


def _lru(now: float, snapshot: Snapshot, _future: Future) -> Decision:
    def used(view: WorkloadView) -> tuple[float, ...]:
        return (now if view.busy else view.last_used, view.seated_since)

    return _make_room(snapshot, _demands(snapshot), used)


def _stop_start(now: float, snapshot: Snapshot, future: Future) -> Decision:
    decision = _lru(now, snapshot, future)
    return Decision(
        actions=tuple(
            Action(kind=Kind.STOP if action.kind is Kind.SWAP_OUT else action.kind, workload=action.workload)
            for action in decision.actions
        )
    )


def _clairvoyant(now: float, snapshot: Snapshot, future: Future) -> Decision:
    def soonest_last(view: WorkloadView) -> tuple[float, ...]:
        return (math.inf if view.busy else -future(view.name), view.last_used)

    return _make_room(snapshot, _demands(snapshot), soonest_last)


HOTSEAT = Policy(name="hotseat", about="hotseat's scheduler", choose=_hotseat, drains=False)
BASELINES = (
    Policy(name="fifo", about="strictly in the order of arrival", choose=_fifo, in_order=True),
    Policy(name="lru", about="at once; the least recently used is parked", choose=_lru),
    Policy(name="stop-start", about="at once; the least recently used is stopped", choose=_stop_start, parks=False),
    Policy(name="clairvoyant", about="at once; who is wanted last is parked", choose=_clairvoyant),
)


def _since(view: WorkloadView) -> tuple[float, str]:
    assert view.demand_since is not None
    return view.demand_since, view.name


def _demands(snapshot: Snapshot) -> list[WorkloadView]:
    asked = (view for view in snapshot.workloads if view.demand_since is not None and view.state in _ASKED)
    return sorted(asked, key=_since)


def _make_room(
    snapshot: Snapshot, demands: Sequence[WorkloadView], order: Order, *, only_idle: bool = False
) -> Decision:
    """Demands in turn; who sits leaves in `order`. Where the host has no room for one more parked, it is stopped."""
    if not demands:
        return Decision()
    ledger = Ledger(snapshot)
    actions: list[Action] = []
    seated = [view for view in snapshot.workloads if view.state is State.SEATED and not view.pinned]
    sitting = sorted((view for view in seated if not (only_idle and view.running)), key=lambda v: (*order(v), v.name))
    room = _host_room(snapshot)
    for view in demands:
        need = view.need or {}
        if ledger.fits_now(need):
            kind = Kind.SWAP_IN if view.state is State.PARKED else Kind.START
            actions.append(Action(kind=kind, workload=view.name))
            ledger.seat(need)
            continue
        chosen = _enough(sitting, ledger, need)
        for victim in chosen:
            sitting.remove(victim)
            ledger.will_free(victim.holds)
            kind = Kind.SWAP_OUT if victim.host_bytes <= room else Kind.STOP
            room -= victim.host_bytes if kind is Kind.SWAP_OUT else 0
            actions.append(Action(kind=kind, workload=victim.name, makes_room_for=view.name))
        ledger.promise(need)
    return Decision(actions=tuple(actions))


def _enough(sitting: Sequence[WorkloadView], ledger: Ledger, need: object) -> list[WorkloadView]:
    """The first of `sitting` that hold what is missing; none of them if all together do not."""
    assert isinstance(need, dict)
    missing = dict(ledger.missing(need))
    chosen = []
    for view in sitting:
        if not missing:
            break
        if missing.keys() & view.holds.keys():
            chosen.append(view)
            missing = {k: n - view.holds.get(k, 0) for k, n in missing.items() if n > view.holds.get(k, 0)}
    return [] if missing else chosen


def _host_room(snapshot: Snapshot) -> float:
    if snapshot.host is None:
        return math.inf
    held = sum(view.host_bytes for view in snapshot.workloads if view.state in _ON_HOST)
    return snapshot.host.budget - held
