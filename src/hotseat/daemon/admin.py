"""The admin API's desk at the daemon: asks the actor as the control socket does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hotseat.daemon import messages as m
from hotseat.daemon.book import row
from hotseat.daemon.pages import DaemonHouse
from hotseat.errors import NotFound


class AdminDesk:
    """Implements `hotseat.gateway.admin.Desk`."""

    def __init__(self, house: DaemonHouse) -> None:
        self._house = house

    def rows(self) -> Sequence[dict[str, Any]]:
        return [row(record) for record in self._house.actor.records.values()]

    async def park(self, name: str) -> list[dict[str, Any]]:
        return await self._house.park(name)

    async def seat(self, name: str) -> list[dict[str, Any]]:
        return await self._house.seat(name)

    async def prewarm(self, name: str, *, seconds: float) -> dict[str, Any]:
        actor = self._house.actor
        if name not in actor.records:
            raise NotFound(f"no workload {name}", hint="there are: " + ", ".join(actor.records))
        told = await actor.ask(lambda answer: m.Prewarm(workload=name, seconds=seconds, answer=answer))
        return dict(told)
