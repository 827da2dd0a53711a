"""What happens to seats that nobody with demand needs: idle time-outs, caps, hints, preloads, and who is expected.
After demands. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hotseat.scheduler import why
from hotseat.scheduler.host import Plan, wholly
from hotseat.scheduler.ledger import less
from hotseat.scheduler.price import LIKELY, chance, price, saves
from hotseat.scheduler.records import Action, Kind, WorkloadView
from hotseat.scheduler.turns import leaves_at
from hotseat.scheduler.victims import Victim, choose, may_leave
from hotseat.words import State

if TYPE_CHECKING:
    from hotseat.scheduler.decide import Round

_IDLE = "had no request for its idle_timeout"


def leave_idle(round_: Round, views: Sequence[WorkloadView]) -> None:
    """Whoever had no request for its `idle_timeout` gives up its seat, unless it is pinned or wanted soon."""
    for view in views:
        if view.idle_timeout is None or view.busy or view.pinned or view.name in round_.leaving:
            continue
        at = max(max(view.last_used, view.seated_since) + view.idle_timeout, view.warm_until, view.keep_until)
        if at > round_.now:
            round_.wake(at)
        elif view.idle_stops and view.can_start:
            _leaves(round_, view, Kind.STOP, _IDLE)
        elif round_.host.fits(view):
            round_.host.take(Plan(park=[view]))
            _leaves(round_, view, Kind.SWAP_OUT, _IDLE)
        # Else the host has no room: it stays, for nobody needs its seat and nobody is stopped for that.


def leave_crowded(round_: Round) -> bool:
    """Where more sits than the cap allows, those leave that have no work, the least wanted first; but none that could
    not come back under the cap, and nobody is stopped. Whether somebody may follow who has work now."""
    over = round_.ledger.over()
    if not over:
        return False
    ready, later = [], False
    for view in round_.snapshot.workloads:
        if round_.goes(view) or not may_leave(view, round_.now):
            continue
        if not any(view.holds.get(index) for index in over):
            continue
        if any(nbytes > round_.ledger.size.get(index, 0) for index, nbytes in view.holds.items()):
            continue
        if view.state in (State.PARKED, State.STORED):
            ready.append(Victim(view, view.context, round_.now))
            continue
        at = leaves_at(view, now=round_.now, priority=view.priority, since=round_.now, commanded=False)
        if view.busy or view.state is not State.SEATED or view.warm_until > round_.now:
            later = True
        elif at > round_.now:
            later = True
            round_.wake(at)
        else:
            ready.append(Victim(view, view.holds, at))
    ready.sort(key=lambda victim: price(victim.view, now=round_.now, leaves_at=victim.leaves_at))
    for victim in ready if (chosen := choose(ready, over)) is None else chosen:
        if round_.host.fits(form := wholly(victim.view)):
            round_.host.take(Plan(park=[form]))
            _leaves(round_, victim.view, Kind.SWAP_OUT, "more sits than the cap of its device allows", whole=True)
    return later and bool(round_.ledger.over())


def _leaves(round_: Round, view: WorkloadView, kind: Kind, why: str, *, whole: bool = False) -> None:
    round_.actions.append(Action(kind=kind, workload=view.name, why=why, whole=whole))
    round_.leaving.add(view.name)
    round_.seats.drop(view)
    round_.ledger.will_free(view.holds if whole or kind is Kind.STOP else less(view.holds, view.context))


def warm_up(round_: Round, views: Sequence[WorkloadView]) -> None:
    """Hints and preloads: where it fits beside everything promised. A hint may also send off who has no work and no
    hint, once nobody with demand is left who waits for these devices; it stops nobody."""
    for view in sorted(views, key=lambda view: (-view.priority, view.name)):
        need = round_.ledger.wants(view)
        if view.not_before > round_.now:
            round_.wake(view.not_before)
        elif round_.goes(view) or round_.unserved & need.keys() or why.too_large(view, need, round_.ledger):
            continue
        elif round_.ledger.fits_now(need):
            round_.seat(view, need)
        elif view.warm_until > round_.now:
            _send_off(round_, view)


def prefetch(round_: Round, views: Sequence[WorkloadView]) -> None:
    """Who is expected soon by its rate comes in where it fits beside everything promised, the likeliest first, and only
    where that saves more than it costs those who would then find no room. Nobody leaves for it."""
    now = round_.now
    likely = [(chance(view, now), view) for view in views if view.rate]
    for _, view in sorted(((-c, view) for c, view in likely if c >= LIKELY), key=lambda one: (one[0], one[1].name)):
        need = round_.ledger.wants(view)
        if view.not_before > now:
            round_.wake(view.not_before)
        elif round_.goes(view) or round_.unserved & need.keys() or not round_.ledger.fits_now(need):
            continue
        elif saves(view, now=now, others=_crowded_out(round_, view, need)) > 0:
            round_.seat(view, need, why="is expected soon")


def _crowded_out(round_: Round, view: WorkloadView, need: Mapping[int, int]) -> Iterator[WorkloadView]:
    """Those that are away, have room now, and would have none beside it."""
    ledger, coming = round_.ledger, {action.workload for action in round_.actions}
    for other in round_.snapshot.workloads:
        away = other.state in (State.PARKED, State.STORED, State.STOPPED)
        if (
            away
            and other.rate
            and other.name not in {view.name, *coming}
            and ledger.fits_now(wants := ledger.wants(other))
        ):
            both = {index: nbytes + need.get(index, 0) for index, nbytes in wants.items()}
            if not ledger.fits_now(both):
                yield other


def _send_off(round_: Round, view: WorkloadView) -> None:
    now, need = round_.now, round_.ledger.wants(view)
    missing = round_.ledger.missing(need)
    candidates = [
        victim
        for victim in round_.seats.on(missing, target=view)
        if not victim.view.busy and victim.view.warm_until <= now and victim.leaves_at <= now
    ]
    victims = choose(candidates, missing)
    if victims is None:
        return
    plan = round_.plan(victims, missing)
    if plan is None or not all(map(round_.host.fits, plan.park)):
        return
    if not plan.stop and not plan.first and not plan.store and plan.ready:
        round_.make_room(view, victims, plan, missing)
        round_.ledger.promise(need)
