"""Files of chunks on a disk: written past the page cache, compressed where that pays. Blocks; any thread may call.

Every chunk begins at a multiple of `ALIGN`, as direct I/O needs it. Nothing here outlives the store: whoever reads a
file knows from the record what is in it, and what no record names is removed.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import zstandard

from hotseat.errors import DriverTimeout, Failed, NoRoom, VerifyFailed
from hotseat.store.digest import CHUNK
from hotseat.store.spilled import SUFFIX, ours

ALIGN = 4096
LEVEL = 1
SAMPLES, SAMPLE = 16, 4096
"""So many pieces of so many bytes of a chunk tell whether it is worth compressing."""
WORTH = 0.7
"""Compressed where it is at most so much of the chunk: above that a core costs more time than the disk saves."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_DIRECT = (errno.EINVAL, errno.EOPNOTSUPP)


class Placed(NamedTuple):
    """Where a chunk lies in its file."""

    offset: int
    stored: int
    packed: bool


class Disk:
    """`limit`: bytes that all files together may take. `Failed` if the directory cannot be used."""

    def __init__(self, directory: Path, *, limit: int | None = None, threads: int = 4) -> None:
        self.directory = directory
        self.limit = limit
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.direct = self._takes_direct()
        except OSError as error:
            raise Failed(
                f"nothing can be spilled to {directory}: {error.strerror}", hint="give the store another directory"
            ) from error
        self.readers = ThreadPoolExecutor(threads, thread_name_prefix="read")
        self._writers = ThreadPoolExecutor(threads, thread_name_prefix="write")
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._ends: dict[str, int] = {}
        """Of files that are being written: so many bytes are promised to each."""
        self._room = 0
        """What was free at the last look, less what was promised since: all files are not looked at for each chunk."""

    def used(self) -> int:
        """Bytes of all files, and what is promised to those that are being written."""
        used = 0
        for entry in os.scandir(self.directory):
            if ours(entry.name):
                with suppress(FileNotFoundError):  # it was let go of meanwhile
                    used += max(entry.stat().st_blocks * 512, self._ends.get(entry.name, 0))
        return used

    def free(self) -> int:
        """Bytes that may still be written."""
        of = os.statvfs(self.directory)
        free = of.f_bavail * of.f_frsize
        return free if self.limit is None else max(0, min(free, self.limit - self.used()))

    def _look(self, wanted: int = 0) -> bool:
        """Whether so many are free now."""
        self._room = self.free()
        return self._room >= wanted

    def write(
        self,
        name: str,
        chunks: Sequence[memoryview],
        *,
        stop: threading.Event,
        progress: Callable[[float], None],
    ) -> list[Placed]:
        """All of them to a new file, one a chunk in their order. `NoRoom` if the disk or the limit is full,
        `DriverTimeout` if `stop` is set on the way; then there is no such file."""
        path = self.directory / name
        fd = self._open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        lock, failed = threading.Lock(), threading.Event()
        end = done = 0
        with self._lock:
            self._look()

        def one(chunk: memoryview) -> Placed:
            nonlocal end, done
            if failed.is_set():
                raise InterruptedError
            if stop.is_set():
                raise DriverTimeout("the disk was not done within its deadline", hint="give it a longer one")
            data, stored, packed = self._packed(chunk)
            with self._lock:  # together with all others that are written now
                if self._room < len(data) and not self._look(len(data)):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._room -= len(data)
                offset = end
                self._ends[name] = end = end + len(data)
            _write(fd, data, offset)
            with lock:
                done += 1
                progress(done / len(chunks))
            return Placed(offset, stored, packed)

        def guarded(chunk: memoryview) -> Placed:
            try:
                return one(chunk)
            except BaseException:
                failed.set()
                raise

        try:
            jobs = [self._writers.submit(guarded, chunk) for chunk in chunks]
            # All of them end before the file is closed; the first that failed by itself says why.
            errors = [error for job in jobs if (error := job.exception()) is not None]
            for error in sorted(errors, key=lambda error: isinstance(error, InterruptedError)):
                raise error
            if not self.direct:
                os.fsync(fd)  # what stays in the page cache is still host memory
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            return [job.result() for job in jobs]
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise self._full(error, len(chunks)) from error
            raise
        finally:
            self._ends.pop(name, None)
            os.close(fd)

    def read(self, name: str, placed: Placed, into: memoryview) -> None:
        """One chunk back; `into` is aligned. `VerifyFailed` if the file is shorter or cannot be unpacked."""
        padded = -(-placed.stored // ALIGN) * ALIGN
        view = self._buffer()[:padded] if placed.packed else into
        try:
            fd = self._open(self.directory / name, os.O_RDONLY)
            try:
                got = _read(fd, view[:padded], placed.offset)
            finally:
                os.close(fd)
        except OSError as error:
            raise VerifyFailed(f"{name} cannot be read: {error.strerror}", hint=_DAMAGED) from error
        if got < placed.stored:
            raise VerifyFailed(f"{name} ends before the chunk at {placed.offset}", hint=_DAMAGED)
        if placed.packed:
            try:
                data = zstandard.ZstdDecompressor().decompress(view[: placed.stored], max_output_size=CHUNK)
            except zstandard.ZstdError as error:
                raise VerifyFailed(f"{name} has a chunk that cannot be unpacked: {error}", hint=_DAMAGED) from error
            if len(data) != CHUNK:
                raise VerifyFailed(f"{name} has a chunk of {len(data)} bytes", hint=_DAMAGED)
            into[:] = data

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(OSError):  # the next worker, or the keeper's end, removes what is left
                (self.directory / name).unlink(missing_ok=True)

    # Within

    def _packed(self, chunk: memoryview) -> tuple[memoryview | bytes, int, bool]:
        """What to write, padded; how much of it counts; whether it is compressed."""
        step = CHUNK // SAMPLES
        sample = b"".join(chunk[at : at + SAMPLE] for at in range(0, CHUNK, step))
        packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        if len(packer.compress(sample)) > WORTH * len(sample):
            return chunk, CHUNK, False
        data = packer.compress(chunk)
        if len(data) > WORTH * CHUNK:
            return chunk, CHUNK, False
        padded = -(-len(data) // ALIGN) * ALIGN
        buffer = self._buffer()
        buffer[: len(data)] = data
        buffer[len(data) : padded] = bytes(padded - len(data))
        return buffer[:padded], len(data), True

    def _buffer(self) -> memoryview:
        """A chunk's room of this thread, at an address that direct I/O takes."""
        if not hasattr(self._mine, "buffer"):
            self._mine.buffer = memoryview(mmap.mmap(-1, CHUNK))
        buffer: memoryview = self._mine.buffer
        return buffer

    def _open(self, path: Path, flags: int) -> int:
        direct = os.O_DIRECT if self.direct else 0
        return os.open(path, flags | direct | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def _takes_direct(self) -> bool:
        """Whether this file system does direct I/O; some say so only when they are written to."""
        path = self.directory / f"probe-{os.getpid()}{SUFFIX}"
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(path, flags, 0o600)
            try:
                _write(fd, memoryview(mmap.mmap(-1, ALIGN)), 0)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in NOT_DIRECT:
                raise
            return False
        finally:
            path.unlink(missing_ok=True)
        return True

    def _full(self, error: OSError, chunks: int) -> Failed | NoRoom:
        if error.errno not in FULL:
            return Failed(f"{self.directory} cannot be written: {error.strerror}", hint="look at `dmesg`")
        limit = "" if self.limit is None else f", or raise its limit of {self.limit >> 20} MiB"
        return NoRoom(
            f"{self.directory} has no room for {chunks * CHUNK >> 20} MiB: {error.strerror}",
            rule="disk",
            hint=f"make room there{limit}; nothing was lost: what was to be spilled is in the arena still",
            free=self.free(),
        )


_DAMAGED = "the disk is damaged, or somebody wrote to the file; look at `dmesg`, and restart the workload"


def _write(fd: int, data: memoryview | bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def _read(fd: int, view: memoryview, offset: int) -> int:
    got = 0
    while got < len(view):
        part = os.preadv(fd, [view[got:]], offset + got)
        if part == 0:
            break
        got += part
    return got
