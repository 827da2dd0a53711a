"""Through the daemon: what a command asks goes over the control socket, so that there is one writer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from hotseat.cli.view import Row, row_from
from hotseat.daemon.client import Client
from hotseat.swap.port import Progress
from hotseat.words import DeviceUse, SwapReport


class Control:
    """`Access` by an open `Client`."""

    way = "daemon"

    def __init__(self, client: Client) -> None:
        self._client = client

    async def rows(self, *, everything: bool = False) -> Sequence[Row]:
        """`everything` changes nothing: a daemon has the workloads of its hotseat.yaml."""
        return [row_from(data) for data in await self._client.workloads()]

    async def devices(self) -> Sequence[DeviceUse]:
        return await self._client.devices()

    async def notes(self) -> Sequence[str]:
        return list((await self._client.health()).get("notes", ()))

    async def snapshot(self) -> dict[str, Any]:
        return await self._client.snapshot()

    def logs(self, name: str, *, tail: int, follow: bool) -> AsyncGenerator[bytes]:
        return self._client.logs(name, tail=tail, follow=follow)

    async def park(self, name: str, *, whole: bool = False, progress: Progress) -> SwapReport:
        return (await self._client.park(name, whole=whole, progress=progress))[-1]

    async def seat(self, name: str, *, progress: Progress) -> SwapReport:
        """The report of its own swap; who was parked for it shows in `hotseat events`."""
        return (await self._client.seat(name, progress=progress))[-1]

    async def swap(self, name: str, out: str | None, *, progress: Progress) -> Sequence[SwapReport]:
        return await self._client.swap(name, out, progress=progress)

    async def aclose(self) -> None:
        """The client belongs to whoever opened it."""
