"""The threads of one hold and what ptrace says of them. Runs in the one OS thread that seized them, never waits.

Every thread is in one of four modes. ASKED: seized and interrupted, not stopped yet. HELD: in a ptrace-stop. PINNED:
cannot stop, yet cannot run either, because it waits in vfork(2) for a child that is held. RUNNING: let run.

There is no "detach" here. When the owner ends, the kernel lets go of whatever it traced: held threads go on where they
stopped, and so do those that PTRACE_DETACH would refuse because they are not in a stop (asleep in the kernel, frozen
by a v1 cgroup). One way out, the same for release, failure and crash.
"""

from __future__ import annotations

import contextlib
import enum
import os
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from signal import SIGSTOP
from typing import Any

from hotseat.linux import proc
from hotseat.linux import ptrace_abi as abi

OPTIONS = abi.PTRACE_O_TRACECLONE | abi.PTRACE_O_TRACEFORK | abi.PTRACE_O_TRACEVFORK | abi.PTRACE_O_TRACEEXEC
"""Threads and processes born of a seized thread are born seized and stop before their first instruction."""

_BIRTHS = frozenset({abi.PTRACE_EVENT_CLONE, abi.PTRACE_EVENT_FORK, abi.PTRACE_EVENT_VFORK})
_VFORK_WAITS = frozenset({"kernel_clone", "wait_for_vfork_done", "_do_fork"})


class Mode(enum.Enum):
    ASKED = enum.auto()
    HELD = enum.auto()
    PINNED = enum.auto()
    RUNNING = enum.auto()


class TracerError(Exception):
    """Something the asking side must tell a person: a kind and its facts, ready for the wire."""

    def __init__(self, kind: str, **facts: Any) -> None:
        super().__init__(kind)
        self.kind = kind
        self.facts = facts


@dataclass(slots=True)
class Tracee:
    tid: int
    pid: int
    mode: Mode = Mode.ASKED


