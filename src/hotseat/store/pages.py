"""Chunks that are on disk: which file, where in it, who refers to them. Pure.

A tenant's slots name arena slots by numbers from 0 up, zero chunks by `ZERO`, and pages of the disk by the numbers
below that. A page never changes; a file goes when the last of its pages does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hotseat.store.book import ZERO, Slots


class Page(NamedTuple):
    """One chunk in a file."""

    file: str
    offset: int
    stored: int
    """Bytes that it takes there, without the padding."""
    packed: bool
    """Compressed."""
    digest: bytes
    known: bool
    """The arena goes by this digest too: a slot with the same has the same bytes."""


class Pages:
    def __init__(self) -> None:
        self._pages: dict[int, Page] = {}
        self._refs: Counter[int] = Counter()
        self._files: Counter[str] = Counter()
        self._next = ZERO - 1

    def __getitem__(self, number: int) -> Page:
        return self._pages[number]

    @property
    def files(self) -> set[str]:
        return set(self._files)

    def add(self, page: Page) -> int:
        """Its number; nobody refers to it yet."""
        number = self._next
        self._next -= 1
        self._put(number, page)
        return number

    def of(self, slots: Slots) -> dict[int, Page]:
        """Those that `slots` name, by number, in the order in which they lie in their files."""
        numbers = np.unique(slots[slots < ZERO]).tolist()
        return dict(sorted(((n, self._pages[n]) for n in numbers), key=lambda item: item[1][:2]))

    def bytes_of(self, slots: Slots) -> float:
        """Of the disk: its own, and its share of what it shares."""
        numbers, counts = np.unique(slots[slots < ZERO], return_counts=True)
        pairs = zip(numbers.tolist(), counts.tolist(), strict=True)
        shares = (self._pages[n].stored * count / max(self._refs[n], 1) for n, count in pairs)
        return float(sum(shares))

    def hold(self, slots: Slots) -> None:
        self._refs.update(slots[slots < ZERO].tolist())

    def release(self, slots: Slots) -> set[str]:
        """Files of which no page is left: they may be removed."""
        gone: set[str] = set()
        for number, count in Counter(slots[slots < ZERO].tolist()).items():
            self._refs[number] -= count
            if self._refs[number] <= 0:
                gone |= self._drop(number)
        return gone

    def all(self) -> dict[int, Page]:
        return dict(self._pages)

    def remember(self, pages: Mapping[int, Page]) -> None:
        """As the record of an earlier process says; before any `hold`."""
        for number, page in pages.items():
            self._put(number, page)
            self._next = min(self._next, number - 1)

    def sweep(self) -> None:
        """Drops pages that nobody holds: those of processes that ended while no worker ran."""
        for number in [number for number in self._pages if self._refs[number] <= 0]:
            self._drop(number)

    def _put(self, number: int, page: Page) -> None:
        self._pages[number] = page
        self._files[page.file] += 1

    def _drop(self, number: int) -> set[str]:
        page = self._pages.pop(number)
        del self._refs[number]
        self._files[page.file] -= 1
        if self._files[page.file] > 0:
            return set()
        del self._files[page.file]
        return {page.file}
