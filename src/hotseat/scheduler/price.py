"""What it costs to take a seat away, in seconds. Pure; the lowest price makes room.

    price = hold-up + out + chance * (back + head start of its priority)

`hold-up`: until it may leave, which the demand waits for. `out`, `back`: measured swaps. `chance`: how likely somebody
asks for it within the next minute. Whoever has work goes after whoever has none, the more important after the less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from hotseat.scheduler.records import WorkloadView
from hotseat.scheduler.turns import HEAD_START
from hotseat.words import State

LIKELY = 0.5
"""From this chance on a workload counts as expected soon."""
AHEAD = 60.0
"""Seconds: how far the chance looks."""
SWAP_UNMEASURED, STORED_UNMEASURED, START_UNMEASURED = 5.0, 15.0, 60.0
"""Seconds that a swap, a swap in from disk and a cold start are taken for until one was measured."""


CONTEXT = 0.5
"""Seconds that a context takes to leave a device, and to come back."""


def chance(view: WorkloadView, now: float) -> float:
    """From 0 to 1: that it is wanted within the next minute, by what waits, what runs, its rate, and hints."""
    if view.busy or view.warm_until > now:
        return 1.0
    return 1.0 - math.exp(-view.rate * AHEAD)


def saves(view: WorkloadView, *, now: float, others: Iterable[WorkloadView]) -> float:
    """Seconds of waiting that bringing it in now is expected to save within the next minute: its own way in, less its
    way out for whoever of `others` is asked for instead and then has no room."""
    out = SWAP_UNMEASURED if view.out_seconds is None else view.out_seconds
    back = STORED_UNMEASURED if view.state is State.STORED else SWAP_UNMEASURED
    known = view.return_seconds if view.state is State.STORED else view.in_seconds
    nobody = math.prod(1.0 - chance(other, now) for other in others)
    return chance(view, now) * (back if known is None else known) - (1.0 - nobody) * out


def price(view: WorkloadView, *, now: float, leaves_at: float) -> tuple[int, int, float, float, str]:
    """To be compared. Among equals the longest unused goes, and names make the order total."""
    if view.state in (State.PARKED, State.STORED):
        out = back = CONTEXT  # only that leaves
    else:
        out = SWAP_UNMEASURED if view.out_seconds is None else view.out_seconds
        back = SWAP_UNMEASURED if view.in_seconds is None else view.in_seconds
    seconds = leaves_at - now + out + chance(view, now) * (back + HEAD_START * view.priority)
    work = (1, view.priority) if view.busy else (0, 0)
    return (*work, seconds, view.last_used, view.name)


def loss_stored(view: WorkloadView, *, now: float) -> tuple[int, int, float, float, str]:
    """The same for writing what is parked of it to disk: it comes back from there."""
    out = SWAP_UNMEASURED if view.store_seconds is None else view.store_seconds
    back = STORED_UNMEASURED if view.return_seconds is None else view.return_seconds
    work = (1, view.priority) if view.busy else (0, 0)
    return (*work, out + chance(view, now) * (back + HEAD_START * view.priority), view.last_used, view.name)


def loss(view: WorkloadView, *, now: float) -> tuple[int, int, float, float, str]:
    """The same for stopping it: it comes back by a cold start."""
    back = START_UNMEASURED if view.start_seconds is None else view.start_seconds
    work = (1, view.priority) if view.busy else (0, 0)
    return (*work, chance(view, now) * (back + HEAD_START * view.priority), view.last_used, view.name)
