"""What a person may set about swaps, beside the deadlines."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Margins in bytes and what to do with a workload that is lost."""

    host_margin: int = 64 * MIB
    """Host memory that must stay free beside what a park moves there."""
    host_margin_share: float = 0.03
    """The same as a share of the bytes moved: page tables and the driver's own buffers grow with them."""
    device_margin: int = 0
    """Device memory that a reservation leaves free, per device."""
    free_on_quarantine: bool = True
    """Kill a quarantined container, so that others can have its device memory. Never done to one that still runs and
    only failed its probe. Without it the container stays as it is, for a person to look at."""
    newcomer_rounds: int = 5
    """How often a swap out starts over for CUDA processes that appear while it locks and freezes."""

    def host_need(self, nbytes: int) -> int:
        return nbytes + self.host_margin + int(nbytes * self.host_margin_share)
