"""One device as the store uses it: memory by handle and descriptor, a window over it, digests, copies.

All methods block and may be called from any thread, several at a time; each makes the device's context current.
"""

from __future__ import annotations

import ctypes
import os
import threading
import uuid as uuids
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ctypes import byref, c_int, c_size_t, c_uint64, c_ulonglong, c_void_p
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from hotseat.errors import DriverFailed, DriverTimeout
from hotseat.store import cuda as abi
from hotseat.store.custom import CustomStorage
from hotseat.store.digest import CHUNK, WORDS, chunk_digests
from hotseat.store.runs import Run, batches

THREADS = 512
"""Of one block of the kernel, as chunks.cu is written for."""
RESULTS = 2 << 20
"""Bytes of device memory for digests, taken once: a device that is full must still be readable."""
LANES = 4
"""Looks at memory that may be under way at once, each with its part of that: while one is waited for, others run."""
ROW = 24
"""Bytes of one chunk's result."""
BATCH = 128 << 20
"""Bytes after which a copy looks whether it is still wanted."""
AHEAD = 3
"""Batches that are queued before the first of them is waited for."""


def device_name(uuid: bytes) -> str:
    """As NVML writes it."""
    return f"GPU-{uuids.UUID(bytes=uuid)}"


def device_uuid(name: str) -> bytes:
    """Its 16 bytes, of what `device_name` gives."""
    return uuids.UUID(name.removeprefix("GPU-")).bytes


