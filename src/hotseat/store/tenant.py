"""One process that is connected, or was: its blocks and where they are. Changed by the service alone."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hotseat.store.agents import Agent
from hotseat.store.book import ZERO, Book, Digests, Plan, Slots
from hotseat.store.coming import Ahead
from hotseat.store.custom import Operation
from hotseat.store.device import device_name
from hotseat.store.digest import CHUNK
from hotseat.store.pages import Pages
from hotseat.store.port import Held, HeldState
from hotseat.store.record import ParkedBlock, ParkedProcess
from hotseat.store.wire import Block
from hotseat.words import ProcessRef


@dataclass(slots=True)
class Piece:
    """One block; `fd` names its memory on the device, -1 while it is out."""

    block: Block
    fd: int = -1
    made: bool = False
    """By the store; else the process made it, also where it was lent back."""

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Window(Protocol):
    """Some pieces of a device, one behind the other at `base`."""

    pieces: Sequence[Piece]
    base: int
    end: int | None
    """The address behind its last byte, where that is not the end of the pieces."""

    def close(self) -> None: ...


class View(Protocol):
    """What a process yielded, as the store has it mapped (`hotseat.store.moving`)."""

    def windows(self, uuid: bytes) -> Sequence[Window]: ...
    def digests(self, pieces: Sequence[Piece]) -> tuple[Digests, NDArray[np.bool_]]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Share:
    """What of a process lies on one device: its pieces, and which of the process's chunks they are."""

    uuid: bytes
    pieces: Sequence[Piece]
    first: int
    chunks: int

    def firsts(self) -> dict[int, int]:
        """Of each block of it, by its id: which chunk of the process is its first."""
        out, at = {}, self.first
        for piece in self.pieces:
            out[piece.block.id] = at
            at += piece.block.bytes // CHUNK
        return out


def shares(pieces: Sequence[Piece]) -> list[Share]:
    """Of sorted ones; chunks are numbered in their order."""
    out, first = [], 0
    for uuid, group in groupby(pieces, key=lambda piece: piece.block.uuid):
        some = list(group)
        chunks = sum(piece.block.bytes for piece in some) // CHUNK
        out.append(Share(uuid, some, first, chunks))
        first += chunks
    return out


GROUP = 1 << 30
"""Bytes, unless one piece alone has more."""


