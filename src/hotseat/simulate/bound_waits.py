"""What no schedule can beat, even if it knows the future: how long people wait, all together. Pure.

Alone: at the beginning nobody sits. So no workload has a seat before its way in has passed, and a request that comes
earlier waits for the rest of it, w.

Together: take requests of different workloads that do not fit on a device all at once. Each is given its seat, at g,
while its workload holds its memory: from the beginning of its way in to the end of its way out. These intervals have no
moment in common, or more would be held than there is. Intervals of which any two meet have one in common (Helly); so
two of them do not meet: there are i and j for which i has left before j's way in begins. Hence

    g(j) >= g(i) + out(i) + in(j) >= arrival(i) + w(i) + out(i) + in(j)

and whichever two they are, all together wait for at least the sum of w and the smallest of

    arrival(i) + w(i) + out(i) + in(j) - arrival(j) - w(j)          over all i other than j

A request stands in one such set at most, so the waits of sets and of those left alone may be added up. Any choice of
sets is a bound; here each request takes the last free ones before it, one of a workload, until they do not fit. The
least ways count: in or a cold start, out or, where `stops` says so, a stop. Prewarming, freezing in the moment of the
grant and parallel swaps are allowed, so no schedule waits less. Most must wait more: in a set only one is known to.

The other bound, `bound_windows`, is the greater one under load; the greater counts.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import islice

from hotseat.simulate.bound_windows import least_wait_in_windows
from hotseat.simulate.fleet import Fleet
from hotseat.simulate.trace import Trace

_LOOK = 16
"""How many workloads, those asked for last, are looked at for a set."""


class LeastWait:
    """Of one trace on one fleet: worked out when it is asked for, and once."""

    def __init__(self, trace: Trace, fleet: Fleet) -> None:
        self._trace, self._fleet = trace, fleet

    @functools.cached_property
    def any(self) -> float:
        """Seconds, of every schedule."""
        return least_wait(self._trace, self._fleet)

    @functools.cached_property
    def parking(self) -> float:
        """Seconds, of every schedule that stops nobody to make room."""
        return least_wait(self._trace, self._fleet, stops=False)


def least_wait(trace: Trace, fleet: Fleet, *, stops: bool = True) -> float:
    """Seconds that all requests together wait for their seats, at least. `stops`: also of schedules that stop
    workloads to make room; else only of those that park."""
    ins = [min(member.in_seconds, member.costs.start) for member in fleet.members]
    outs = [min(one.out_seconds, one.costs.stop) if stops else one.out_seconds for one in fleet.members]
    sets = _Sets(fleet, ins, outs)
    asked = list(zip(trace.times, (fleet.serves[model] for model in trace.models), strict=True))
    alone = sum(max(0.0, ins[member] - at) for at, member in asked)
    together = sum(sets.wait(at, member) for at, member in asked)
    return alone + max(together, least_wait_in_windows(asked, fleet, ins=ins, outs=outs))


class _Sets:
    """Requests in the order of their arrival; `free` are those that stand in no set, by member, the last one last."""

    def __init__(self, fleet: Fleet, ins: Sequence[float], outs: Sequence[float]) -> None:
        self._ins, self._outs = ins, outs
        self._longest = max(self._ins, default=0.0) + max(self._outs, default=0.0)
        self._sizes = fleet.devices
        self._needs = [{index: nbytes for index, nbytes in one.need.items() if nbytes} for one in fleet.members]
        self._free: list[list[float]] = [[] for _ in fleet.members]
        self._asked: dict[int, dict[int, None]] = {index: {} for index in fleet.devices}
        """Of each device: the members with a free request, who was asked for last behind."""

    def wait(self, at: float, member: int) -> float:
        """What this request adds to the waits of all, beyond what it waits alone."""
        for index in self._needs[member]:
            if (gain := self._together(at, member, index)) > 0.0:
                return gain
        self._free[member].append(at)
        for index in self._needs[member]:
            asked = self._asked[index]
            asked.pop(member, None)
            asked[member] = None
        return 0.0

    def _together(self, at: float, member: int, index: int) -> float:
        """What a set of this one and free ones waits for beyond each alone; they are free no more. 0: there is none."""
        room = self._sizes[index] - self._needs[member][index]
        others: list[int] = []
        for other in islice(reversed(self._asked[index]), _LOOK):
            if room < 0:
                break
            if other != member and at - self._free[other][-1] < self._longest:
                others.append(other)
                room -= self._needs[other][index]
        if room >= 0 or not others:
            return 0.0
        gain = self._least_gain([(at, member), *((self._free[other][-1], other) for other in others)])
        if gain > 0.0:
            for other in others:
                self._take(other)
        return gain

    def _least_gain(self, some: list[tuple[float, int]]) -> float:
        """Over all i other than j: as either part is of one alone, the smallest two of each part tell it."""
        alone = [max(0.0, self._ins[member] - at) for at, member in some]
        firsts = sorted((at + w + self._outs[k], n) for n, ((at, k), w) in enumerate(zip(some, alone, strict=True)))[:2]
        lasts = sorted((self._ins[k] - at - w, n) for n, ((at, k), w) in enumerate(zip(some, alone, strict=True)))[:2]
        return min(first + last for first, i in firsts for last, j in lasts if i != j)

    def _take(self, member: int) -> None:
        self._free[member].pop()
        if not self._free[member]:
            for index in self._needs[member]:
                del self._asked[index][member]