class Device:
    """Made on first use: its context takes some hundred MiB of the device."""

    def __init__(self, cuda: abi.Cuda, ordinal: int, uuid: bytes) -> None:
        self.uuid = uuid
        self.name = device_name(uuid)
        self._cuda, self._ordinal = cuda, ordinal
        self._lanes = SimpleQueue[tuple[c_void_p, int]]()
        self._context, self._kernel = c_void_p(), c_void_p()
        module = c_void_p()
        cuda.call("cuDevicePrimaryCtxRetain", byref(self._context), ordinal)
        self.enter()
        cuda.call("cuModuleLoadData", byref(module), Path(__file__).with_name("chunks.ptx").read_bytes())
        cuda.call("cuModuleGetFunction", byref(self._kernel), module, b"hotseat_chunks")
        results = c_uint64()
        cuda.call("cuMemAlloc_v2", byref(results), RESULTS)
        for lane in range(LANES):
            stream = c_void_p()
            cuda.call("cuStreamCreate", byref(stream), abi.NON_BLOCKING)
            self._lanes.put((stream, results.value + lane * (RESULTS // LANES)))

    def enter(self) -> None:
        self._cuda.call("cuCtxSetCurrent", self._context)

    def register(self, address: int, nbytes: int) -> None:
        self.enter()
        self._cuda.call("cuMemHostRegister_v2", address, nbytes, abi.PORTABLE)

    # Memory

    def free(self) -> int:
        """Bytes."""
        self.enter()
        free, total = c_size_t(), c_size_t()
        self._cuda.call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value

    def create(self, nbytes: int) -> int:
        """`OutOfMemory` if the device has no room."""
        self.enter()
        location = abi.Location(1, self._ordinal)
        prop = abi.AllocationProp(type=1, handle_types=abi.FD_HANDLE, location=location)
        handle = c_ulonglong()
        self._cuda.call("cuMemCreate", byref(handle), nbytes, byref(prop), 0)
        return handle.value

    def export(self, handle: int) -> int:
        self.enter()
        fd = c_int(-1)
        self._cuda.call("cuMemExportToShareableHandle", byref(fd), handle, abi.FD_HANDLE, 0)
        os.set_inheritable(fd.value, False)
        return fd.value

    def import_(self, fd: int) -> int:
        self.enter()
        handle = c_ulonglong()
        self._cuda.call("cuMemImportFromShareableHandle", byref(handle), c_void_p(fd), abi.FD_HANDLE)
        return handle.value

    def release(self, handle: int) -> None:
        self.enter()
        self._cuda.call("cuMemRelease", handle)

    @contextmanager
    def window(self, blocks: Sequence[tuple[int, int]]) -> Iterator[int]:
        """Maps (handle, bytes) one behind the other at the address that it gives."""
        self.enter()
        total = sum(nbytes for _, nbytes in blocks)
        base = c_uint64()
        self._cuda.call("cuMemAddressReserve", byref(base), total, 0, 0, 0)
        mapped = 0
        try:
            for handle, nbytes in blocks:
                self._cuda.call("cuMemMap", base.value + mapped, nbytes, 0, handle, 0)
                mapped += nbytes
            access = abi.AccessDesc(abi.Location(1, self._ordinal), abi.READ_WRITE)
            self._cuda.call("cuMemSetAccess", base.value, total, byref(access), 1)
            yield base.value
        finally:
            with suppress(DriverFailed):  # what failed before is what a person must hear
                self.enter()
                at = base.value
                for _, nbytes in blocks:
                    if at < base.value + mapped:
                        self._cuda.call("cuMemUnmap", at, nbytes)
                    at += nbytes
                self._cuda.call("cuMemAddressFree", base.value, total)

    # Work

    @contextmanager
    def _stream(self) -> Iterator[c_void_p]:
        self.enter()
        stream = c_void_p()
        self._cuda.call("cuStreamCreate", byref(stream), abi.NON_BLOCKING)
        try:
            yield stream
        finally:
            with suppress(DriverFailed):  # no copy may be under way once its memory is given away
                self._cuda.call("cuStreamSynchronize", stream)
                self._cuda.call("cuStreamDestroy_v2", stream)

    @contextmanager
    def _lane(self) -> Iterator[tuple[c_void_p, int]]:
        """A stream, and device memory for results."""
        lane = self._lanes.get()
        try:
            yield lane
        finally:
            with suppress(DriverFailed):  # nothing may read memory that is given away, or write what others use
                self._cuda.call("cuStreamSynchronize", lane[0])
            self._lanes.put(lane)

    def digests(self, base: int, chunks: int, *, key: int, end: int | None = None) -> NDArray[np.uint64]:
        """As `hotseat.store.digest.chunk_digests` of the `chunks` chunks from `base` on. `end`: the address behind the
        last byte that is there; what is missing of the last chunk counts as zeros."""
        out = np.empty((chunks, 3), dtype=np.uint64)
        whole = chunks if end is None else min(chunks, (end - base) // CHUNK)
        self.enter()
        at_once = RESULTS // LANES // ROW
        with self._lane() as (stream, results):
            for first in range(0, whole, at_once):
                rows = out[first : min(first + at_once, whole)]
                values = (base + first * CHUNK, WORDS, len(rows), key, results)
                cells = [c_uint64(value) for value in values]
                params = (c_void_p * len(cells))(*(ctypes.addressof(cell) for cell in cells))
                self._cuda.call("cuLaunchKernel", self._kernel, len(rows), 1, 1, THREADS, 1, 1, 0, stream, params, None)
                self._cuda.call("cuMemcpyDtoHAsync_v2", rows.ctypes.data, results, c_size_t(rows.nbytes), stream)
                self._cuda.call("cuStreamSynchronize", stream)
            if end is not None and whole < chunks:
                last = np.zeros(CHUNK, dtype=np.uint8)
                at = base + whole * CHUNK
                self._cuda.call("cuMemcpyDtoHAsync_v2", last.ctypes.data, at, c_size_t(end - at), stream)
                self._cuda.call("cuStreamSynchronize", stream)
                out[whole:] = chunk_digests(last.data, key=key)
        return out

    @contextmanager
    def copies(self, *, arena: int, stop: threading.Event) -> Iterator[Copies]:
        """Copies to and from the pinned memory at `arena`. All have ended when this does, also by an error."""
        with self._stream() as stream, self._stream() as zeros, ExitStack() as ended:
            events = []
            for _ in range(AHEAD):
                event = c_void_p()
                self._cuda.call("cuEventCreate", byref(event), abi.QUIET_EVENT)
                ended.callback(self._cuda.call, "cuEventDestroy_v2", event)
                events.append(event)
            yield Copies(self._cuda, stream, zeros, events, arena=arena, stop=stop)
            self._cuda.call("cuStreamSynchronize", stream)
            self._cuda.call("cuStreamSynchronize", zeros)


class Copies:
    """Queued in order, and under way when a call returns. `DriverTimeout` if `stop` is set on the way.

    Zeros have a stream of their own, and may be queued by another thread: the device writes them while the bus is busy.
    """

    def __init__(
        self,
        cuda: abi.Cuda,
        stream: c_void_p,
        zeros: c_void_p,
        events: Sequence[c_void_p],
        *,
        arena: int,
        stop: threading.Event,
    ) -> None:
        self._cuda, self._stream, self._zeros, self._arena, self._stop = cuda, stream, zeros, arena, stop
        self._free, self._queued = deque(events), deque[c_void_p]()
        self._done = self._count = 0

    def out(self, runs: Sequence[Run], *, end: int | None = None) -> None:
        """Device -> arena, up to the address `end`."""
        for run in self._in_turn(runs):
            nbytes = _bytes(run, end)
            self._cuda.call("cuMemcpyDtoHAsync_v2", self._arena + run.slot * CHUNK, run.at, nbytes, self._stream)

    def into(self, runs: Sequence[Run], *, end: int | None = None) -> None:
        """Arena -> device, up to the address `end`. From one thread, with `out`."""
        for run in self._in_turn(runs):
            nbytes = _bytes(run, end)
            self._cuda.call("cuMemcpyHtoDAsync_v2", run.at, self._arena + run.slot * CHUNK, nbytes, self._stream)

    def clear(self, runs: Sequence[Run], *, end: int | None = None) -> None:
        """Sets them to zero, up to the address `end`."""
        for run in runs:
            self._go_on()
            self._cuda.call("cuMemsetD8Async", run.at, 0, _bytes(run, end), self._zeros)

    def _in_turn(self, runs: Sequence[Run]) -> Iterator[Run]:
        """So that the device always has some to do, and never more than can still be waited for."""
        for batch in batches(runs, chunks=BATCH // CHUNK):
            self._go_on()
            if not self._free:
                self._wait_for_one()
            yield from batch
            event = self._free.popleft()
            self._cuda.call("cuEventRecord", event, self._stream)
            self._queued.append(event)
            self._count += 1

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise DriverTimeout("the copy was not done within its deadline", hint="give it a longer one")

    def mark(self) -> int:
        """What was queued until now, as `wait` takes it."""
        return self._count

    def wait(self, mark: int) -> None:
        """Until it is copied; zeros may still be under way."""
        while self._done < mark:
            self._wait_for_one()

    def _wait_for_one(self) -> None:
        self._cuda.call("cuEventSynchronize", self._queued[0])
        self._free.append(self._queued.popleft())
        self._done += 1


def _bytes(run: Run, end: int | None) -> int:
    """What of it is there."""
    whole = run.length * CHUNK
    return whole if end is None else min(whole, end - run.at)


class Devices:
    """All of them, each opened on first use. `DriverFailed` if there is no driver or no device."""

    def __init__(self, library: str) -> None:
        self._cuda = abi.Cuda(library)
        self.uuids = self._cuda.device_uuids()
        """By ordinal."""
        self.bytes = sum(self._cuda.device_bytes(ordinal) for ordinal in range(len(self.uuids)))
        """Of all of them."""
        self._ordinals = {uuid: ordinal for ordinal, uuid in enumerate(self.uuids)}
        if not self._ordinals:
            raise DriverFailed("the driver shows no device", hint="look at `nvidia-smi` on this host")
        self._open: dict[bytes, Device] = {}
        self._lock = threading.Lock()

    def custom_storage(self) -> CustomStorage:
        """`DriverFailed` if this driver has none."""
        return CustomStorage(self._cuda, self.uuids)

    def get(self, uuid: bytes) -> Device:
        """`DriverFailed` if there is none of that name."""
        with self._lock:
            if uuid not in self._open:
                if uuid not in self._ordinals:
                    raise DriverFailed(
                        f"the store does not see {device_name(uuid)}",
                        hint="start the store where all devices are visible, without CUDA_VISIBLE_DEVICES",
                    )
                self._open[uuid] = Device(self._cuda, self._ordinals[uuid], uuid)
            return self._open[uuid]

    def any(self) -> Device:
        """One that is open already, or the first."""
        return self.get(next(iter(self._open or self._ordinals)))
