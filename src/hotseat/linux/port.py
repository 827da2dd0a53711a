"""What a swap needs of the kernel, as protocols. Real: `hotseat.linux.*`; double: `hotseat.testing.linux`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from hotseat.words import ProcessRef

ListProcesses = Callable[[], Sequence[ProcessRef]]
"""Reads the workload's processes anew. Called again until two readings agree, so that forks are not missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """Host memory that a park may use, in bytes."""

    available: int
    """MemAvailable of /proc/meminfo."""
    limit: int | None = None
    """The container's own limit (the smallest on the way to the cgroup root), None where there is none."""
    used: int = 0
    """What counts against that limit now, less what the kernel would reclaim first (inactive file pages)."""


class Hold(Protocol):
    """Every thread of some processes, held by ptrace by one owner (`hotseat.linux.owners`).

    A hold that is lost (owner dies) lets the threads run on, so the lasting stop is the platform's pause.
    """

    @property
    def processes(self) -> frozenset[ProcessRef]: ...

    @property
    def threads(self) -> int: ...

    async def settle(self, *, deadline: float) -> None:
        """Wait until every thread is stopped. `FreezeFailed` (names the thread and its state, e.g. uninterruptible
        sleep) after `deadline` seconds. Only needed after `seize(wait=False)`."""
        ...

    async def let_run(self, tids: Collection[int], *, deadline: float) -> None:
        """Continue these threads only (the restore threads); the rest stay held."""
        ...

    async def release(self) -> None:
        """Let go of all threads; they go on where they stopped, signals that came meanwhile are delivered. A thread
        that its cgroup freezes stays frozen. Idempotent; never raises for threads that are gone."""
        ...


class ThreadFreezer(Protocol):
    async def seize(self, list_processes: ListProcesses, *, deadline: float, wait: bool = True) -> Hold:
        """PTRACE_SEIZE and PTRACE_INTERRUPT every thread of every process listed, again until no new one appears.

        With `wait=False` returns once all are seized and asked to stop, not stopped: for processes that a cgroup
        freezes and that must not run one instruction when it thaws. Call `Hold.settle` after the thaw.

        Zombies are passed over. `Refused` (rule "traced") for a process that another tracer holds: names the tracer.
        Threads in job-control stop (SIGSTOP) before stay stopped after. `FreezeFailed`
        after `deadline` seconds; all threads were let go by then.
        """
        ...

    async def aclose(self) -> None: ...
