"""The page's one stream: first all that is known, then what changes, then one point a second for the plots."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from hotseat.dashboard import answers
from hotseat.dashboard.port import House
from hotseat.events import Event

SETTLE = 0.1
"""Seconds from an event to the picture that shows it: a swap's many steps become a few pictures."""
TICK = 1.0
"""Seconds between pictures if nothing happens."""
TOLD = ("state", "swap", "start", "note")
"""Events that the page draws; phases are in the picture."""


async def feed(house: House) -> AsyncIterator[bytes]:
    subscription = house.events.subscribe()
    coming = asyncio.ensure_future(anext(subscription))
    try:
        await asyncio.sleep(0)
        points = list(house.points())
        past = [event_data(event) for event in house.events.recent() if event.kind in TOLD]
        yield answers.sse("hello", {"now": house.snapshot(), "points": points, "events": past})
        last = points[-1]["at"] if points else 0.0
        while True:
            happened = bool((await asyncio.wait({coming}, timeout=TICK))[0])
            if happened:
                await asyncio.sleep(SETTLE)
            while coming.done():
                event = coming.result()
                if event.kind in TOLD:
                    yield answers.sse("event", event_data(event))
                coming = asyncio.ensure_future(anext(subscription))
                await asyncio.sleep(0)
            yield answers.sse("now", house.snapshot())
            for point in house.points():
                if point["at"] > last:
                    last = point["at"]
                    yield answers.sse("point", point)
    finally:
        coming.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await coming


def event_data(event: Event) -> dict[str, Any]:
    return {"seq": event.seq, "at": event.at, "kind": event.kind, "workload": event.workload, **event.data}