def groups(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Those that are mapped at one place, beside the copies of others."""
    group: list[Piece] = []
    room = GROUP
    for piece in pieces:
        if group and piece.block.bytes > room:
            yield group
            group, room = [], GROUP
        group.append(piece)
        room -= piece.block.bytes
    if group:
        yield group


@dataclass(slots=True)
class Tenant:
    """`pieces` are sorted by device and address once it has yielded; chunks are numbered in that order."""

    ref: ProcessRef
    pidfd: int
    state: HeldState = HeldState.RUNNING
    agent: Agent | None = None
    custom: bool = False
    """It has no interposer: its memory comes and goes by custom storage (`hotseat.store.customs`)."""
    operation: Operation | None = None
    """Of a custom one: its memory is mapped here, and the driver waits for that to end."""
    promised: int = 0
    """Slots of the arena that are kept free for what it may bring."""
    pieces: list[Piece] = field(default_factory=list)
    view: View | None = None
    """Yielded, and not out since: its memory as the store sees it."""
    ahead: Ahead | None = None
    """Out, and coming in before anybody asked for it."""
    closing: asyncio.Future[None] | None = None
    """It was filled, and what had it mapped for that lets go of it."""
    plan: Plan | None = None
    """Yielded, and its slots are reserved: what a move out will do."""
    slots: Slots | None = None
    """Out, or moved in and not given yet: where its bytes are, in the arena or on disk (`pages`)."""
    left: dict[int, Slots] = field(default_factory=dict)
    """Yielded, with `slots` None: by block id, where the bytes of those are that have left the device already."""
    stored: bool = False
    """It was spilled: what no seated or parked one needs beside it is on disk."""
    fetching: bool = False
    """It is being brought back from there."""
    progress: float | None = None
    """Of a spill or fetch under way: 0 to 1."""
    before: dict[int, Slots] = field(default_factory=dict)
    """Block id -> slots when it was out the last time."""
    measured: int | None = None
    """Bytes of the arena that it took when it was parked the last time, beside what others had there already."""
    said: tuple[int, int, int] = (0, 0, 0)
    """Blocks, bytes, lent bytes: as it last said."""
    foreign: bool = False
    """It runs on memory that a store before this one lent: nobody could hand that back to it."""
    parts: dict[str, float] = field(default_factory=dict)
    """Seconds of the parts of the step that is under way, or was the last."""
    note: str = ""
    gone: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def bytes(self) -> int:
        return sum(piece.block.bytes for piece in self.pieces)

    @property
    def on_disk(self) -> bool:
        return self.stored and not self.fetching

    async def settled(self) -> None:
        """Nothing of an earlier step goes on. What fails there is the driver's: its next call says so."""
        if self.closing is not None:
            await asyncio.gather(self.closing, return_exceptions=True)
            self.closing = None

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measures it."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.parts[name] = time.perf_counter() - began

    def sort(self) -> None:
        self.pieces.sort(key=lambda piece: (piece.block.uuid, piece.block.address))

    def shares(self) -> list[Share]:
        return shares(self.pieces)

    def there(self) -> list[Piece]:
        """On the devices still, of one that has yielded."""
        return [piece for piece in self.pieces if piece.block.id not in self.left] if self.left else self.pieces

    def away(self) -> list[Piece]:
        """That have left the devices before the rest."""
        return [piece for piece in self.pieces if piece.block.id in self.left] if self.left else []

    def kept(self) -> Slots | None:
        """Where the bytes are of what has left the devices, all or some of it, block by block; None: nothing has."""
        if self.slots is None and self.left:
            return np.concatenate([self.left[piece.block.id] for piece in self.away()])
        return self.slots

    def firsts(self) -> dict[int, int]:
        """Of each block, by its id: which chunk of the process is its first."""
        return {ident: first for share in self.shares() for ident, first in share.firsts().items()}

    def slots_before(self) -> Slots:
        """One a chunk of what is there, as `plan` wants it; `ZERO` for blocks that were not."""
        nothing = np.empty(0, dtype=np.int32)
        parts = []
        for piece in self.there():
            chunks = piece.block.bytes // CHUNK
            known = self.before.get(piece.block.id, nothing)
            parts.append(known if len(known) == chunks else np.full(chunks, ZERO, dtype=np.int32))
        return np.concatenate([nothing, *parts])

    def remember_slots(self) -> None:
        at = 0
        self.before = {}
        for piece in self.pieces if self.slots is not None else ():
            chunks = piece.block.bytes // CHUNK
            assert self.slots is not None
            self.before[piece.block.id] = self.slots[at : at + chunks]
            at += chunks

    def held(self, book: Book, pages: Pages) -> Held:
        running, kept = self.state is HeldState.RUNNING, self.kept()
        return Held(
            state=self.state,
            blocks=self.said[0] if running else len(self.pieces),
            bytes=self.said[1] if running else self.bytes,
            device_bytes=_by_device(self.pieces),
            lent_bytes=0 if self.custom else self.said[2] if running else self.bytes,
            made_bytes=sum(piece.block.bytes for piece in self.pieces if piece.made) if running else self.bytes,
            parked_bytes=0 if kept is None else round(book.shares(kept, plan=self.plan) * CHUNK),
            zero_bytes=0 if kept is None else int((kept == ZERO).sum()) * CHUNK,
            stored=self.stored,
            disk_bytes=0 if kept is None else round(pages.bytes_of(kept)),
            progress=self.progress,
            ahead_bytes=self._ahead_bytes(),
            left_bytes=_by_device(self.away()),
            parts=dict(self.parts),
            connected=self.custom or self.agent is not None,
            custom=self.custom,
            note=self.note,
        )

    def _ahead_bytes(self) -> dict[str, int]:
        made = self.ahead.patience.made if self.ahead is not None else {}
        return {device_name(uuid): nbytes for uuid, nbytes in list(made.items())}

    def parked(self) -> ParkedProcess:
        kept = self.kept()
        assert kept is not None
        pieces = self.away() or self.pieces
        blocks = [ParkedBlock(p.block.id, p.block.address, p.block.bytes, p.block.uuid) for p in pieces]
        beside = len(self.pieces) - len(pieces)
        return ParkedProcess(*self.ref, blocks, kept.tobytes(), self.stored, self.custom, beside)


def _by_device(pieces: Sequence[Piece]) -> dict[str, int]:
    """Bytes, by the device's name."""
    out: dict[str, int] = {}
    for piece in pieces:
        name = device_name(piece.block.uuid)
        out[name] = out.get(name, 0) + piece.block.bytes
    return out
