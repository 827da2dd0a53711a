"""The pages' port on the daemon: reads what there is, and asks the actor as the control socket does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hotseat.daemon import messages as m
from hotseat.daemon import wire
from hotseat.daemon.actor import Actor
from hotseat.daemon.book import Answer
from hotseat.daemon.logs import Logs
from hotseat.daemon.measuring import Measuring
from hotseat.daemon.showing import Showing
from hotseat.errors import NotFound
from hotseat.events import EventBus
from hotseat.metrics.meters import CONTENT_TYPE
from hotseat.platforms.port import Platform
from hotseat.words import SwapReport


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonHouse:
    """Implements `hotseat.dashboard.House`."""

    actor: Actor
    events: EventBus
    measuring: Measuring
    showing: Showing
    logs_of: Logs

    def snapshot(self) -> dict[str, Any]:
        return self.showing.snapshot(now=asyncio.get_running_loop().time())

    def points(self) -> Sequence[dict[str, Any]]:
        return [point.as_json() for point in self.measuring.history.points]

    def exposition(self) -> tuple[str, bytes]:
        return CONTENT_TYPE, self.measuring.meters.exposition()

    async def park(self, name: str, *, whole: bool = False) -> list[dict[str, Any]]:
        return _told(await self._ask(name, lambda answer: m.Park(workload=name, whole=whole, answer=answer)))

    async def seat(self, name: str) -> list[dict[str, Any]]:
        return _told(await self._ask(name, lambda answer: m.Seat(workload=name, answer=answer)))

    async def spill(self, name: str) -> dict[str, Any]:
        return dict(await self._ask(name, lambda answer: m.Spill(workload=name, answer=answer)))

    async def fetch(self, name: str) -> dict[str, Any]:
        return dict(await self._ask(name, lambda answer: m.Fetch(workload=name, answer=answer)))

    async def prewarm(self, name: str, *, seconds: float) -> dict[str, Any]:
        return dict(await self._ask(name, lambda answer: m.Prewarm(workload=name, seconds=seconds, answer=answer)))

    def logs(self, name: str, *, tail: int, follow: bool) -> AsyncGenerator[bytes]:
        return self.logs_of.read(name, tail=tail, follow=follow)

    async def _ask(self, name: str, make: Callable[[Answer], m.Message]) -> Any:
        if name not in self.actor.records:
            raise NotFound(f"no workload {name}", hint="there are: " + ", ".join(self.actor.records))
        return await self.actor.ask(make)


def _told(reports: Sequence[SwapReport]) -> list[dict[str, Any]]:
    return [wire.report_to(report) for report in reports]


def house_of(actor: Actor, *, events: EventBus, platforms: Mapping[str, Platform]) -> DaemonHouse:
    measuring = Measuring(actor, events=events)
    return DaemonHouse(
        actor=actor,
        events=events,
        measuring=measuring,
        showing=Showing(actor=actor, measuring=measuring),
        logs_of=Logs(actor, platforms),
    )