class Tracer:
    def __init__(self, *, own_children: bool = False) -> None:
        """`own_children`: the owner is a thread of a process that may be a tracee's real parent (see `reap`)."""
        self.tracees: dict[int, Tracee] = {}
        self.processes: dict[int, int] = {}
        """pid -> start time."""
        self._postponed: list[tuple[int, int, bytes]] = []
        """pid, tid, siginfo_t of signals that came to RUNNING threads: no handler of the application may run then."""
        self._own_children = own_children
        self._driver_runs = False
        """All are held but those that were let run: a thread born from now on is one of the driver's, and runs too."""
        self._me = threading.get_native_id()

    # -- seizing --------------------------------------------------------------------------------------------------

    def seize(self, processes: Iterable[tuple[int, int]]) -> int:
        """One pass over `processes` (pid, start time): seize and interrupt what is not yet. How many were new."""
        return sum(self._seize_process(pid, start_time) for pid, start_time in processes)

    def _seize_process(self, pid: int, start_time: int) -> int:
        total = 0
        leader = self.tracees.get(pid)
        if leader is not None and leader.mode is Mode.HELD and not self._is_stopped(pid):
            self._ask_again(leader)
            total += 1
        while True:
            new = sum(self._seize_thread(tid, pid) for tid in proc.task_ids(pid) if tid not in self.tracees)
            if new and pid not in self.processes:
                # Its first thread pins the pid, so only now does the start time prove whom we hold.
                found = proc.stat(pid)
                if found is not None and found.start_time != start_time:
                    raise TracerError("reused", pid=pid)
                self.processes[pid] = start_time
            total += new
            if not new:
                return total

    def _seize_thread(self, tid: int, pid: int) -> bool:
        for attempt in (1, 2, 3):
            try:
                abi.ptrace(abi.PTRACE_SEIZE, tid, OPTIONS)
                abi.ptrace(abi.PTRACE_INTERRUPT, tid)
            except ProcessLookupError:
                return False
            except PermissionError:
                if (answer := self._denied(tid, pid, last=attempt == 3)) is not None:
                    return answer
            else:
                self.tracees[tid] = Tracee(tid, pid)
                return True
        raise AssertionError("unreachable")

    def _denied(self, tid: int, pid: int, *, last: bool) -> bool | None:
        """EPERM has four reasons: it is dead, was born seized a moment ago, has another tracer, or is not ours.

        None: none of these any more, try again. (A first thread that died in exec has a successor under its id.)
        """
        found = proc.status(tid)
        if found is None or found.state in proc.DEAD:
            return False
        if found.tracer == self._me:
            self._born(tid, pid)
            return True
        if found.tracer:
            raise TracerError(
                "traced", pid=pid, name=found.name, tracer=found.tracer, command=proc.command(found.tracer)
            )
        if last:
            raise TracerError("permission", pid=pid, name=found.name)
        return None

    def _is_stopped(self, tid: int) -> bool:
        try:
            abi.geteventmsg(tid)
        except ProcessLookupError:
            return False
        return True

    def _ask_again(self, tracee: Tracee) -> None:
        """It is not in a stop, for it is not what it was. When a second thread calls exec, all others of its process
        end, the first one without a word, and it goes on under the first one's id: seized but not interrupted, or not
        even seized (then the next pass does that)."""
        found = proc.status(tracee.tid)
        if found is None or found.state in proc.DEAD or found.tracer != self._me:
            self.forget(tracee.tid)
            return
        with contextlib.suppress(ProcessLookupError):
            abi.ptrace(abi.PTRACE_INTERRUPT, tracee.tid)
        tracee.mode = Mode.ASKED

    def _born(self, tid: int, pid: int | None = None) -> Tracee:
        """A thread that the kernel seized at birth. It is interrupted already."""
        known = self.tracees.get(tid)
        if known is not None:
            return known
        if pid is None:
            found = proc.status(tid)
            pid = found.tgid if found else tid
        if pid not in self.processes and (stat := proc.stat(pid)):
            self.processes[pid] = stat.start_time
        mode = Mode.RUNNING if self._driver_runs else Mode.ASKED
        return self.tracees.setdefault(tid, Tracee(tid, pid, mode))

    # -- what the kernel reports ----------------------------------------------------------------------------------

    def collect(self, expected: Iterable[Tracee] = ()) -> bool:
        """Take in the stops and deaths that are there now. Whether there was any.

        `expected` are asked by id; only if none of them has news are all asked, which is slow while many stop.
        """
        deaths = not self._own_children
        any_news = False
        for tracee in expected:
            if (change := abi.wait_change(tracee.tid, deaths=deaths)) is not None:
                any_news = True
                self._take_in(change)
        if any_news:
            return True
        while (change := abi.wait_change(deaths=deaths)) is not None:
            any_news = True
            self._take_in(change)
        return any_news

    def _take_in(self, change: abi.Change) -> None:
        if change.event == abi.DEATH:
            self.forget(change.tid)
            return
        with contextlib.suppress(ProcessLookupError):  # killed in its stop: its death is reported next
            self._stopped(change)

    def _stopped(self, stop: abi.Change) -> None:
        tracee = self._born(stop.tid)
        if stop.event in _BIRTHS:
            self._born(abi.geteventmsg(stop.tid))
        elif stop.event == abi.PTRACE_EVENT_EXEC:
            self.forget(abi.geteventmsg(stop.tid), keep=stop.tid)
            tracee.mode = Mode.RUNNING if tracee.mode is Mode.RUNNING else Mode.ASKED
        if tracee.mode is Mode.RUNNING:
            self._go_on(tracee, stop)
        elif stop.event == abi.PTRACE_EVENT_STOP:
            tracee.mode = Mode.HELD
        else:
            # Any stop uses up the interrupt that was asked for, so ask again. A signal is delivered now: its handler
            # is set up, and the thread stops before the first instruction of it.
            abi.ptrace(abi.PTRACE_INTERRUPT, stop.tid)
            abi.ptrace(abi.PTRACE_CONT, stop.tid, 0 if stop.event else stop.signal)

    def _go_on(self, tracee: Tracee, stop: abi.Change) -> None:
        """Continue a thread that was let run, without a handler of the application in between."""
        deliver = 0
        if not stop.event:
            info = abi.getsiginfo(stop.tid)
            # SIGSTOP starts a group stop, which the kernel keeps for the release, and lets this thread go on.
            if stop.signal == SIGSTOP or (stop.signal in abi.FAULTS and abi.si_code(info) > 0):
                deliver = stop.signal
            else:
                self._postponed.append((tracee.pid, tracee.tid, info))
        abi.ptrace(abi.PTRACE_CONT, stop.tid, deliver)

    def bury(self) -> None:
        """Only for an owner that is a thread of a process: look for the dead one by one, reap and forget them.

        A dead tracee stays until its tracer reaps it; only then its real parent hears of it. `collect` sees to that,
        but where that parent may be our own process, reaping would take the exit status away from it. Such children
        are left to their parent.
        """
        if not self._own_children:
            return
        for tracee in sorted(self.tracees.values(), key=lambda tracee: tracee.tid == tracee.pid):  # leaders die last
            found = proc.stat(tracee.tid)
            if found is None or found.state in proc.DEAD:
                if found is not None and self._may_reap(found):
                    abi.reap(tracee.tid)
                self._vanished(tracee, dead=found is not None)

    def reap_beside(self) -> None:
        """For a second thread, while the owner is stuck in a call: reap the dead, forget nothing."""
        for tracee in list(self.tracees.values()):
            found = proc.stat(tracee.tid)
            if found is not None and found.state in proc.DEAD and self._may_reap(found):
                abi.reap(tracee.tid)

    def _may_reap(self, dead: proc.Stat) -> bool:
        """Not a child of our own process; its second threads are nobody's but the tracer's."""
        return not self._own_children or dead.ppid != os.getpid() or dead.pid not in self.processes

    def forget(self, tid: int, *, keep: int | None = None) -> None:
        """`keep`: the id under which the thread goes on (exec by another thread than the leader)."""
        gone = self.tracees.pop(tid, None) if tid != keep else None
        if gone is not None and all(tracee.pid != gone.pid for tracee in self.tracees.values()):
            self.processes.pop(gone.pid, None)

    # -- settling -------------------------------------------------------------------------------------------------

    def unsettled(self) -> list[Tracee]:
        """Those that were asked to stop and did not yet. None left: every thread is held."""
        return [tracee for tracee in self.tracees.values() if tracee.mode is Mode.ASKED]

    def examine(self, waiting: Iterable[Tracee]) -> None:
        """Why they do not stop: dead, gone in another thread's exec, or asleep for a child that is held."""
        for tracee in waiting:
            found = proc.stat(tracee.tid)
            if found is None or found.state in proc.DEAD:
                self._vanished(tracee, dead=found is not None)
            elif found.state == "D" and self._waits_for_held_child(tracee.tid):
                tracee.mode = Mode.PINNED
            elif tracee.tid == tracee.pid:
                self._ask_again(tracee)

    def describe(self, tracee: Tracee) -> dict[str, Any]:
        found = proc.stat(tracee.tid)
        return {
            "tid": tracee.tid,
            "pid": tracee.pid,
            "name": found.name if found else "",
            "state": found.state if found else "gone",
            "wchan": proc.wchan(tracee.tid),
        }

    def _vanished(self, tracee: Tracee, *, dead: bool) -> None:
        if self.tracees.get(tracee.tid) is not tracee:
            return
        self.forget(tracee.tid)
        leader = self.tracees.get(tracee.pid)
        if dead or leader is None or leader.mode is not Mode.HELD:
            return
        # Gone without a death: it called exec, killed the others and bears its leader's id now. Is that one held?
        if not self._is_stopped(leader.tid):
            self._ask_again(leader)

    def _waits_for_held_child(self, tid: int) -> bool:
        if proc.wchan(tid) not in _VFORK_WAITS:
            return False
        data = proc.read(f"{proc.PROC}/{tid}/task/{tid}/children") or b""
        children = [self.tracees.get(int(number)) for number in data.split()]
        return any(child is not None and child.mode is Mode.HELD for child in children)

    # -- letting go -----------------------------------------------------------------------------------------------

    def let_run(self, tids: Collection[int]) -> None:
        if waiting := self.unsettled():
            raise TracerError("unsettled", **self.describe(waiting[0]))
        for tid in tids:
            if tid not in self.tracees:
                raise TracerError("gone", tid=tid)
        self._driver_runs = True
        for tid in tids:
            tracee = self.tracees[tid]
            if tracee.mode is Mode.PINNED:
                raise TracerError("unsettled", **self.describe(tracee))
            if tracee.mode is Mode.HELD:
                try:
                    abi.ptrace(abi.PTRACE_CONT, tid)
                except ProcessLookupError as error:
                    raise TracerError("gone", tid=tid) from error
                tracee.mode = Mode.RUNNING

    def halt(self) -> None:
        """Ask those that were let run to stop again, like all others."""
        self._driver_runs = False
        for tracee in self.tracees.values():
            if tracee.mode is Mode.RUNNING:
                with contextlib.suppress(ProcessLookupError):
                    abi.ptrace(abi.PTRACE_INTERRUPT, tracee.tid)
                    tracee.mode = Mode.ASKED

    def give_up(self, waiting: Iterable[Tracee]) -> None:
        """Wait no more for those that sleep in the kernel or are frozen by a cgroup: they run nothing either."""
        for tracee in waiting:
            found = proc.stat(tracee.tid)
            if found is None or found.state == "D" or found.state in proc.DEAD:
                self.forget(tracee.tid)

    def give_back_signals(self) -> None:
        """Queue what was postponed again, just before the owner ends: to its thread, or its process if that ended."""
        for pid, tid, info in self._postponed:
            found = proc.stat(tid)
            alive = found is not None and found.state not in proc.DEAD  # a zombie would swallow it
            with contextlib.suppress(ProcessLookupError):
                abi.queue_signal(pid, tid if alive else None, info)
        self._postponed.clear()

    @property
    def threads(self) -> int:
        return len(self.tracees)
