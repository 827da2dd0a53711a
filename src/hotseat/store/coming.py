"""What comes in ahead of its `move_in`: its end, and how it waits for memory that a device has not yet."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from hotseat.errors import NoRoom
from hotseat.store.shortage import Shortage

Filled = tuple[list[int], ExitStack]
"""Descriptors, one a piece in their order; and what lets go of the memory here."""


@dataclass(slots=True)
class Patience:
    """Of a fill that may wait for memory."""

    shortage: Shortage
    leave: Mapping[str, int] = field(default_factory=dict)
    """Bytes by device UUID that stay free, but for who is in a hurry: room was made sure of for that one."""
    hurry: threading.Event = field(default_factory=threading.Event)
    """From now on memory that is not there is an error."""
    made: dict[bytes, int] = field(default_factory=dict)
    """Bytes by device that are there."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Ahead:
    """On the event loop."""

    patience: Patience
    task: asyncio.Task[Filled]
    stop: threading.Event
    claimed_until: float = 0.0
    """By `time.monotonic`: until then it is given up for nobody."""
    over: asyncio.Future[None] | None = None
    """It was given up: done once nothing of it is there."""
    ends: float = 0.0
    """By `time.monotonic`: when that was."""

    @property
    def claimed(self) -> bool:
        return time.monotonic() < self.claimed_until

    def give_up(self) -> asyncio.Future[None]:
        """`over`. Whoever waits for it must not cancel it."""
        self.stop.set()
        if self.over is None:
            self.over, self.ends = asyncio.ensure_future(self._free()), time.monotonic()
        return self.over

    async def _free(self) -> None:
        await asyncio.wait([self.task])
        if not self.task.cancelled() and self.task.exception() is None:
            await asyncio.to_thread(free, self.task.result(), self.patience.shortage)


def lost_ahead(pid: int) -> NoRoom:
    return NoRoom(
        f"what had come ahead of process {pid} is not there any more",
        rule="device memory",
        hint="make sure of room for all of it, then try again",
    )


def free(filled: Filled, shortage: Shortage) -> None:
    """The device has it back. Blocks for a moment."""
    fds, mapped = filled
    try:
        mapped.close()
    finally:
        close(fds)
        shortage.freed()


def close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
