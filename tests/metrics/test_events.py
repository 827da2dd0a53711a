from __future__ import annotations

import asyncio
import contextlib

from hotseat.events import EventBus


async def test_who_comes_late_hears_what_is_kept() -> None:
    bus = EventBus(keep=3, first=10)
    for number in range(5):
        bus.publish("note", number=number)
    assert [event.seq for event in bus.recent()] == [12, 13, 14]
    assert [event.seq for event in bus.recent(after=13)] == [14]
    assert bus.recent(after=14) == []
    assert len(bus.recent(after=99)) == 3, "an id of another life"
    async with contextlib.aclosing(bus.subscribe(after=12)) as events:  # type: ignore[type-var]
        assert [(await anext(events)).seq for _ in range(2)] == [13, 14]
        coming = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        bus.publish("note")
        assert (await coming).seq == 15


async def test_nothing_is_missed_or_told_twice_between_what_is_kept_and_what_comes() -> None:
    bus = EventBus()
    bus.publish("note")
    async with contextlib.aclosing(bus.subscribe(after=0)) as events:  # type: ignore[type-var]
        assert (await anext(events)).seq == 1
        bus.publish("note")
        bus.publish("note")
        assert [(await anext(events)).seq for _ in range(2)] == [2, 3]


async def test_a_slow_subscriber_loses_the_oldest_and_sees_it() -> None:
    bus = EventBus(backlog=2)
    async with contextlib.aclosing(bus.subscribe()) as events:  # type: ignore[type-var]
        coming = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        for _ in range(5):
            bus.publish("note")
        assert [(await coming).seq, (await anext(events)).seq] == [4, 5]
