"""What happened, counted."""

from __future__ import annotations

import collections
import statistics
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Tally:
    began: float = field(default_factory=time.monotonic)
    answers: collections.Counter[str] = field(default_factory=collections.Counter)
    """Kind of request -> answered as undisturbed."""
    excused: collections.Counter[str] = field(default_factory=collections.Counter)
    """Why a try did not count: our own kill took its connection or its engine, and it was sent again."""
    disturbances: collections.Counter[str] = field(default_factory=collections.Counter)
    waits: list[float] = field(default_factory=list)
    """Seconds until the seat, as the gateway's header says."""
    swapped: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def fault(self, what: str) -> None:
        self.wrong.append(f"[{time.monotonic() - self.began:7.1f} s] {what}")
        print("WRONG", self.wrong[-1], flush=True)

    def note(self, name: str, value: str) -> None:
        self.notes[name] = value

    def waited(self, quantile: float) -> float:
        if len(self.waits) < 2:
            return self.waits[0] if self.waits else 0.0
        return statistics.quantiles(self.waits, n=1000, method="inclusive")[round(quantile * 1000) - 1]

    def line(self, held: dict[str, Any]) -> str:
        return (
            f"{sum(self.answers.values())} answers, {self.swapped} after a swap, {sum(self.excused.values())} sent "
            f"again, {sum(self.disturbances.values())} disturbances, {len(self.wrong)} wrong; daemon {held}"
        )
