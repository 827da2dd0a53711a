"""Every state change is one event. A bus in memory; no I/O of its own.

Subscribers get events in order. A slow subscriber loses its oldest events, never blocks the publisher, and sees
by `Event.seq` that some are missing. The latest events are kept, for those who come late or come back.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    seq: int
    at: float
    """Seconds since the epoch."""
    kind: str
    """One of `words.EVENT_KINDS`."""
    workload: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


class EventBus:
    """One publisher's side and any number of subscribers, all on one event loop.

    `backlog`: events that a subscriber may be behind. `keep`: latest events that are kept. `first`: `seq` of the first.
    """

    def __init__(self, *, backlog: int = 1000, keep: int = 1000, first: int = 1) -> None:
        self._seq = first - 1
        self._backlog = backlog
        self._recent: deque[Event] = deque(maxlen=keep)
        self._subscribers: set[asyncio.Queue[Event]] = set()

    def publish(self, kind: str, *, workload: str | None = None, **data: Any) -> Event:
        self._seq += 1
        event = Event(seq=self._seq, at=time.time(), kind=kind, workload=workload, data=data)
        self._recent.append(event)
        for queue in self._subscribers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
        return event

    def recent(self, *, after: int = 0) -> Sequence[Event]:
        """Those kept whose `seq` is greater. An `after` that was never given out (by an earlier process) means all."""
        if after > self._seq:
            after = 0
        return [event for event in self._recent if event.seq > after]

    async def subscribe(self, *, after: int | None = None) -> AsyncIterator[Event]:
        """From now on; with `after` first those of `recent(after=...)`."""
        queue: asyncio.Queue[Event] = asyncio.Queue(self._backlog)
        missed = () if after is None else self.recent(after=after)
        self._subscribers.add(queue)
        try:
            for event in missed:
                yield event
            while True:
                yield await queue.get()
        finally:
            self._subscribers.discard(queue)
