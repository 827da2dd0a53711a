"""Whose time a swap takes: every second of it lands in exactly one `PhaseTime`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hotseat.words import PhaseTime

OVERHEAD = "overhead"
"""The phase that holds hotseat's own time between and inside the phases of others."""


class Meter:
    """One per swap, used by one task at a time.

    Inside a `phase`, `of(part)` gives the time of its block to that part. What is left of the phase is hotseat's: shown
    under the phase's name if the phase is hotseat's own, else collected in `OVERHEAD`, so that nothing is left out.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begun = clock()
        self._phases: list[PhaseTime] = []
        self._parts: dict[str, float] | None = None
        self._inside = False

    @contextmanager
    def phase(self, name: str, *, part: str = "hotseat") -> Iterator[None]:
        """Measure one phase. Phases do not nest."""
        begun = self._clock()
        parts = self._parts = {}
        try:
            yield
        finally:
            whole = self._clock() - begun
            self._parts = None
            if part == "hotseat" or not parts:
                parts[part] = parts.get(part, 0.0) + max(0.0, whole - sum(parts.values()))
            for owner in sorted(parts, key=lambda one: one != part):
                self._phases.append(PhaseTime(name=name, seconds=parts[owner], part=owner))

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """The block's time is `part`'s, not hotseat's. Of nested blocks the outer one counts."""
        if self._inside or self._parts is None:
            yield
            return
        self._inside, begun, parts = True, self._clock(), self._parts
        try:
            yield
        finally:
            self._inside = False
            parts[part] = parts.get(part, 0.0) + self._clock() - begun

    def phases(self) -> tuple[PhaseTime, ...]:
        """All of them so far, then the overhead: their sum is the time since this meter was made."""
        known = sum(phase.seconds for phase in self._phases)
        rest = max(0.0, self._clock() - self._begun - known)
        return (*self._phases, PhaseTime(name=OVERHEAD, seconds=rest))
