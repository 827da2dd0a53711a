"""One incarnation of a process workload: its processes, frozen by its cgroup or, where it has none, by SIGSTOP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hotseat.errors import Failed, PlatformFailed, ProcessGone
from hotseat.linux import memory, proc, stopper
from hotseat.linux.cgroup import Cgroup
from hotseat.linux.identity import Process
from hotseat.linux.port import HostMemory
from hotseat.words import ProcessRef

FREEZE_DEADLINE = 10.0
"""Seconds until every thread stands still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    name: str
    main: ProcessRef
    shim: ProcessRef | None = None
    """Every process of the tree is beneath it, orphans too. None for an adopted tree."""
    cgroup: Cgroup | None = None
    """Its own, the one that freezes."""

    def alive(self) -> bool:
        """Whether its first process runs (or stands frozen); a zombie does not."""
        return bool(proc.refs([self.main.pid])) and proc.same(self.main)

    def shim_alive(self) -> bool:
        return self.shim is not None and bool(proc.refs([self.shim.pid])) and proc.same(self.shim)

    def processes(self) -> Sequence[ProcessRef]:
        """`ProcessGone` if its first process ended."""
        self._check()
        if self.cgroup is not None:
            found = self.cgroup.pids()
        elif self.shim is not None and self.shim_alive():
            found = proc.descendants(self.shim.pid)[1:]
        else:
            found = proc.descendants(self.main.pid)
        out = proc.refs(found)
        self._check()
        return out

    def paused(self) -> bool:
        """Also when somebody else did it: with the cgroup, or SIGSTOP to its first process."""
        if self.cgroup is not None and self.cgroup.held():
            return True
        found = proc.stat(self.main.pid)
        return found is not None and found.state == "T"

    async def pause(self) -> None:
        """Returns when every thread stands still. Idempotent."""
        if self.cgroup is not None:
            await self.cgroup.freeze(deadline=FREEZE_DEADLINE)
        else:
            await stopper.stop(self.processes, deadline=FREEZE_DEADLINE)

    async def unpause(self) -> None:
        """Idempotent. Undoes a SIGSTOP from elsewhere too."""
        processes = self.processes()
        if self.cgroup is not None:
            await self.cgroup.thaw(deadline=FREEZE_DEADLINE)
            processes = [self.main]
        # What ptrace holds does not show its stop, so without a cgroup the signal is sent in any case.
        if self.cgroup is None or self.paused():
            stopper.resume(processes)

    def memory(self) -> HostMemory:
        self._check()
        return memory.of_process(self.main.pid)

    def signal_main(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessGone), Process.open(self.main) as process:
            process.signal(number)

    async def kill_all(self) -> None:
        """SIGKILL to everything, the first process last, so that nothing is left without an owner. Then thaw: on
        cgroup v1 what is frozen does not even die."""
        with contextlib.suppress(ProcessGone):
            processes = [process for process in self.processes() if process != self.main]
            signal_each([*processes, self.main], signal.SIGKILL)
        if self.cgroup is not None and self.cgroup.version == 1:
            with contextlib.suppress(Failed):  # gone already, or its shim thaws it
                await self.cgroup.thaw(deadline=FREEZE_DEADLINE)

    async def wait_end(self, *, deadline: float) -> bool:
        """Whether its first process ended within `deadline` seconds, and its shim has written down how."""
        end = time.monotonic() + deadline
        for process in (self.main, self.shim):
            if process is not None and not await ended(process, deadline=end - time.monotonic()):
                return False
        return True

    def _check(self) -> None:
        if not self.alive():
            raise ProcessGone(f"the first process of {self.name} ({self.main.pid}) ended", hint="inspect it again")


def signal_each(processes: Iterable[ProcessRef], number: signal.Signals) -> None:
    """Never a process that took over a pid; those that are gone are passed over."""
    for ref in processes:
        with contextlib.suppress(ProcessGone), Process.open(ref) as process:
            try:
                process.signal(number)
            except PermissionError as error:
                raise PlatformFailed(
                    f"process {ref.pid} may not be signalled", hint="run hotseat as root, or as that process's user"
                ) from error


async def ended(process: ProcessRef, *, deadline: float) -> bool:
    """Wait until it ended (a zombie has). Woken by the kernel, not by polling."""
    try:
        held = Process.open(process)
    except ProcessGone:
        return True
    with held:
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_reader(held.fd, over.set)
        try:
            async with asyncio.timeout(max(0.0, deadline)):
                await over.wait()
        except TimeoutError:
            return not held.alive()
        finally:
            loop.remove_reader(held.fd)
        return True


def started_at(process: ProcessRef) -> float:
    """Seconds since this boot: the same at every reading. With /proc/stat's btime, which moves whenever somebody sets
    the clock, a parked process would look like another one after that, and its parked memory like lost."""
    return process.start_time / os.sysconf("SC_CLK_TCK")
