"""Chunks from disk to a device past the arena: read ahead into a small pinned buffer while others are copied.

Blocks; for worker threads.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from hotseat.errors import DriverTimeout, VerifyFailed
from hotseat.store.book import packed
from hotseat.store.device import Device
from hotseat.store.digest import CHUNK
from hotseat.store.disk import Disk, Placed
from hotseat.store.pages import Page
from hotseat.store.runs import Addresses, runs

STAGED = 64
"""Chunks of the buffer, 128 MiB: half of it is read while the other half is copied."""


class Stage:
    """The buffer: made and pinned when it is first needed, for the life of the process. One stream at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._map: mmap.mmap | None = None
        self.address = 0

    def ready(self, device: Device) -> None:
        if self._map is None:
            made = mmap.mmap(-1, STAGED * CHUNK)
            address = ctypes.addressof(ctypes.c_char.from_buffer(made))
            device.register(address, STAGED * CHUNK)
            self._map, self.address = made, address

    def chunk(self, index: int) -> memoryview:
        assert self._map is not None
        return memoryview(self._map)[index * CHUNK : (index + 1) * CHUNK]


class Stream:
    """`pages`: by the numbers that slots name, in the order of their files."""

    def __init__(self, disk: Disk, pages: Mapping[int, Page], stage: Stage, *, key: int) -> None:
        self._disk, self._pages, self._stage, self._key = disk, pages, stage, key

    def copy(
        self,
        device: Device,
        addresses: Addresses,
        numbers: NDArray[np.int32],
        stop: threading.Event,
        *,
        end: int | None = None,
    ) -> None:
        """To each address the page of that number, up to the address `end`. `VerifyFailed` if bytes came back that are
        not those that were written: the device says so, once all are there."""
        half = STAGED // 2
        wanted = sorted(zip(addresses.tolist(), numbers.tolist(), strict=True), key=lambda one: self._pages[one[1]][:2])
        batches = [wanted[at : at + half] for at in range(0, len(wanted), half)]
        while not self._stage.lock.acquire(timeout=0.1):
            self._go_on(stop)
        try:
            self._stage.ready(device)
            coming = self._read(batches[0], 0)
            for index, batch in enumerate(batches):
                _wait(coming)
                here, coming = index % 2 * half, []
                try:
                    self._go_on(stop)
                    if index + 1 < len(batches):
                        coming = self._read(batches[index + 1], half - here)
                    pairs = sorted((address, here + at) for at, (address, _) in enumerate(batch))
                    targets, slots = zip(*pairs, strict=True)
                    with device.copies(arena=self._stage.address, stop=stop) as copies:
                        copies.into(
                            runs(np.array(targets, dtype=np.uint64), np.array(slots, dtype=np.int32), edge=STAGED),
                            end=end,
                        )
                except BaseException:
                    _wait(coming, quietly=True)  # nobody else's bytes may come into the buffer later
                    raise
        finally:
            self._stage.lock.release()
        self._check(device, addresses, numbers, end)

    def _read(self, batch: Sequence[tuple[int, int]], first: int) -> list[Future[None]]:
        jobs = []
        for at, (_, number) in enumerate(batch):
            page = self._pages[number]
            placed = Placed(page.offset, page.stored, page.packed)
            jobs.append(self._disk.readers.submit(self._disk.read, page.file, placed, self._stage.chunk(first + at)))
        return jobs

    def _check(self, device: Device, addresses: Addresses, numbers: NDArray[np.int32], end: int | None) -> None:
        done = 0
        for run in runs(addresses, np.full(len(addresses), -1, dtype=np.int32), edge=1):
            found = packed(device.digests(run.at, run.length, key=self._key, end=end)[:, :2])
            for number, digest in zip(numbers[done : done + run.length].tolist(), found, strict=True):
                if digest != self._pages[number].digest:
                    raise damaged(self._pages[number])
            done += run.length

    def _go_on(self, stop: threading.Event) -> None:
        if stop.is_set():
            raise DriverTimeout("the disk was not done within its deadline", hint="give it a longer one")


def damaged(page: Page) -> VerifyFailed:
    return VerifyFailed(
        f"a chunk came back from the disk with other bytes ({page.file} at {page.offset})",
        hint="the disk is damaged, or somebody wrote to the file; look at `dmesg`, and restart the workload",
    )


def _wait(jobs: Sequence[Future[None]], *, quietly: bool = False) -> None:
    """Until all have ended; raises the first error."""
    errors = [error for job in jobs if (error := job.exception()) is not None]
    if errors and not quietly:
        raise errors[0]
