"""Every state change is one event. A bus in memory; no I/O of its own.

Subscribers get events in order. A slow subscriber loses its oldest events, never blocks the publisher, and sees
by `Event.seq` that some are missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    seq: int
    at: float
    """Seconds since the epoch."""
    kind: str
    """"state", "phase", "swap", "platform", "request", "config", "note"."""
    workload: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


class EventBus:
    """One publisher's side and any number of subscribers, all on one event loop."""

    def __init__(self, *, backlog: int = 1000) -> None:
        self._seq = 0
        self._backlog = backlog
        self._subscribers: set[asyncio.Queue[Event]] = set()

    def publish(self, kind: str, *, workload: str | None = None, **data: Any) -> Event:
        self._seq += 1
        event = Event(seq=self._seq, at=time.time(), kind=kind, workload=workload, data=data)
        for queue in self._subscribers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
        return event

    async def subscribe(self) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event] = asyncio.Queue(self._backlog)
        self._subscribers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._subscribers.discard(queue)
