"""Whose turn it is, how long a seat is kept, and when to ask again: the rules that the bound on waiting rests on. Pure.

One point of priority is worth one second of waiting. So priority is a head start and never a veto: a demand is
overtaken only by demands that came less than (difference of priorities) seconds after it.
"""

from __future__ import annotations

import math

from hotseat.scheduler.records import WorkloadView
from hotseat.words import State

HEAD_START = 1.0
"""Seconds of waiting that one point of priority is worth."""
SHORTEST_STAY = 0.1
"""Seconds. A seat that is left before one token was made serves nobody: two workloads would swap for ever."""
STOP_DRAIN = 60.0
"""Seconds that answers have to end before a stop, where `drain` is off."""
KEEP_AFTER_FAILURE, LONGEST_KEEP = 2.0, 30.0
"""Seconds until a workload that could not be sent away is asked again: after the first time, and at most."""


def turn(since: float, priority: int) -> float:
    """Demands are served in the order of this: as if the important ones had come earlier."""
    return since - HEAD_START * priority


def head_start(priority: int, *, over: int) -> float:
    """Seconds for which one of `priority` keeps its seat beyond its stay from a demand of the other."""
    return HEAD_START * max(0, priority - over)


def stay(configured: float, *, out: float, back: float) -> float:
    """Seconds for which a seat is kept: as configured, or as long as its swap out and in take (measured; 0 before).

    So of the time of workloads that are wanted all the time at least half is work, however slow the swaps are. That
    the rent should equal the price is the answer to the ski-rental problem (Karlin et al., 1988)."""
    return max(configured, SHORTEST_STAY, out + back)


def keep_for(failures: int) -> float:
    """Seconds until a workload is asked again to leave its seat, after so many `failures` in a row (1 or more)."""
    return min(KEEP_AFTER_FAILURE * 2.0 ** min(failures - 1, 10), LONGEST_KEEP)


def leaves_at(view: WorkloadView, *, now: float, priority: int, since: float, commanded: bool) -> float:
    """From when a seated workload may be parked for a demand of `priority` that waits `since` then; never later than
    its head start after the later of that and the end of its `min_stay`. Infinite while it is on its way in: the end of
    that is an event, not a time.

    While it has work that demand must have waited for its head start: else its frozen answers would overtake it at
    once, and the seat would be left in vain."""
    if view.state is State.SWAPPING_IN:
        return math.inf
    if commanded or view.state in (State.PARKED, State.STORED):  # only its context is there
        return now
    until = view.seated_since + view.min_stay
    if view.busy:
        until = max(until, since)
    until += head_start(view.priority, over=priority)
    if not view.busy:
        until = min(until, view.last_used + view.linger)
    return max(now, until)
