"""The arena as the worker has it: mapped, populated and pinned piece by piece in the background."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from hotseat.errors import NoRoom
from hotseat.store.digest import CHUNK

MADV_HUGEPAGE = 14
MADV_DONTDUMP = 16
MADV_POPULATE_WRITE = 23
PIECE = 1 << 30
"""Bytes that are pinned with one call."""
PART = 64 << 20
"""Bytes that one thread populates at a time."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Arena:
    """Mapped for as long as the process lives: the driver has it pinned."""

    def __init__(self, fd: int, *, piece: int = PIECE) -> None:
        self.fd, self.piece = fd, piece
        self.edge = piece // CHUNK
        self.bytes = os.fstat(fd).st_size
        self.slots = self.bytes // CHUNK
        self._map = mmap.mmap(fd, self.bytes)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        # Others' bytes are no part of what a core dump of ours is for, and would make it as large as the host's memory.
        _libc.madvise(self.address, self.bytes, MADV_DONTDUMP)

    def chunk(self, slot: int) -> memoryview:
        """Its bytes, to be read and written."""
        return memoryview(self._map)[slot * CHUNK : (slot + 1) * CHUNK]

    def equal(self, one: int, other: int) -> bool:
        """Whether two slots hold the same bytes."""
        return self.chunk(one) == self.chunk(other)

    def grow(self, start: int, end: int, register: Callable[[int, int], None], *, threads: int) -> None:
        """Populates and pins slots `start` to `end`, whole pieces but for the last one. Blocks. `NoRoom` if memory
        ends."""
        first, last = start * CHUNK, end * CHUNK
        # Refused where the kernel keeps huge pages from shared memory: then it is small pages.
        _libc.madvise(self.address + first, last - first, MADV_HUGEPAGE)
        with ThreadPoolExecutor(threads, thread_name_prefix="populate") as pool:
            for error in pool.map(self._populate, range(first, last, PART)):
                if error:
                    raise NoRoom(
                        f"the arena could be populated up to {first >> 20} of {self.bytes >> 20} MiB: "
                        f"{os.strerror(error)}",
                        hint="start the store with a smaller arena (--arena)",
                    )
        for at in range(first, last, self.piece):
            register(self.address + at, min(self.piece, last - at))

    def _populate(self, start: int) -> int:
        """0 or errno. A call into C: the other threads run meanwhile."""
        nbytes = min(PART, self.bytes - start)
        return ctypes.get_errno() if _libc.madvise(self.address + start, nbytes, MADV_POPULATE_WRITE) else 0
