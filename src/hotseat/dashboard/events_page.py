"""/events: what happens, as server-sent events; who comes back with Last-Event-ID hears what was missed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from hotseat.dashboard import answers
from hotseat.errors import UsageError
from hotseat.events import Event, EventBus
from hotseat.gateway.site import Inquiry, Reply
from hotseat.words import EVENT_KINDS

PING = 15.0
"""Seconds between comments that find out who has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events. Empty sets mean all."""

    workloads: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    since: float = 0.0
    """Seconds since the epoch."""

    def wants(self, event: Event) -> bool:
        return (
            (not self.workloads or event.workload in self.workloads)
            and (not self.kinds or event.kind in self.kinds)
            and event.at >= self.since
        )


class EventsPage:
    def __init__(self, events: EventBus) -> None:
        self._events = events

    async def __call__(self, inquiry: Inquiry) -> Reply:
        answers.admin_only(inquiry)
        wanted = read_filter(inquiry, now=time.time())
        last = inquiry.headers.get("last-event-id", "") or inquiry.query.get("after", "")
        if last and not (last.isascii() and last.isdigit() and len(last) < 18):
            raise UsageError(f"{last[:40]!r} is no id of an event")
        after = int(last) if last else 0 if wanted.since else None
        return answers.stream(lines(self._events, wanted, after=after))


def read_filter(inquiry: Inquiry, *, now: float) -> Filter:
    """From ?workload=a,b&kind=swap,note&since=600 (seconds back)."""
    kinds = _names(inquiry.query.get("kind", ""))
    if unknown := kinds - EVENT_KINDS.keys():
        raise UsageError(f"no event kind {sorted(unknown)[0][:40]!r}", hint="there are: " + ", ".join(EVENT_KINDS))
    back = answers.number(inquiry, "since", default=0, least=0, most=10**9)
    return Filter(workloads=_names(inquiry.query.get("workload", "")), kinds=kinds, since=now - back if back else 0.0)


async def lines(events: EventBus, wanted: Filter, *, after: int | None, ping: float = PING) -> AsyncIterator[bytes]:
    subscription = events.subscribe(after=after)
    # Begun before the first line goes out: who has read that misses nothing.
    coming = asyncio.ensure_future(anext(subscription))
    try:
        await asyncio.sleep(0)
        yield b": listening\n\n"
        while True:
            await asyncio.wait({coming}, timeout=ping)
            if not coming.done():
                yield b": ping\n\n"
                continue
            event = coming.result()
            if wanted.wants(event):
                data = {"at": event.at, "kind": event.kind, "workload": event.workload, **event.data}
                yield answers.sse(event.kind, data, identity=event.seq)
            coming = asyncio.ensure_future(anext(subscription))
    finally:
        coming.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await coming


def _names(text: str) -> frozenset[str]:
    return frozenset(name for name in text.split(",") if name)
