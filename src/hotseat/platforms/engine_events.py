"""The events of one daemon, over its restarts.

The stream is asked for with `since`, so that nothing between two connections is lost while the daemon lives. When it
died meanwhile its memory of events is gone, so a look at all containers before the gap and one after tell the rest.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from hotseat.errors import HotseatError
from hotseat.platforms import changes, engine_json
from hotseat.platforms.engine_api import EngineApi
from hotseat.platforms.port import Container, EventKind, PlatformEvent, Status

log = logging.getLogger(__name__)

FIRST_RETRY = 0.1
LONGEST_RETRY = 1.0
"""Seconds between two attempts to reach a daemon that is away."""

_AFTER = {
    EventKind.CREATED: Status.CREATED,
    EventKind.STARTED: Status.RUNNING,
    EventKind.UNPAUSED: Status.RUNNING,
    EventKind.PAUSED: Status.PAUSED,
    EventKind.EXITED: Status.EXITED,
}


async def engine_events(
    platform: str,
    api: EngineApi,
    list_containers: Callable[[], Awaitable[Sequence[Container]]],
    *,
    since: float,
) -> AsyncGenerator[PlatformEvent]:
    """From `since` (seconds since the epoch) on, without end. Says in the log, once, when the daemon is away."""
    seen: dict[str, Container] | None = None
    pause = FIRST_RETRY
    away = False
    while True:
        looked_at = time.time()
        connected_at = time.monotonic()
        try:
            now = changes.look(await list_containers())
            listed_at = time.time()
            if seen is None:
                stream_since, told_until = since, since
            else:
                for event in changes.between(seen, now, at=looked_at):
                    yield event
                stream_since, told_until = looked_at, listed_at
            seen = now
            away = False
            async with aclosing(_stream(platform, api, since=stream_since)) as stream:
                async for event in stream:
                    if event.at <= told_until and changes.tells_nothing_new(seen.get(event.key), event):
                        continue
                    _apply(seen, event)
                    yield event
        except HotseatError as error:
            if not away:
                log.warning("%s: no events, trying again: %s", platform, error)
            away = True
        if time.monotonic() - connected_at > LONGEST_RETRY:
            pause = FIRST_RETRY
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_RETRY)


async def _stream(platform: str, api: EngineApi, *, since: float) -> AsyncGenerator[PlatformEvent]:
    params = {"since": f"{since:.9f}", "filters": json.dumps({"type": ["container"]}), "stream": "true"}
    async with aclosing(api.lines("events", params=params)) as lines:
        async for line in lines:
            event = engine_json.event(platform, json.loads(line))
            if event is not None and event.at >= since:
                yield event


def _apply(seen: dict[str, Container], event: PlatformEvent) -> None:
    """Keep the look up to date, so that the next gap is compared with what the caller has heard."""
    if event.kind is EventKind.REMOVED:
        seen.pop(event.key, None)
        return
    known = seen.get(event.key)
    if known is None:
        platform, _, identity = event.key.partition(":")
        known = Container(
            platform=platform,
            id=identity,
            name=event.name,
            image="",
            status=Status.CREATED,
            pid=None,
            started_at=0.0,
        )
    started_at = event.at if event.kind is EventKind.STARTED else known.started_at
    seen[event.key] = replace(
        known, name=event.name, status=_AFTER.get(event.kind, known.status), started_at=started_at
    )
