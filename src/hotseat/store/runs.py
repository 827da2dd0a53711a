"""Neighbours that are copied with one call. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class Run(NamedTuple):
    """`length` chunks from `chunk` on lie in as many slots from `slot` on; all zero if `slot` is negative."""

    chunk: int
    slot: int
    length: int


def runs(pairs: Iterable[tuple[int, int]], *, edge: int) -> list[Run]:
    """Of (chunk, slot), in their order: neighbours in both, or neighbours that are both zero, become one.

    None crosses a multiple of `edge` slots: host memory that was pinned by two calls is not copied by one.
    """
    out: list[Run] = []
    for chunk, slot in pairs:
        if out:
            last = out[-1]
            zeros = slot < 0 and last.slot < 0
            if chunk == last.chunk + last.length and (
                zeros or (last.slot >= 0 and slot == last.slot + last.length and slot % edge)
            ):
                out[-1] = last._replace(length=last.length + 1)
                continue
        out.append(Run(chunk, slot, 1))
    return out


def batches(runs: Sequence[Run], *, chunks: int) -> Iterator[list[Run]]:
    """Cuts them into lists of at most `chunks` chunks."""
    batch: list[Run] = []
    room = chunks
    for run in runs:
        done = 0
        while done < run.length:
            part = min(run.length - done, room)
            batch.append(Run(run.chunk + done, run.slot + done if run.slot >= 0 else run.slot, part))
            done += part
            room -= part
            if not room:
                yield batch
                batch, room = [], chunks
    if batch:
        yield batch
