"""What happens behind hotseat's back: platform events, and a look each second in case one was missed.

A glance at the container each second finds who was paused, killed, stopped or restarted. A whole look, which asks
driver and devices too, follows when the glance shows something new, and every few seconds without.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from hotseat.daemon.actor import Actor
from hotseat.daemon.book import JobKind, Record
from hotseat.daemon.hands import Hands
from hotseat.errors import HotseatError
from hotseat.platforms.port import Container, Platform

_log = logging.getLogger(__name__)
_AT_ONCE = 8
"""Workloads that are looked at at the same time."""


class Watch:
    """`period`: seconds between glances; every `whole` of them is a whole look."""

    def __init__(
        self,
        actor: Actor,
        *,
        hands: Hands,
        platforms: Mapping[str, Platform],
        period: float = 1.0,
        whole: int = 5,
    ) -> None:
        self._actor = actor
        self._hands = hands
        self._platforms = platforms
        self._period = period
        self._whole = whole
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def look_at_all(self) -> None:
        """Devices and every workload, once. `HotseatError` if the devices cannot be read."""
        await self._actor.gauge()
        await asyncio.gather(*(self._look(name) for name in self._actor.records))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll(group))
            group.create_task(self._poll_devices())

    async def _poll(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        turn = 0
        listening: set[str] = set()
        while True:
            begun = loop.time()
            turn += 1
            used = {record.spec.platform for record in self._actor.records.values()}
            for name in sorted(used - listening):
                group.create_task(self._listen(self._platforms[name]))
            listening |= used
            await asyncio.gather(*(self._glance(record, turn) for record in self._actor.records.values()))
            await asyncio.sleep(max(0.0, begun + self._period - loop.time()))

    async def _glance(self, record: Record, turn: int) -> None:
        job = record.job
        if job is not None:
            # Its end is told anyway; only a cold start makes processes whose memory would look foreign.
            if job.kind is JobKind.START:
                await self._look(record.name)
            return
        if turn % self._whole == 0:
            await self._look(record.name)
            return
        try:
            async with self._gate:
                if self._actor.records.get(record.name) is not record:
                    return
                container = await self._hands.glance(record.name)
        except Exception:
            await self._look(record.name)  # which says so in the note
            return
        if _is_news(record, container):
            await self._look(record.name)

    async def _look(self, name: str) -> None:
        async with self._gate:
            await self._actor.look(name)

    async def _poll_devices(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(self._period)
            try:
                await self._actor.gauge()
                said = ""
            except HotseatError as error:
                said = _warn("the devices cannot be read", error, said)

    async def _listen(self, platform: Platform) -> None:
        said = ""
        while True:
            try:
                async for event in platform.events():
                    said = ""
                    for record in list(self._actor.records.values()):
                        if record.job is None and _is_about(record, platform.name, event.name, event.key):
                            await self._look(record.name)
            except HotseatError as error:
                said = _warn(f"no events from {platform.name}", error, said)
            # The glances go on meanwhile.
            await asyncio.sleep(self._period)


def _warn(what: str, error: HotseatError, said: str) -> str:
    """Once, not each second."""
    if error.message != said:
        _log.warning("%s: %s", what, error.message)
    return error.message


def _is_news(record: Record, container: Container | None) -> bool:
    seen = record.observation.container if record.observation is not None else None
    if seen is None or container is None:
        return seen is not container
    return (seen.key, seen.status, seen.started_at, seen.pid) != (
        container.key,
        container.status,
        container.started_at,
        container.pid,
    )


def _is_about(record: Record, platform: str, name: str, key: str) -> bool:
    if record.spec.platform != platform:
        return False
    known = record.observation.container.key if record.observation is not None else None
    return key == known or name == record.spec.container
