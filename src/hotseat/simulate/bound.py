"""What no schedule can beat, even if it knows the future: the fewest seats taken and the least time spent on it. Pure.

Let nobody wait longer than `slack` seconds for a seat. Two requests for one workload, at s and t (the next after s):
either it sat all the time between the two, and so held its memory at least from s + slack until t; or its seat was
taken anew for the second. Take all GPUs of an island together as one memory over all the time of the trace (that can
only help), and keep of these intervals those that save most a byte-second until the memory is used up, the last one in
part: no schedule keeps more. The others, and the first request of each workload, cost a swap in (or cold start) each.

This is PFOO-L of Berger, Beckmann, Harchol-Balter, "Practical bounds on optimal caching with variable object sizes"
(SIGMETRICS 2018), for requests that may wait. It bounds from below the seats taken, and the seconds spent on taking
and leaving them, of every policy whose longest wait is at most `slack`; it says nothing about waits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hotseat.simulate.fleet import Fleet
from hotseat.simulate.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Least:
    seats_taken: int
    """Swaps in and cold starts."""
    seconds: float
    """Of all ways in, and of the ways out that they need; the last way out of a workload may be left out."""


def least(trace: Trace, fleet: Fleet, *, slack: float) -> Least:
    """`slack` may be infinite: then each workload that is asked for at all must sit once."""
    taken, seconds = 0.0, 0.0
    span = trace.span
    home = {member: n for n, (_, members) in enumerate(fleet.islands()) for member in members}
    gaps: list[list[tuple[float, int]]] = [[] for _ in fleet.islands()]
    last: dict[int, float] = {}
    for at, model in zip(trace.times, trace.models, strict=True):
        member = fleet.serves[model]
        before = last.get(member)
        if before is None:
            taken += 1
            seconds += _in(fleet, member)
        elif at - before > slack:
            gaps[home[member]].append((at - before - slack, member))
        last[member] = at
    for (devices, _), some in zip(fleet.islands(), gaps, strict=True):
        room = sum(fleet.devices[index] for index in devices) * span
        taken += _not_kept(some, fleet, room, [1.0] * len(fleet.members))
        costs = [_in(fleet, k) + _out(fleet, k) for k in range(len(fleet.members))]
        seconds += _not_kept(some, fleet, room, costs)
    # What is kept only in part makes a fraction; a count cannot be below the next whole number.
    return Least(seats_taken=math.ceil(taken - 1e-6), seconds=seconds)


def _not_kept(gaps: Sequence[tuple[float, int]], fleet: Fleet, room: float, worth: Sequence[float]) -> float:
    """The least worth of those that do not fit: the fractional knapsack."""
    price = [fleet.members[k].nbytes for k in range(len(fleet.members))]
    gone = 0.0
    for seconds, member in sorted(gaps, key=lambda gap: (gap[0] * price[gap[1]] / max(worth[gap[1]], 1e-12), gap[1])):
        uses = seconds * price[member]
        if uses <= room:
            room -= uses
        else:
            gone += worth[member] * (1.0 - room / uses)
            room = 0.0
    return gone


def _in(fleet: Fleet, member: int) -> float:
    """The cheapest way in."""
    one = fleet.members[member]
    return min(one.in_seconds, one.costs.start)


def _out(fleet: Fleet, member: int) -> float:
    one = fleet.members[member]
    return min(one.out_seconds, one.costs.stop)
