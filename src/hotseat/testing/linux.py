"""Doubles of the linux layer's port: a kernel in memory, and a freezer that holds its threads.

The double passes the contract suite of the real freezer. Beyond that it records every call in `calls` and fails on
demand: `freezer.faults["seize"] = FreezeFailed(...)` makes the next such call raise (once).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass, field

from hotseat.errors import FreezeFailed, ProcessGone, Refused
from hotseat.linux.port import ListProcesses
from hotseat.words import ProcessRef


@dataclass(slots=True)
class FakeProcess:
    ref: ProcessRef
    tids: list[int]
    tracer: int = 0
    stuck: bool = False
    """In uninterruptible sleep: does not stop for a tracer."""
    stopped: bool = False
    """By job control (SIGSTOP)."""
    held: set[int] = field(default_factory=set)


class FakeKernel:
    """Processes with threads. What a test does to them (`start`, `end`, `trace`, ...) and what it sees (`runs`)."""

    def __init__(self) -> None:
        self._ids = itertools.count(1000)
        self.processes: dict[ProcessRef, FakeProcess] = {}

    def start(self, *, threads: int = 1) -> ProcessRef:
        tids = [next(self._ids) for _ in range(threads)]
        ref = ProcessRef(tids[0], tids[0] * 10)
        self.processes[ref] = FakeProcess(ref, tids)
        return ref

    def list_processes(self) -> list[ProcessRef]:
        return sorted(self.processes)

    def end(self, ref: ProcessRef) -> None:
        self.processes.pop(ref, None)

    def runs(self, tid: int) -> bool:
        process = self.process_of(tid)
        return process is not None and not process.stopped and tid not in process.held

    def process_of(self, tid: int) -> FakeProcess | None:
        return next((process for process in self.processes.values() if tid in process.tids), None)


class FakeHold:
    def __init__(self, *, freezer: FakeFreezer, list_processes: ListProcesses) -> None:
        self._freezer = freezer
        self._list_processes = list_processes
        self._held: set[ProcessRef] = set()
        self._settled = False
        self.released = False

    @property
    def processes(self) -> frozenset[ProcessRef]:
        return frozenset(self._held & self._freezer.kernel.processes.keys())

    @property
    def threads(self) -> int:
        return sum(len(self._freezer.kernel.processes[ref].tids) for ref in self.processes)

    def take(self) -> None:
        for ref in self._list_processes():
            process = self._freezer.kernel.processes.get(ref)
            if process is None or ref in self._held:
                continue
            if process.tracer:
                raise Refused(
                    f"process {ref.pid} is traced by process {process.tracer}",
                    rule="traced",
                    hint="end the debugger or tracer first",
                    tracer=process.tracer,
                )
            self._held.add(ref)
            process.tracer = self._freezer.pid
            if not process.stuck:
                process.held.update(process.tids)

    async def settle(self, *, deadline: float) -> None:
        self._freezer.called("settle")
        self.check_open()
        self.take()
        for ref in self.processes:
            process = self._freezer.kernel.processes[ref]
            if process.stuck:
                raise FreezeFailed(
                    f"thread {ref.pid} of process {ref.pid} would not stop: state D (uninterruptible sleep)",
                    hint="wait until the kernel call has finished, then retry",
                    tid=ref.pid,
                    state="D",
                )
        self._settled = True

    async def let_run(self, tids: Collection[int], *, deadline: float) -> None:
        self._freezer.called("let_run", *sorted(tids))
        self.check_open()
        if not self._settled:
            raise FreezeFailed("not every thread has stopped yet", hint="settle first")
        found = {tid: self._freezer.kernel.process_of(tid) for tid in tids}
        for tid, process in found.items():
            if process is None or process.ref not in self._held:
                raise ProcessGone(f"thread {tid} is gone", hint="list the workload's processes again", tid=tid)
        for tid, process in found.items():
            if process is not None:
                process.held.discard(tid)

    async def release(self) -> None:
        self._freezer.called("release")
        self.let_go()

    def let_go(self) -> None:
        self.released = True
        for ref in self._held:
            process = self._freezer.kernel.processes.get(ref)
            if process is not None:
                process.held.clear()
                process.tracer = 0
        self._held.clear()

    def check_open(self) -> None:
        if self.released:
            raise FreezeFailed("this hold has been released", hint="seize the processes again")


class FakeFreezer:
    def __init__(self, *, kernel: FakeKernel | None = None, pid: int = 1) -> None:
        self.kernel = kernel or FakeKernel()
        self.pid = pid
        self.calls: list[tuple[str | int, ...]] = []
        self.faults: dict[str, Exception] = {}
        """Name of a call -> what it raises the next time, instead of doing anything."""
        self.holds: list[FakeHold] = []

    def called(self, name: str, *arguments: int) -> None:
        self.calls.append((name, *arguments))
        if (fault := self.faults.pop(name, None)) is not None:
            raise fault

    async def seize(self, list_processes: ListProcesses, *, deadline: float, wait: bool = True) -> FakeHold:
        self.called("seize")
        hold = FakeHold(freezer=self, list_processes=list_processes)
        try:
            hold.take()
            if wait:
                await hold.settle(deadline=deadline)
        except BaseException:
            hold.let_go()
            raise
        self.holds.append(hold)
        return hold

    async def aclose(self) -> None:
        self.called("aclose")
        for hold in self.holds:
            hold.let_go()
