"""How often a workload is asked for. No clock: time comes in as an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass

RATE_SECONDS = 300.0
"""Mean age of what the rate counts: a request of five minutes ago counts for a third of one of now."""


@dataclass(slots=True)
class Rate:
    """A decayed counter: requests per second of late."""

    value: float = 0.0
    at: float = 0.0
    """Seconds on the clock of whoever asks; never goes back."""

    def count(self, now: float) -> None:
        # `of`, without the call: this is done once a request
        self.value = self.value * math.exp(min(0.0, self.at - now) / RATE_SECONDS) + 1.0 / RATE_SECONDS
        self.at = now

    def of(self, now: float) -> float:
        return self.value * math.exp(min(0.0, self.at - now) / RATE_SECONDS)
