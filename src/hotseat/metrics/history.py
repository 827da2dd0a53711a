"""The last minutes, one point a second, for plots and rates. Pure: the caller brings the clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field


@dataclass(slots=True)
class Second:
    """What one workload did in one second."""

    waiting: int = 0
    """At its end."""
    running: int = 0
    """At its end."""
    requests: int = 0
    """That ended in it."""
    errors: int = 0
    """Of them, those answered with 5xx."""
    tokens: int = 0
    """Written by answers that ended in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    at: float
    """Seconds since the epoch."""
    workloads: Mapping[str, Second] = field(default_factory=dict)
    """Only those that did something or have somebody waiting."""

    def as_json(self) -> dict[str, object]:
        return {"at": self.at, "workloads": {name: asdict(second) for name, second in self.workloads.items()}}


class History:
    """`keep`: seconds."""

    def __init__(self, *, keep: int = 300) -> None:
        self._points: deque[Point] = deque(maxlen=keep)
        self._now: dict[str, Second] = {}

    @property
    def points(self) -> Sequence[Point]:
        return tuple(self._points)

    def count(self, workload: str, *, error: bool = False, tokens: int = 0) -> None:
        """One request has ended."""
        second = self._now.get(workload)
        if second is None:
            second = self._now[workload] = Second()
        second.requests += 1
        second.errors += error
        second.tokens += tokens

    def tick(self, at: float, queues: Mapping[str, tuple[int, int]]) -> Point:
        """A second is over. `queues`: workload -> waiting, running."""
        for name, (waiting, running) in queues.items():
            if waiting or running or name in self._now:
                second = self._now.setdefault(name, Second())
                second.waiting, second.running = waiting, running
        point = Point(at=at, workloads=self._now)
        self._now = {}
        self._points.append(point)
        return point

    def rates(self, workload: str, *, over: int = 10) -> tuple[float, float]:
        """Requests and tokens a second, of the last `over` points."""
        last = list(self._points)[-over:]
        seconds = [point.workloads[workload] for point in last if workload in point.workloads]
        if not last:
            return 0.0, 0.0
        return sum(s.requests for s in seconds) / len(last), sum(s.tokens for s in seconds) / len(last)
