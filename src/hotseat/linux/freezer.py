"""`ThreadFreezer` by ptrace: the asking side, on the event loop. The owner that traces is `hotseat.linux.owner`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from typing import Any

from hotseat.errors import FreezeFailed, HotseatError, ProcessGone, Refused
from hotseat.linux import cgroup, owners
from hotseat.linux.port import ListProcesses
from hotseat.words import ProcessRef


class PtraceHold:
    """See `hotseat.linux.port.Hold`. A hold whose owner was killed says so at its next call: nothing is held then."""

    def __init__(
        self, *, line: owners.Line, list_processes: ListProcesses, on_release: Callable[[PtraceHold], None]
    ) -> None:
        self._line = line
        self._list_processes = list_processes
        self._processes: frozenset[ProcessRef] = frozenset()
        self._threads = 0
        self._released = False
        self._on_release = on_release

    @property
    def processes(self) -> frozenset[ProcessRef]:
        return self._processes

    @property
    def threads(self) -> int:
        return self._threads

    async def seize_all(self, *, deadline: float, settle: bool) -> None:
        """List, seize, settle, until a listing brings nothing new."""
        clock = asyncio.get_running_loop()
        end = clock.time() + deadline
        first = True
        while True:
            listed = self._list_processes()
            if any(ref.pid == os.getpid() for ref in listed):
                raise Refused(
                    "hotseat itself is among the processes to freeze",
                    rule="self",
                    hint="run hotseat outside the container or process tree that it swaps",
                )
            new = (await self._call("seize", processes=listed, deadline=end - clock.time()))["new"]
            if not new and not first:
                return
            if settle:
                await self._call("settle", deadline=end - clock.time())
            if clock.time() >= end:
                raise FreezeFailed(
                    f"new threads or processes appeared faster than they could be stopped, for {deadline:.1f} s",
                    hint="wait until the workload has finished starting, then try again",
                )
            first = False

    async def settle(self, *, deadline: float) -> None:
        await self.seize_all(deadline=deadline, settle=True)

    async def let_run(self, tids: Collection[int], *, deadline: float) -> None:
        await self._call("let_run", tids=list(tids), deadline=deadline)

    async def release(self) -> None:
        self._released = True
        self._on_release(self)
        await self._line.close()

    async def _call(self, op: str, *, deadline: float, **arguments: Any) -> dict[str, Any]:
        if self._released:
            raise FreezeFailed("this hold has been released", hint="seize the processes again")
        reply = await self._line.call(op, deadline=max(deadline, 0.0), **arguments)
        self._threads = reply["threads"]
        self._processes = frozenset(ProcessRef(pid, start_time) for pid, start_time in reply["processes"])
        if "error" in reply:
            raise _translate(reply["error"], reply["facts"])
        return reply


class PtraceFreezer:
    """See `hotseat.linux.port.ThreadFreezer`. `warm()` spares the first hold the start of the owners' process."""

    def __init__(self, *, made_by: owners.Owners | None = None) -> None:
        self._owners = made_by or owners.choose()
        self._holds: set[PtraceHold] = set()

    async def warm(self) -> None:
        await (await self._owners.connect()).close()

    async def seize(self, list_processes: ListProcesses, *, deadline: float, wait: bool = True) -> PtraceHold:
        line = await self._owners.connect()
        hold = PtraceHold(line=line, list_processes=list_processes, on_release=self._holds.discard)
        self._holds.add(hold)
        try:
            await hold.seize_all(deadline=deadline, settle=wait)
        except BaseException:
            await hold.release()
            raise
        return hold

    async def aclose(self) -> None:
        """Releases what is still held."""
        for hold in list(self._holds):
            await hold.release()
        self._owners.close()


def _translate(kind: str, facts: dict[str, Any]) -> HotseatError:
    """What the owner reports, as hotseat's errors. The one place where this happens."""
    match kind:
        case "traced":
            return Refused(
                f"process {facts['pid']} ({facts['name']}) is traced by process {facts['tracer']} ({facts['command']})",
                rule="traced",
                hint=f"a process has one tracer at a time: end the debugger or tracer (pid {facts['tracer']}) first",
                **facts,
            )
        case "permission":
            return Refused(
                f"the kernel does not let this user trace process {facts['pid']} ({facts['name']})",
                rule="permission",
                hint="run hotseat as root or with CAP_SYS_PTRACE; see also /proc/sys/kernel/yama/ptrace_scope",
                **facts,
            )
        case "unsettled":
            return _unsettled(facts)
        case "gone":
            return ProcessGone(f"thread {facts['tid']} is gone", hint="list the workload's processes again", **facts)
        case "reused":
            return ProcessGone(
                f"pid {facts['pid']} belongs to another process now",
                hint="list the workload's processes again",
                **facts,
            )
        case _:
            raise AssertionError(kind)


def _frozen(facts: dict[str, Any]) -> bool:
    """By a cgroup of version 1: it looks like any uninterruptible sleep. (Version 2 lets tracers stop its frozen.)"""
    found = cgroup.of(facts["pid"], controller="freezer") if facts["state"] == "D" else None
    return found is not None and found.version == 1 and found.frozen()


def _unsettled(facts: dict[str, Any]) -> FreezeFailed:
    hint = "all threads were let go; wait until the kernel call has finished (disk, network file system, driver), retry"
    if _frozen(facts):
        why = " (frozen by its cgroup)"
        hint = "thaw the cgroup (unpause the container) first"
    elif facts["state"] == "D":
        why = f" (uninterruptible sleep in {facts['wchan'] or 'the kernel'})"
    else:
        why = f" (in {facts['wchan']})" if facts["wchan"] else ""
    return FreezeFailed(
        f"thread {facts['tid']} ({facts['name']}) of process {facts['pid']} would not stop: "
        f"state {facts['state']}{why}",
        hint=hint,
        **facts,
    )
