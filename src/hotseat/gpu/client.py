"""The asyncio client of the workers: `CheckpointDriver` and `DeviceTruth` on the real or the emulated driver.

Which of the two is the loader's choice (LD_LIBRARY_PATH) and nothing else's; a path may be forced. Every call has a
worker of its own while it lasts, so a call that hangs is ended by killing its worker and harms no other call.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from hotseat.errors import DriverFailed, DriverTimeout, WorkerDied
from hotseat.gpu import advice, procfs, wire
from hotseat.gpu.answers import Answers
from hotseat.gpu.cuda_abi import CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_NOT_INITIALIZED
from hotseat.gpu.pool import Pool
from hotseat.gpu.port import Outcome
from hotseat.gpu.truth import Nvml
from hotseat.gpu.worker_process import KILL_DEADLINE, WorkerProcess
from hotseat.words import Device, DeviceUse, ProcessRef, ProcessState

NO_CUDA = {CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_NOT_INITIALIZED, wire.GONE}
"""Answers of GetRestoreThreadId that mean: does not use CUDA. So does having ended."""

LOCK_GRACE = 1.0
"""Seconds that a lock may take beyond the timeout which the driver itself keeps."""

REACH_DEADLINE = 2.0
"""Seconds to repeat the query about processes that NVML lists and the checkpoint API does not know."""


class GpuClient:
    """Starts its first worker with the first call. Use as an async context manager, or call `aclose`.

    `libcuda`, `libnvml`: names for the loader, or paths. `environ`: the workers' environment (this process's own).
    `spares`: workers kept ready beside those that are busy. `limit`: workers at most. `start_deadline`: seconds a
    call waits for a worker, not counted in the call's own deadline. `nvml_deadline`: seconds for NVML to answer.
    """

    def __init__(
        self,
        *,
        libcuda: str = "libcuda.so.1",
        libnvml: str = "libnvidia-ml.so.1",
        environ: Mapping[str, str] | None = None,
        spares: int = 1,
        limit: int = 16,
        start_deadline: float = 60.0,
        nvml_deadline: float = 5.0,
    ) -> None:
        self._libcuda = libcuda
        self._environ = dict(os.environ if environ is None else environ)
        self._start_deadline = start_deadline
        self._pool = Pool(start=self._start_worker, spares=spares, limit=limit)
        self._nvml = Nvml(library=libnvml, environ=self._environ, deadline=nvml_deadline, start_deadline=start_deadline)
        self._calls: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Kill all workers. A call in flight gets `WorkerDied`."""
        await self._pool.aclose()
        await self._nvml.aclose()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def start(self) -> wire.Hello:
        """Have a worker ready, and what it says of its library. `DriverFailed` if there is no driver to work with."""
        worker = await self._borrow()
        self._pool.give_back(worker)
        return worker.hello

    @property
    def worker_pids(self) -> frozenset[int]:
        """Of the workers alive now; for those who look at the process list."""
        return frozenset(worker.pid for worker in self._pool.workers if worker.alive) | self._nvml.pids

    # CheckpointDriver

    async def find_cuda(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, int]:
        answers = await self._call("find", processes, deadline=deadline)
        found = answers.values(ignore=NO_CUDA)
        unknown = [ref for ref in answers.processes if ref not in found]
        held = await self._held(unknown)
        if held:
            # NVML may have been asked a moment later than the driver: a process that started CUDA in between is no
            # contradiction, one that ended neither. Ask again before calling it one.
            again = await self._call("find", list(held), deadline=max(deadline, REACH_DEADLINE))
            found |= again.values(ignore=NO_CUDA)
            holders = {ref: n for ref, n in held.items() if ref not in found and lives(ref)}
            if holders:
                raise advice.unknown_holders(holders, library=again.library, found=found)
        return found

    async def states(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, ProcessState]:
        answers = await self._call("state", processes, deadline=deadline)
        return {ref: ProcessState(value) for ref, value in answers.values().items()}

    async def lock(self, processes: Sequence[ProcessRef], *, timeout: float) -> Sequence[Outcome]:  # noqa: ASYNC109
        if not timeout > 0:
            raise ValueError("a lock needs a timeout above 0: to the driver 0 means for ever")
        milliseconds = math.ceil(timeout * 1000)
        answers = await self._call("lock", processes, deadline=timeout + LOCK_GRACE, timeout_ms=milliseconds)
        return answers.outcomes()

    async def checkpoint(self, processes: Sequence[ProcessRef], *, deadline: float) -> Sequence[Outcome]:
        return (await self._call("checkpoint", processes, deadline=deadline)).outcomes()

    async def restore(self, processes: Sequence[ProcessRef], *, deadline: float) -> Sequence[Outcome]:
        return (await self._call("restore", processes, deadline=deadline)).outcomes()

    async def unlock(self, processes: Sequence[ProcessRef], *, deadline: float) -> Sequence[Outcome]:
        return (await self._call("unlock", processes, deadline=deadline)).outcomes()

    # DeviceTruth

    async def devices(self) -> tuple[Device, ...]:
        return tuple(one.device for one in await self.use())

    async def use(self) -> tuple[DeviceUse, ...]:
        return await self._nvml.use()

    async def nvml(self) -> tuple[wire.Hello, wire.NvmlReport]:
        """What NVML says of itself and of the devices' modes; for doctor."""
        return await self._nvml.report()

    # Within

    async def _call(self, op: str, processes: Iterable[ProcessRef], *, deadline: float, timeout_ms: int = 0) -> Answers:
        """One operation on all processes. Read-only ones are repeated once if the worker died under them."""
        answers = Answers(op, tuple(dict.fromkeys(processes)), deadline=deadline)
        if not answers.processes:
            return answers
        try:
            return await self._attempt(answers, timeout_ms=timeout_ms)
        except WorkerDied:
            if op not in ("find", "state"):
                raise
            return await self._attempt(Answers(op, answers.processes, deadline=deadline), timeout_ms=timeout_ms)

    async def _attempt(self, answers: Answers, *, timeout_ms: int) -> Answers:
        worker = await self._borrow()
        if worker.hello.missing:
            self._pool.give_back(worker)
            raise advice.missing_symbols(worker.hello)
        answers.library = worker.hello.library
        # A caller who is cancelled does not end the driver's call: it goes on to its deadline, and only then is its
        # worker killed, since killing one in the middle of a checkpoint may lose the process.
        return await asyncio.shield(self._task(self._exchange(worker, answers, timeout_ms=timeout_ms)))

    async def _exchange(self, worker: WorkerProcess, answers: Answers, *, timeout_ms: int) -> Answers:
        try:
            async with asyncio.timeout(answers.deadline):
                await worker.exchange(
                    answers.op, processes=answers.processes, timeout_ms=timeout_ms, on_items=answers.add
                )
        except TimeoutError:
            self._pool.discard(worker)
            # A request that the process has not begun yet is dropped with the worker, but only once that is gone.
            await worker.wait(deadline=KILL_DEADLINE)
            raise answers.timed_out() from None
        except WorkerDied as died:
            self._pool.discard(worker)
            raise answers.worker_died(died) from None
        except BaseException:
            self._pool.discard(worker)
            raise
        self._pool.give_back(worker)
        answers.check()
        return answers

    async def _borrow(self) -> WorkerProcess:
        try:
            async with asyncio.timeout(self._start_deadline):
                return await self._pool.borrow()
        except TimeoutError:
            raise DriverTimeout(
                f"no GPU worker was ready within {self._start_deadline:g} s: all are busy or do not start",
                hint="other swaps hold them, or the driver hangs: look at `hotseat ps` and `dmesg`",
            ) from None

    async def _start_worker(self) -> WorkerProcess:
        return await WorkerProcess.start(
            role="cuda", library=self._libcuda, environ=self._environ, deadline=self._start_deadline
        )

    def _task(self, coroutine: Coroutine[Any, Any, Answers]) -> asyncio.Task[Answers]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._calls.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen, for a caller who was cancelled and never will

    async def _held(self, processes: Sequence[ProcessRef]) -> dict[ProcessRef, int]:
        """Those of `processes` that NVML lists, with their bytes. Empty where NVML cannot tell."""
        if not processes:
            return {}
        try:
            use = await self.use()
        except DriverFailed:
            return {}  # a check beside the answer; whoever needs NVML's own answer asks for it and hears why not
        held: dict[int, int] = {}
        for device in use:
            for pid, nbytes in device.processes.items():
                held[pid] = held.get(pid, 0) + nbytes
        return {ref: held[ref.pid] for ref in processes if ref.pid in held}


def lives(ref: ProcessRef) -> bool:
    """Whether it is still there and not on its way out: an exiting process has no memory map any more."""
    if procfs.start_time(ref.pid) != ref.start_time:
        return False
    try:
        return bool(procfs.read(f"/proc/{ref.pid}/maps"))
    except OSError:
        return False
