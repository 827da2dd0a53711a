"""What came of every request, and of every workload's and GPU's time. Plain arrays, written by the world."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field

from hotseat.simulate.trace import Trace


@dataclass(slots=True, eq=False)
class Results:
    trace: Trace
    wait: array[float] = field(init=False)
    """Seconds from its arrival until its seat was given; not a number: never."""
    first: array[float] = field(init=False)
    """... until its first token."""
    end: array[float] = field(init=False)
    freezes: array[int] = field(init=False)
    """How often it was frozen in mid-answer."""

    def __post_init__(self) -> None:
        count = len(self.trace)
        self.wait, self.first, self.end = (array("d", (math.nan,)) * count for _ in range(3))
        self.freezes = array("i", (0,)) * count


@dataclass(slots=True)
class Tally:
    """Of one workload."""

    swaps_out: int = 0
    swaps_in: int = 0
    starts: int = 0
    stops: int = 0
    seconds: float = 0.0
    """All of them together took so long."""

    @property
    def seats_taken(self) -> int:
        return self.swaps_in + self.starts


@dataclass(slots=True)
class Meter:
    """One GPU's time: at each instant it is busy, lost or idle."""

    computing: int = 0
    """Workloads on it that answer somebody now."""
    moving: int = 0
    """Workloads that come to it or leave it now."""
    since: float = 0.0
    busy: float = 0.0
    """Seconds in which at least one of its workloads answered somebody."""
    lost: float = 0.0
    """Seconds in which none did, and at least one was on its way in or out."""

    def turn(self, now: float, *, computing: int = 0, moving: int = 0) -> None:
        if self.computing:
            self.busy += now - self.since
        elif self.moving:
            self.lost += now - self.since
        self.since = now
        self.computing += computing
        self.moving += moving
