"""What hotseat learns of a workload by measuring: memory, what its swaps cost, how often it is asked for. No I/O.

Nothing of it is configured, and all of it outlives the daemon (`learned_store`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

WEIGHT = 0.3
"""Of the newest measurement in a moving average: six swaps later an old value counts for a tenth."""
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


@dataclass(slots=True)
class Learned:
    container: str = ""
    """Key of the container whose memory this is."""
    memory: dict[int, int] | None = None
    """Most device memory seen while seated, per device: what a cold start will need."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Moving averages by kind of job: how long a swap out, a swap in, a cold start takes."""
    rate: Rate = field(default_factory=Rate)

    def took(self, kind: str, seconds: float) -> None:
        known = self.seconds.get(kind)
        self.seconds[kind] = seconds if known is None else known + WEIGHT * (seconds - known)

    def holds(self, container: str, gpu_bytes: Mapping[int, int], *, anew: bool) -> None:
        """Seen seated. `anew`: another incarnation than what was known, so that its maximum begins again."""
        known = {} if anew or self.memory is None or container != self.container else self.memory
        self.container = container
        self.memory = {index: max(known.get(index, 0), gpu_bytes.get(index, 0)) for index in {*known, *gpu_bytes}}
