"""Keeps what was learned in a table of its own in the journal's database. One writer: the daemon.

Written at ends of jobs and every so often, never per request. Rates are kept against the wall clock, for the event
loop's begins anew with every boot.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping

from hotseat.daemon.learned import Learned
from hotseat.scheduler import Rate
from hotseat.swap.journal import Journal


class LearnedStore:
    """`clock`: the loop's, `wall`: seconds since the epoch."""

    def __init__(self, journal: Journal, *, clock: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._clock = clock
        self._wall = wall

    def load(self) -> dict[str, Learned]:
        """By workload. A row that cannot be read is left out: it will be measured again."""
        out = {}
        now, wall = self._clock(), self._wall()
        for name, container, memory, seconds, rate, at in self._journal.rows(
            "SELECT name, container, memory, seconds, rate, rate_at FROM learned ORDER BY name"
        ):
            try:
                out[name] = Learned(
                    container=container,
                    memory=None if memory is None else {int(k): int(v) for k, v in json.loads(memory).items()},
                    seconds={str(k): float(v) for k, v in json.loads(seconds).items()},
                    rate=Rate(value=_finite(rate), at=now - max(0.0, wall - _finite(at))),
                )
            except (ValueError, TypeError, AttributeError):
                continue
        return out

    def save(self, learned: Mapping[str, Learned]) -> None:
        """`Failed` if the disk does not take it."""
        now, wall = self._clock(), self._wall()
        rows = [
            (
                name,
                one.container,
                None if one.memory is None else json.dumps(one.memory),
                json.dumps(one.seconds),
                one.rate.of(now),
                wall,
            )
            for name, one in learned.items()
        ]
        with self._journal.transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO learned (name, container, memory, seconds, rate, rate_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )


def _finite(value: object) -> float:
    number = float(str(value))
    if not math.isfinite(number):
        raise ValueError(f"not a number: {value!r}")
    return number
