"""What a command needs of hotseat, whether a daemon runs or not. `direct` and `control` implement it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

from hotseat.cli.view import Row
from hotseat.swap.port import Progress
from hotseat.words import DeviceUse, SwapReport


class Access(Protocol):
    """One way to the workloads of this machine. `NotFound`, `Refused`, `Failed` as errors.py has them."""

    @property
    def way(self) -> str:
        """ "daemon" or "direct", for remarks."""
        ...

    async def rows(self, *, everything: bool = False) -> Sequence[Row]:
        """Workloads as they are now. `everything`: also containers that hold no GPU memory and never did."""
        ...

    async def devices(self) -> Sequence[DeviceUse]: ...

    async def notes(self) -> Sequence[str]:
        """What people should know beside the workloads."""
        ...

    async def snapshot(self) -> dict[str, Any]:
        """Devices, workloads and, with a daemon, queues and rates: what `hotseat top` draws."""
        ...

    def logs(self, name: str, *, tail: int, follow: bool) -> AsyncGenerator[bytes]:
        """What its container has written; with `follow` what comes after too, until it ends."""
        ...

    async def park(self, name: str, *, whole: bool = False, progress: Progress) -> SwapReport:
        """`whole`: no context of it stays on a device."""
        ...

    async def seat(self, name: str, *, progress: Progress) -> SwapReport: ...

    async def swap(self, name: str, out: str | None, *, progress: Progress) -> Sequence[SwapReport]:
        """Park `out` (or whoever must go, if that is clear) and seat `name`; one report a swap."""
        ...

    async def aclose(self) -> None: ...
