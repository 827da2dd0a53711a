"""NVML's answers by way of a worker of its own, so that neither can hold up the other: NVML hangs in other places."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from hotseat.errors import DriverFailed, DriverTimeout, WorkerDied
from hotseat.gpu import wire
from hotseat.gpu.worker_process import WorkerProcess
from hotseat.words import Device, DeviceUse


class Nvml:
    """One worker, started with the first question. Questions are asked one after the other; all are read-only."""

    def __init__(self, *, library: str, environ: Mapping[str, str], deadline: float, start_deadline: float) -> None:
        self._library = library
        self._environ = environ
        self._deadline = deadline
        self._start_deadline = start_deadline
        self._worker: WorkerProcess | None = None
        self._turn = asyncio.Lock()
        self._closed = False

    @property
    def pids(self) -> frozenset[int]:
        return frozenset({self._worker.pid} if self._worker and self._worker.alive else ())

    async def use(self) -> tuple[DeviceUse, ...]:
        """One entry per device, in index order, read now."""
        body = await self._ask("use")
        return tuple(device_use(one) for one in msgspec.convert(body, list[wire.NvmlDevice]))

    async def report(self) -> tuple[wire.Hello, wire.NvmlReport]:
        body = await self._ask("facts")
        assert self._worker is not None
        return self._worker.hello, msgspec.convert(body, wire.NvmlReport)

    async def aclose(self) -> None:
        self._closed = True
        await self._drop()

    async def _ask(self, op: str) -> Any:
        """Ask; if the worker died or NVML failed (the driver was reloaded, say), once more with a new worker."""
        async with self._turn:
            try:
                return await self._ask_once(op)
            except DriverTimeout:
                raise
            except (WorkerDied, DriverFailed):
                if self._worker is None:  # it did not even start; a second start would say the same
                    raise
                await self._drop()
                return await self._ask_once(op)

    async def _ask_once(self, op: str) -> Any:
        if self._closed:
            raise WorkerDied("the GPU client was closed")
        if self._worker is None:
            self._worker = await WorkerProcess.start(
                role="nvml", library=self._library, environ=self._environ, deadline=self._start_deadline
            )
        try:
            async with asyncio.timeout(self._deadline):
                return await self._worker.exchange(op)
        except TimeoutError:
            await self._drop()
            raise DriverTimeout(
                f"NVML did not answer within {self._deadline:g} s",
                hint="a device may be lost or resetting: look at `nvidia-smi` and `dmesg`",
                call=op,
            ) from None
        except asyncio.CancelledError:
            # An answer is still to come, and nobody will read it: start afresh.
            await self._drop()
            raise

    async def _drop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.aclose()


def device_use(read: wire.NvmlDevice) -> DeviceUse:
    device = Device(
        index=read.index,
        uuid=read.uuid,
        name=read.name,
        total_bytes=read.total_bytes,
        emulated=is_emulated(read.name),
    )
    return DeviceUse(
        device=device,
        used_bytes=read.used_bytes,
        free_bytes=read.free_bytes,
        processes={one.pid: one.used_bytes for one in read.processes},
    )


def is_emulated(device_name: str) -> bool:
    """The emulated driver says so in the name of every device."""
    return "emulated" in device_name.lower()
