"""The lasting stop where no cgroup can be written: SIGSTOP to every process, SIGCONT to undo.

It survives hotseat, needs no root, and goes together with a hold: what is held stops when it is let go; what is
stopped can be seized, then continued, and runs no instruction before the release. What a cgroup does better: a process
sees SIGCONT if it asked to, and its parent hears of the stop.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence

from hotseat.errors import FreezeFailed, ProcessGone, Refused
from hotseat.linux import proc
from hotseat.linux.identity import Process
from hotseat.linux.port import ListProcesses
from hotseat.words import ProcessRef


async def stop(list_processes: ListProcesses, *, deadline: float) -> None:
    """SIGSTOP until every process that `list_processes` names is stopped and no new one appears. Idempotent.

    A thread that a tracer holds counts as stopped: it takes its stop when the tracer lets go. `FreezeFailed` after
    `deadline` seconds, all continued that were not stopped before.
    """
    end = time.monotonic() + deadline
    asked: dict[ProcessRef, None] = {}
    pause = 0.0002
    while True:
        listed = list_processes()
        new = [ref for ref in listed if ref not in asked and not _stopped(ref, held_too=False)]
        for ref in new:
            _send(ref, signal.SIGSTOP)
            asked[ref] = None
        running = [ref for ref in listed if not stopped(ref)]
        if not new and not running:
            return
        if time.monotonic() >= end:
            resume(list(asked))
            raise FreezeFailed(
                f"process {running[0].pid if running else new[0].pid} did not stop in {deadline:.1f} s; "
                "all were continued",
                hint="a thread in uninterruptible sleep stops when its kernel call ends: wait, then retry",
            )
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.01)


def resume(processes: Sequence[ProcessRef]) -> None:
    """SIGCONT to each that still is there. Idempotent."""
    for ref in processes:
        _send(ref, signal.SIGCONT)


def stopped(ref: ProcessRef) -> bool:
    """Every thread is stopped, dead, or held by a tracer: then it takes its stop when the tracer lets go."""
    return _stopped(ref, held_too=True)


def _stopped(ref: ProcessRef, *, held_too: bool) -> bool:
    """All threads are looked at: the first one that stops only begins the stop of its process."""
    if not proc.same(ref):
        return True
    for tid in proc.task_ids(ref.pid):
        found = proc.stat(tid)
        if found is None or found.state in proc.DEAD or found.state == "T" or (held_too and found.state == "t"):
            continue
        # A thread that its tracer lets run, or that sleeps in vfork(2) for a held child, shows neither.
        status = proc.status(tid) if held_too else None
        if status is None or not status.tracer:
            return False
    return True


def _send(ref: ProcessRef, number: signal.Signals) -> None:
    try:
        with Process.open(ref) as process:
            process.signal(number)
    except ProcessGone:
        return
    except PermissionError as error:
        raise Refused(
            f"the kernel does not let this user signal process {ref.pid}",
            rule="permission",
            hint="run hotseat as the user who owns the workload, or as root",
        ) from error
