"""How much of the arena is populated: all of it, or what was learned to be needed, within the host's memory.

An arena whose size nobody gave is a sparse file of all that the store might take. It is populated in the background, up
to what would be parked if all that are connected were: their bytes as they say them, and once they were parked, as
measured, without zeros and what they share. It grows, and does not shrink.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable

from hotseat.store.arena import Arena
from hotseat.store.book import Book
from hotseat.store.digest import CHUNK
from hotseat.store.port import HeldState
from hotseat.store.spare import spare_bytes
from hotseat.store.tenant import Tenant

STEP = 1 << 30
"""Bytes that are populated at a time."""


class Growth:
    """`learned`: nobody gave a size, so `arena` is as large as it may ever become. `devices`: bytes of all of them."""

    def __init__(self, arena: Arena, book: Book, *, learned: bool, devices: int | None = None) -> None:
        self.learned = learned
        self._devices = devices
        self.target = 0 if learned else arena.slots
        """Slots that are to be populated."""
        self.changed = asyncio.Event()
        self._arena, self._book = arena, book

    @property
    def reach(self) -> int:
        """Slots that could be populated as things are."""
        if not self.learned:
            return self._arena.slots
        ready = self._book.ready * CHUNK
        # What a worker before this one populated is there, and no more available.
        there = max(0, os.fstat(self._arena.fd).st_blocks * 512 - ready)
        pieces = (ready + there + spare_bytes()) // self._arena.piece
        return min(self._arena.slots, max(self._book.ready, pieces * self._arena.piece // CHUNK))

    def want(self, slots: int) -> None:
        """So many are needed; more than there may be is cut."""
        piece = self._arena.piece // CHUNK
        self.target = max(self.target, min(-(-slots // piece) * piece, self._arena.slots))
        self.changed.set()

    def learn(self, tenants: Iterable[Tenant]) -> None:
        """Somebody came, or was measured anew."""
        needed = 0
        for tenant in tenants:
            if tenant.state is HeldState.RUNNING:
                needed += tenant.said[1] if tenant.measured is None else tenant.measured
        if self._devices is not None:  # who runs has its memory there, whatever it says
            needed = min(needed, self._devices)
        self.want(self._book.used + needed // CHUNK)

    def next(self) -> int:
        """Up to which slot to populate now."""
        return min(self.target, self.reach, self._book.ready + STEP // CHUNK)
