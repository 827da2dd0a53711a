"""The checkpoint calls as the worker makes them: on processes that were verified that very moment, in parallel.

Runs in the worker only. Belongs here: identity, threads, time. Forbidden here: retries, order between calls, policy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from hotseat.gpu import procfs, wire
from hotseat.gpu.cuda_abi import CUDA_SUCCESS, Cuda
from hotseat.gpu.procfs import Held

Send = Callable[[wire.Answer], None]
OneCall = Callable[[int], tuple[int, int]]
"""pid -> (CUresult, value)."""


def serve(cuda: Cuda, request: wire.Request, send: Send) -> None:
    """Serve one request whole: any number of `Items`, then `Done`. May never return if the driver does not."""
    if request.op == "find":
        send(wire.Items(request.id, find(cuda, request.processes)))
        send(wire.Done(request.id))
        return
    calls: dict[str, OneCall] = {
        "state": cuda.state,
        "lock": lambda pid: (cuda.lock(pid, timeout_ms=request.timeout_ms), 0),
        "checkpoint": lambda pid: (cuda.checkpoint(pid), 0),
        "restore": lambda pid: (cuda.restore(pid), 0),
        "unlock": lambda pid: (cuda.unlock(pid), 0),
    }
    if request.op not in calls:
        send(wire.Broken(request.id, f"no such operation: {request.op}"))
        return
    on_all(calls[request.op], request, send)
    send(wire.Done(request.id))


def find(cuda: Cuda, processes: Sequence[tuple[int, int]]) -> list[wire.Item]:
    """One after the other: the driver answers in microseconds and never waits for the process."""
    items = []
    for index, (pid, start) in enumerate(processes):
        held = Held.open(pid, start)
        if held is None:
            items.append(wire.Item(index, wire.GONE))
            continue
        began = time.perf_counter()
        result, tid = cuda.restore_thread_id(pid)
        seconds = time.perf_counter() - began
        if result == CUDA_SUCCESS:
            tid = procfs.host_thread(pid, tid)
        elif not held.alive():
            result = wire.GONE
        held.close()
        items.append(wire.Item(index, result, tid, seconds))
    return items


def on_all(call: OneCall, request: wire.Request, send: Send) -> None:
    """Call on every process at the same time; each answer is sent as it comes, so that one that hangs hides no other.

    If one of the processes is gone already, none is called.
    """
    held = [Held.open(pid, start) for pid, start in request.processes]
    gone = [wire.Item(index, wire.GONE) for index, one in enumerate(held) if one is None]
    if gone:
        for one in held:
            if one is not None:
                one.close()
        send(wire.Items(request.id, gone))
        return

    def run(index: int, target: Held) -> None:
        item = on_one(call, index, target)
        send(wire.Items(request.id, [item]))

    threads = [
        threading.Thread(target=run, args=(index, one), name=f"{request.op} {one.pid}", daemon=True)
        for index, one in enumerate(held)
        if one is not None
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def on_one(call: OneCall, index: int, target: Held) -> wire.Item:
    """Look once more, call, look again: a failure of a process that ended meanwhile is its end and no other failure."""
    try:
        if not target.alive():
            return wire.Item(index, wire.GONE)
        began = time.perf_counter()
        result, value = call(target.pid)
        seconds = time.perf_counter() - began
        if result != CUDA_SUCCESS and not target.alive():
            return wire.Item(index, wire.GONE, 0, seconds)
        return wire.Item(index, result, value, seconds)
    finally:
        target.close()
