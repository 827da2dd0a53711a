"""Waiting, with a deadline that fails the test: for events, for anything."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from hotseat.platforms.port import EventKind, Platform, PlatformEvent

DEADLINE = 20.0
"""Seconds. Generous: no test asserts how fast, only that it comes to pass."""


class Listener:
    """Keeps what a platform's events tell."""

    def __init__(self, platform: Platform) -> None:
        self.events: list[PlatformEvent] = []
        self._changed = asyncio.Condition()
        self._task = asyncio.create_task(self._listen(platform.events()))

    async def _listen(self, events: AsyncIterator[PlatformEvent]) -> None:
        async for event in events:
            async with self._changed:
                self.events.append(event)
                self._changed.notify_all()

    def kinds(self, key: str) -> list[EventKind]:
        return [event.kind for event in self.events if event.key == key]

    async def until(self, key: str, kinds: Sequence[EventKind]) -> None:
        """Until exactly these were told of one container, in this order."""
        async with self._changed:
            try:
                async with asyncio.timeout(DEADLINE):
                    await self._changed.wait_for(lambda: self.kinds(key) == list(kinds) or self._task.done())
            except TimeoutError:
                pytest.fail(f"waited for {list(kinds)}, heard {self.kinds(key)}")
        if self._task.done():
            self._task.result()

    async def aclose(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def eventually(condition: Callable[[], bool], *, what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {DEADLINE:g} s: {what}")
        await asyncio.sleep(0.01)
