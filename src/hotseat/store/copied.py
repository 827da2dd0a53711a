"""What of a process is copied already, and what of that may leave its device before the rest. For threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hotseat.store.book import ZERO, Slots
from hotseat.store.shortage import Shortage
from hotseat.store.tenant import Piece


class Copied:
    """What of one process is copied so far. `done` is for the threads that copy; any may ask."""

    def __init__(
        self, *, slots: Slots, copies: Slots, pieces: int, shortage: Shortage, tell: Callable[[], object]
    ) -> None:
        """`slots`: one a chunk. `copies`: those of them that are to be filled. `pieces`: how many are on the devices.
        `tell` is called when some may be let go of."""
        self._slots = slots.copy()
        self._missing = np.zeros(int(slots.max(initial=0)) + 1, dtype=np.bool_)
        self._missing[copies] = True
        self._pieces, self._shortage, self._tell = pieces, shortage, tell
        self._done: dict[bytes, list[tuple[Sequence[Piece], NDArray[np.intp]]]] = {}
        self._lock = threading.Lock()

    def wanted(self, uuid: bytes) -> bool:
        """Somebody waits for memory of this device."""
        return self._shortage.of(uuid)

    def done(self, pieces: Sequence[Piece], chunks: NDArray[np.intp], filled: Slots) -> None:
        """These are copied, all of one device, and nothing here has them mapped. `chunks`: of the process. `filled`:
        the slots that that filled."""
        with self._lock:
            self._missing[filled] = False
            self._pieces -= len(pieces)
            self._done.setdefault(pieces[0].block.uuid, []).append((pieces, chunks))
            some = any(self._whole(of) for done in self._wanted_ones() for _, of in done)
        if some:
            self._tell()

    def take(self) -> list[Piece]:
        """Those that may be let go of now. None once all are copied: then they go together, and that is soon."""
        going: list[Piece] = []
        with self._lock:
            for done in self._wanted_ones():
                waits = []
                for pieces, chunks in done:
                    if self._whole(chunks):
                        going += pieces
                    else:
                        waits.append((pieces, chunks))
                done[:] = waits
        return going

    def filled(self, slots: Slots) -> NDArray[np.bool_]:
        """Which of these have their bytes."""
        with self._lock:
            return ~self._missing[slots]

    def _wanted_ones(self) -> list[list[tuple[Sequence[Piece], NDArray[np.intp]]]]:
        return [done for uuid, done in self._done.items() if self._pieces and self.wanted(uuid)]

    def _whole(self, chunks: NDArray[np.intp]) -> bool:
        """Equal chunks share a slot, which the first of them fills: it may lie in a piece that is not copied yet."""
        slots = self._slots[chunks]
        return not self._missing[slots[slots > ZERO]].any()
