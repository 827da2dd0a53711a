"""Neighbours that are copied with one call. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hotseat.store.digest import CHUNK

Addresses = NDArray[np.uint64]


class Run(NamedTuple):
    """`length` chunks from device address `at` on lie in as many slots from `slot` on; all zero if that is negative."""

    at: int
    slot: int
    length: int


def addresses_of(base: int, chunks: int) -> Addresses:
    """Of `chunks` chunks from `base` on."""
    return base + np.arange(chunks, dtype=np.uint64) * np.uint64(CHUNK)


def runs(addresses: Addresses, slots: NDArray[np.int32], *, edge: int) -> list[Run]:
    """Of chunks at `addresses`, one slot each: those that follow each other in both, or are all zero, become one.

    None crosses a multiple of `edge` slots: host memory that was pinned by two calls is not copied by one.
    """
    if not len(slots):
        return []
    follows = addresses[1:] == addresses[:-1] + np.uint64(CHUNK)
    zeros = (slots[1:] < 0) & (slots[:-1] < 0)
    beside = (slots[:-1] >= 0) & (slots[1:] == slots[:-1] + 1) & (slots[1:] % edge != 0)
    first = np.flatnonzero(np.concatenate([[True], ~(follows & (zeros | beside))]))
    lengths = np.diff(np.concatenate([first, [len(slots)]]))
    starts = zip(addresses[first].tolist(), slots[first].tolist(), lengths.tolist(), strict=True)
    return [Run(at, max(slot, -1), length) for at, slot, length in starts]


def batches(runs: Sequence[Run], *, chunks: int) -> Iterator[list[Run]]:
    """Cuts them into lists of at most `chunks` chunks."""
    batch: list[Run] = []
    room = chunks
    for run in runs:
        done = 0
        while done < run.length:
            part = min(run.length - done, room)
            batch.append(Run(run.at + done * CHUNK, run.slot + done if run.slot >= 0 else run.slot, part))
            done += part
            room -= part
            if not room:
                yield batch
                batch, room = [], chunks
    if batch:
        yield batch
