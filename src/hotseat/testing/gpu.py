"""A GPU in memory: a double of `CheckpointDriver` and `DeviceTruth`, as unforgiving as the driver.

    gpu = FakeGpu(devices=[80 * GIB])
    a = gpu.start(ProcessRef(100, 1), {0: 30 * GIB})     # a CUDA process that holds memory
    gpu.faults.append(Fault(op="checkpoint", effect=Effect.HANG, pid=100))

It is deterministic: no threads, and time is the event loop's, so it works under virtual time. It passes the same
contract suite (tests/gpu) as the real client on the emulated driver.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotseat.errors import WorkerDied
from hotseat.gpu import advice, wire
from hotseat.gpu.answers import Answers
from hotseat.gpu.cuda_abi import (
    CUDA_ERROR_ILLEGAL_STATE,
    CUDA_ERROR_NOT_INITIALIZED,
    CUDA_ERROR_NOT_READY,
    CUDA_ERROR_OPERATING_SYSTEM,
    CUDA_ERROR_OUT_OF_MEMORY,
    CUDA_SUCCESS,
)
from hotseat.gpu.port import Outcome
from hotseat.words import Device, DeviceUse, ProcessRef, ProcessState

GIB = 1 << 30

LOCK_GRACE = 1.0
"""Seconds that a lock's deadline lies behind the driver's own timeout."""

STEPS = {
    "lock": (ProcessState.RUNNING, ProcessState.LOCKED),
    "checkpoint": (ProcessState.LOCKED, ProcessState.CHECKPOINTED),
    "restore": (ProcessState.CHECKPOINTED, ProcessState.LOCKED),
    "unlock": (ProcessState.LOCKED, ProcessState.RUNNING),
}
"""Operation -> (the only state it may start from, the state it leads to)."""


class Effect(enum.StrEnum):
    """What a fault does to a call."""

    RESULT = "result"
    """Return `Fault.result`; the process stays as it is."""
    BUSY = "busy"
    """A lock finds GPU work that does not end: NOT_READY once its timeout is over."""
    HANG = "hang"
    """Never return; the process stays as it is."""
    HANG_AFTER = "hang after"
    """Do it, yet never return."""
    DIE = "die"
    """The process dies in the middle."""
    WORKER_DIES = "worker dies"
    """The worker dies before it called, for all processes of the call."""
    WORKER_DIES_AFTER = "worker dies after"
    """The worker dies when all was done, before it could say so."""
    FAIL = "fail"
    """The process ends in state FAILED, with `Fault.result`."""
    KEEP_MEMORY = "keep memory"
    """A checkpoint that says yes and releases nothing."""


@dataclass(kw_only=True)
class Fault:
    """Strikes calls of operation `op` ("find", "state", "lock", ...) on `pid` (None = any), after `skip` of them,
    `times` times (None = always)."""

    op: str
    effect: Effect
    pid: int | None = None
    skip: int = 0
    times: int | None = 1
    result: int = 999

    def strikes(self, op: str, pid: int) -> bool:
        if op != self.op or self.pid not in (None, pid) or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(kw_only=True)
class Process:
    """One process of the double. `holds`: device index -> bytes it has (or gets back at a restore)."""

    ref: ProcessRef
    holds: dict[int, int] = field(default_factory=dict)
    cuda: bool = True
    unknown_to_driver: bool = False
    """Listed by the device and not by the checkpoint API, as with a wrong libcuda or MPS."""
    group: str = ""
    """Processes of one communicator: taken one at a time they hang."""
    state: ProcessState = ProcessState.RUNNING
    lost: bool = False
    """A restore ran out of memory; final."""
    thawed: asyncio.Event = field(default_factory=_set_event)
    """Not set while it is frozen."""
    on_device: bool = True


class FakeGpu:
    """Both protocols. Attributes are public: a test may read and change them between calls.

    `release_lag`: seconds for which `use` goes on showing memory that is free already. `call_seconds`: how long each
    driver call takes.
    """

    def __init__(
        self, *, devices: Sequence[int] = (80 * GIB,), release_lag: float = 0.0, call_seconds: float = 0.0
    ) -> None:
        self.capacity = list(devices)
        self.release_lag = release_lag
        self.call_seconds = call_seconds
        self.faults: list[Fault] = []
        self.calls: list[tuple[str, tuple[int, ...]]] = []
        """Every call made: operation and pids."""
        self.processes: dict[ProcessRef, Process] = {}
        self.closed = False
        self._late: list[tuple[float, int, int]] = []
        self._sent: set[asyncio.Task[wire.Item]] = set()
        self._begun: set[asyncio.Task[Any]] = set()
        self._watchers: list[asyncio.Future[None]] = []

    # What a test does to the world

    def start(
        self, ref: ProcessRef, holds: Mapping[int, int] | None = None, *, cuda: bool = True, group: str = ""
    ) -> ProcessRef:
        """A process appears. Its memory must fit."""
        process = Process(ref=ref, holds=dict(holds or {}), cuda=cuda, group=group)
        if not self._fits(process):
            raise ValueError(f"{ref} does not fit: {holds} of {self.capacity}")
        self.processes[ref] = process
        return ref

    def end(self, ref: ProcessRef) -> None:
        """The process ends, and the device has its memory back."""
        process = self.processes.pop(ref, None)
        if process is not None:
            self._release(process)
            self._changed()

    def allocate(self, ref: ProcessRef, device: int, nbytes: int) -> None:
        """A running process takes more memory (or gives some back, if negative)."""
        holds = self.processes[ref].holds
        if nbytes > self.free(device):
            raise ValueError(f"{nbytes} bytes do not fit on device {device}")
        holds[device] = holds.get(device, 0) + nbytes

    def leave(self, ref: ProcessRef) -> None:
        """Its memory leaves the devices with a checkpoint that somebody else made."""
        self._release(self.processes[ref])
        self._changed()

    def come_back(self, ref: ProcessRef) -> bool:
        """It has its memory again by somebody else's restore. False: there was no room, and that is final."""
        process = self.processes[ref]
        if process.lost or not self._fits(process):
            process.lost = True
            return False
        process.on_device = True
        return True

    def freeze(self, *refs: ProcessRef) -> None:
        """Driver calls on frozen processes hang until they are thawed, but `find_cuda` answers."""
        for ref in refs:
            self.processes[ref].thawed.clear()

    def thaw(self, *refs: ProcessRef) -> None:
        for ref in refs:
            self.processes[ref].thawed.set()

    def free(self, device: int) -> int:
        """Bytes that a restore may take now."""
        taken = sum(one.holds.get(device, 0) for one in self.processes.values() if one.on_device)
        return self.capacity[device] - taken

    # CheckpointDriver

    async def find_cuda(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, int]:
        answers = await self._call("find", processes, deadline=deadline)
        found = answers.values(ignore={CUDA_ERROR_NOT_INITIALIZED, wire.GONE})
        holders = {
            ref: sum(one.holds.values())
            for ref in answers.processes
            if ref not in found and (one := self.processes.get(ref)) and one.on_device and one.holds
        }
        if holders:
            raise advice.unknown_holders(holders, library="the double", found=found)
        return found

    async def states(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, ProcessState]:
        answers = await self._call("state", processes, deadline=deadline)
        return {ref: ProcessState(value) for ref, value in answers.values().items()}

    async def lock(self, processes: Sequence[ProcessRef], *, timeout: float) -> Sequence[Outcome]:  # noqa: ASYNC109
        if not timeout > 0:
            raise ValueError("a lock needs a timeout above 0: to the driver 0 means for ever")
        return (await self._call("lock", processes, deadline=timeout + LOCK_GRACE)).outcomes()

    async def checkpoint(self, processes: Sequence[ProcessRef], *, deadline: float) -> Sequence[Outcome]:
        return (await self._call("checkpoint", processes, deadline=deadline)).outcomes()

    async def restore(self, processes: Sequence[ProcessRef], *, deadline: float) -> Sequence[Outcome]:
        return (await self._call("restore", processes, deadline=deadline)).outcomes()

    async def unlock(self, processes: Sequence[ProcessRef], *, deadline: float) -> Sequence[Outcome]:
        return (await self._call("unlock", processes, deadline=deadline)).outcomes()

    async def aclose(self) -> None:
        self.closed = True
        for task in self._sent:
            task.cancel()

    # DeviceTruth

    async def devices(self) -> tuple[Device, ...]:
        return tuple(one.device for one in await self.use())

    async def use(self) -> tuple[DeviceUse, ...]:
        return tuple(self._use(index) for index in range(len(self.capacity)))

    # Within

    def _use(self, index: int) -> DeviceUse:
        now = asyncio.get_running_loop().time()
        self._late = [late for late in self._late if late[0] > now]
        total = self.capacity[index]
        free = self.free(index) - sum(nbytes for _, device, nbytes in self._late if device == index)
        device = Device(
            index=index, uuid=f"GPU-double-{index}", name="Double (emulated)", total_bytes=total, emulated=True
        )
        holders = (one for one in self.processes.values() if one.on_device and one.holds.get(index))
        return DeviceUse(
            device=device,
            used_bytes=total - free,
            free_bytes=free,
            processes={one.ref.pid: one.holds[index] for one in sorted(holders, key=lambda one: one.ref)},
        )

    async def _call(self, op: str, processes: Iterable[ProcessRef], *, deadline: float) -> Answers:
        answers = Answers(op, tuple(dict.fromkeys(processes)), deadline=deadline)
        if not answers.processes:
            return answers
        self.calls.append((op, tuple(ref.pid for ref in answers.processes)))
        # A caller who is cancelled does not end the driver's call.
        return await asyncio.shield(self._all(answers))

    async def _all(self, answers: Answers) -> Answers:
        op, deadline = answers.op, answers.deadline
        struck = [self._fault(op, ref) for ref in answers.processes]
        if Effect.WORKER_DIES in (fault and fault.effect for fault in struck):
            raise answers.worker_died(WorkerDied("the GPU worker was killed by signal 9"))
        gone = [ref for ref in answers.processes if ref not in self.processes]
        if gone and op != "find":
            raise advice.gone(op, gone, [])
        tasks = [
            asyncio.ensure_future(self._one(op, index, ref, struck[index], deadline=deadline))
            for index, ref in enumerate(answers.processes)
        ]
        self._sent.update(tasks)
        done, pending = await asyncio.wait(tasks, timeout=deadline)
        self._sent -= done
        # With the worker goes a request that the process has not begun; one that it has begun goes on without.
        for task in pending - self._begun:
            task.cancel()
        answers.add([task.result() for task in done])
        if pending:
            raise answers.timed_out()
        if Effect.WORKER_DIES_AFTER in (fault and fault.effect for fault in struck):
            nothing_said = Answers(op, answers.processes, deadline=deadline)
            raise nothing_said.worker_died(WorkerDied("the GPU worker was killed by signal 9"))
        answers.check()
        return answers

    async def _one(self, op: str, index: int, ref: ProcessRef, fault: Fault | None, *, deadline: float) -> wire.Item:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(self.call_seconds)
        effect = fault and fault.effect
        if effect is Effect.HANG:
            await loop.create_future()
        process = self.processes.get(ref)
        if process is not None and op != "find":
            await process.thawed.wait()
            self._begin()
            await self._ranks(op, process)
        if effect is Effect.BUSY:
            await asyncio.sleep(deadline - LOCK_GRACE)
        result, value = self._do(op, ref, fault)
        self._changed()
        if effect is Effect.HANG_AFTER:
            await loop.create_future()
        return wire.Item(index, result, value, loop.time() - began)

    def _begin(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._begun.add(task)
            task.add_done_callback(self._begun.discard)

    async def _ranks(self, op: str, process: Process) -> None:
        """Ranks of a communicator taken one at a time hang: a checkpoint waits for as long as another rank runs, an
        unlock for as long as another is checkpointed."""
        against = {"checkpoint": ProcessState.RUNNING, "unlock": ProcessState.CHECKPOINTED}.get(op)
        if process.group and against is not None:
            while any(
                one.state is against for one in self.processes.values() if one.group == process.group and one != process
            ):
                changed = asyncio.get_running_loop().create_future()
                self._watchers.append(changed)
                await changed

    def _changed(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    def _do(self, op: str, ref: ProcessRef, fault: Fault | None) -> tuple[int, int]:
        """One driver call on one process: (CUresult, value)."""
        process = self.processes.get(ref)
        if process is None:
            return wire.GONE, 0
        match fault and fault.effect:
            case Effect.RESULT if fault:
                return fault.result, 0
            case Effect.BUSY:
                return CUDA_ERROR_NOT_READY, 0
            case Effect.DIE:
                self.end(ref)
                return wire.GONE, 0
            case Effect.FAIL if fault:
                process.state = ProcessState.FAILED
                return fault.result, 0
        if not process.cuda or process.unknown_to_driver:
            return CUDA_ERROR_NOT_INITIALIZED, 0
        if op == "find":
            return CUDA_SUCCESS, ref.pid
        if op == "state":
            return CUDA_SUCCESS, int(process.state)
        return self._step(op, process, keep_memory=bool(fault and fault.effect is Effect.KEEP_MEMORY)), 0

    def _step(self, op: str, process: Process, *, keep_memory: bool) -> int:
        before, after = STEPS[op]
        if process.state is not before:
            return CUDA_ERROR_ILLEGAL_STATE
        if op == "checkpoint" and not keep_memory:
            self._release(process)
        if op == "restore" and not process.on_device:
            if process.lost:
                return CUDA_ERROR_OPERATING_SYSTEM
            if not self._fits(process):
                process.lost = True
                return CUDA_ERROR_OUT_OF_MEMORY
            process.on_device = True
        process.state = after
        return CUDA_SUCCESS

    def _fits(self, process: Process) -> bool:
        return all(nbytes <= self.free(device) for device, nbytes in process.holds.items())

    def _release(self, process: Process) -> None:
        if process.on_device and self.release_lag:
            until = asyncio.get_running_loop().time() + self.release_lag
            self._late += [(until, device, nbytes) for device, nbytes in process.holds.items()]
        process.on_device = False

    def _fault(self, op: str, ref: ProcessRef) -> Fault | None:
        return next((fault for fault in self.faults if fault.strikes(op, ref.pid)), None)


__all__ = ["GIB", "Effect", "FakeGpu", "Fault", "Process"]
