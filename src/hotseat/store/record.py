"""The record of what is parked, which a new worker reads.

Written as a whole to one of two files in turn, with a checksum, so that a worker that dies while it writes leaves the
record before it.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from struct import Struct

import msgspec

from hotseat.store.wire import Uuid

HEADER = Struct("<8sQQI")
MAGIC = b"hs-parks"


class ParkedBlock(msgspec.Struct, array_like=True, frozen=True):
    id: int
    address: int
    bytes: int
    uuid: Uuid


class ParkedProcess(msgspec.Struct, array_like=True, frozen=True):
    """`slots`: int32 of the machine, one a chunk, of all blocks in their order. `stored`: it was spilled to disk.
    `custom`: it left by custom storage. `beside`: so many blocks more it has on the devices, known by their descriptors
    alone: it was on its way out."""

    pid: int
    start: int
    blocks: list[ParkedBlock]
    slots: bytes
    stored: bool = False
    custom: bool = False
    beside: int = 0


class DiskPage(msgspec.Struct, array_like=True, frozen=True):
    """One chunk that is on disk, with the number by which slots name it; the rest as `pages.Page`."""

    number: int
    file: str
    offset: int
    stored: int
    packed: bool
    digest: bytes
    known: bool


class Record(msgspec.Struct, array_like=True, frozen=True):
    """`slots`: those whose digest is known, as `ParkedProcess` has them; `digests`: 16 bytes each."""

    slots: bytes
    digests: bytes
    processes: list[ParkedProcess]
    pages: list[DiskPage] = []


class RecordFiles:
    """`fds`: the two files. Not for several threads at once."""

    def __init__(self, fds: Sequence[int]) -> None:
        self._fds = fds
        self._generation = 0

    def read(self) -> Record | None:
        """The newest whole one; None if there is none."""
        best: Record | None = None
        for fd in self._fds:
            header = os.pread(fd, HEADER.size, 0)
            if len(header) < HEADER.size:
                continue
            magic, generation, size, checksum = HEADER.unpack(header)
            body = os.pread(fd, size, HEADER.size)
            if magic != MAGIC or len(body) != size or zlib.crc32(body) != checksum or generation <= self._generation:
                continue
            best, self._generation = msgspec.msgpack.decode(body, type=Record), generation
        return best

    def write(self, record: Record) -> None:
        body = msgspec.msgpack.encode(record)
        self._generation += 1
        fd = self._fds[self._generation % 2]
        os.ftruncate(fd, 0)
        _write(fd, body, HEADER.size)
        _write(fd, HEADER.pack(MAGIC, self._generation, len(body), zlib.crc32(body)), 0)


def _write(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view, at = view[done:], at + done
