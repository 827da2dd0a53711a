"""Who waits for memory of a device to become free, for those who can let go of some early. For any thread."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_AGAIN = 0.02
"""Seconds: memory also becomes free without a word to us."""


class Shortage:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = Counter[bytes]()

    def of(self, uuid: bytes) -> bool:
        """Somebody waits for memory of this device."""
        with self._changed:
            return self._waiting[uuid] > 0

    @contextmanager
    def waiting(self, uuid: bytes) -> Iterator[None]:
        with self._changed:
            self._waiting[uuid] += 1
        try:
            yield
        finally:
            with self._changed:
                self._waiting[uuid] -= 1

    def pause(self) -> None:
        """Until some is free, perhaps."""
        with self._changed:
            self._changed.wait(LOOK_AGAIN)

    def freed(self) -> None:
        with self._changed:
            self._changed.notify_all()
