"""The admin API's desk at the daemon: asks the actor as the control socket does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hotseat.daemon.book import row
from hotseat.daemon.pages import DaemonHouse


class AdminDesk:
    """Implements `hotseat.gateway.admin.Desk`."""

    def __init__(self, house: DaemonHouse) -> None:
        self._house = house

    def rows(self) -> Sequence[dict[str, Any]]:
        return [row(record) for record in self._house.actor.records.values()]

    async def park(self, name: str, *, whole: bool) -> list[dict[str, Any]]:
        return await self._house.park(name, whole=whole)

    async def seat(self, name: str) -> list[dict[str, Any]]:
        return await self._house.seat(name)

    async def spill(self, name: str) -> dict[str, Any]:
        return await self._house.spill(name)

    async def fetch(self, name: str) -> dict[str, Any]:
        return await self._house.fetch(name)

    async def prewarm(self, name: str, *, seconds: float) -> dict[str, Any]:
        return await self._house.prewarm(name, seconds=seconds)
