"""What the pages need of the daemon."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

from hotseat.events import EventBus


class House(Protocol):
    """All raise `HotseatError`s; `NotFound` for a workload that there is not."""

    @property
    def events(self) -> EventBus: ...

    def snapshot(self) -> dict[str, Any]:
        """Devices and workloads as they are now, as data."""
        ...

    def points(self) -> Sequence[dict[str, Any]]:
        """The last minutes, one point a second: {"at", "workloads": {name: {...}}}."""
        ...

    def exposition(self) -> tuple[str, bytes]:
        """Prometheus metrics: content type and text."""
        ...

    async def park(self, name: str) -> list[dict[str, Any]]:
        """The reports of the swaps made. Goes on if its caller is cancelled."""
        ...

    async def seat(self, name: str) -> list[dict[str, Any]]: ...

    async def prewarm(self, name: str, *, seconds: float) -> dict[str, Any]:
        """It will be wanted for so long; 0 takes that back. {"workload", "state", "seconds"}, at once."""
        ...

    def logs(self, name: str, *, tail: int, follow: bool) -> AsyncGenerator[bytes]:
        """What it has written, its last `tail` lines first. With `follow` what comes after, until it ends."""
        ...
