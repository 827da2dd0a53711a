"""How much of the host's memory parked workloads may hold in all. Pure; the measurements come in as messages."""

from __future__ import annotations

from dataclasses import dataclass

from hotseat.scheduler import HostRoom


@dataclass(slots=True, kw_only=True)
class HostBudget:
    parked: int | None
    """Bytes, as configured. None: what the host has."""
    reserve: int
    """Bytes that stay free for everything else."""
    _measured: int | None = None

    def measured(self, *, available: int, parked: int, moving: int) -> None:
        """`available`: MemAvailable. `parked`: what is parked holds. `moving`: what swaps under way hold or will hold.

        While bytes move nobody knows on which side of `available` they are: then the figure may fall, not rise."""
        all_of_it = available - self.reserve + parked
        if moving == 0:
            self._measured = all_of_it
        elif self._measured is None:
            self._measured = all_of_it - moving
        else:
            self._measured = min(self._measured, all_of_it + moving)

    @property
    def room(self) -> HostRoom | None:
        """None: not configured, and not measured yet."""
        limits = [limit for limit in (self.parked, self._measured) if limit is not None]
        return HostRoom(budget=max(0, min(limits))) if limits else None
