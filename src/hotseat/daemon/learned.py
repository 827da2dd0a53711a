"""What hotseat learns of a workload by measuring: memory, what its swaps cost, how often it is asked for. No I/O.

Nothing of it is configured, and all of it outlives the daemon (`learned_store`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hotseat.scheduler import Rate

WEIGHT = 0.3
"""Of the newest measurement in a moving average: six swaps later an old value counts for a tenth."""


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
