"""A process's memory as custom storage maps it here: one range a device, seen as pieces of whole chunks.

A range need not end with a chunk. What is missing of its last one counts as zeros, and is neither read nor written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hotseat.store.book import Digests
from hotseat.store.custom import Operation, Range
from hotseat.store.device import Devices
from hotseat.store.digest import CHUNK
from hotseat.store.tenant import Piece
from hotseat.store.wire import Block


def pieces_of(operation: Operation) -> list[Piece]:
    """One a device, by a name that is the same at each swap."""
    return [
        Piece(Block(int.from_bytes(one.uuid[:8], "little"), one.at, -(-one.bytes // CHUNK) * CHUNK, one.uuid, True))
        for one in operation.ranges
        if one.bytes
    ]


class LentWindow:
    def __init__(self, piece: Piece, mapped: Range) -> None:
        self.pieces: Sequence[Piece] = (piece,)
        self.base = mapped.at
        self.end: int | None = mapped.at + mapped.bytes

    def close(self) -> None:
        """It ends with the operation."""


class LentView:
    """`look` before `digests`."""

    def __init__(self, operation: Operation, pieces: Sequence[Piece]) -> None:
        mapped = {one.uuid: one for one in operation.ranges}
        self._windows = {piece.block.uuid: LentWindow(piece, mapped[piece.block.uuid]) for piece in pieces}
        self._rows: dict[bytes, NDArray[np.uint64]] = {}

    def look(self, devices: Devices, *, key: int) -> None:
        """Blocks, for as long as it takes to hash all of it."""
        for uuid, window in self._windows.items():
            chunks = window.pieces[0].block.bytes // CHUNK
            self._rows[uuid] = devices.get(uuid).digests(window.base, chunks, key=key, end=window.end)

    def windows(self, uuid: bytes) -> Sequence[LentWindow]:
        return [self._windows[uuid]] if uuid in self._windows else []

    def digests(self, pieces: Sequence[Piece]) -> tuple[Digests, NDArray[np.bool_]]:
        """Of each chunk, and whether it is all zero."""
        rows = [self._rows[piece.block.uuid] for piece in pieces]
        table = np.concatenate([np.empty((0, 3), dtype=np.uint64), *rows], axis=0)
        return table[:, :2], table[:, 2] == 0

    def close(self) -> None:
        """It ends with the operation."""
