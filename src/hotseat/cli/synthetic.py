"""A process tree to measure hotseat's own part on: one demo engine of many processes and threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from hotseat.demo.launch import RunningEngine, running
from hotseat.demo.spec import EngineSpec
from hotseat.errors import UsageError
from hotseat.swap.port import Workload

MIB = 1 << 20
Find = Callable[[str], Awaitable[Workload]]
START_DEADLINE = 60.0
"""Seconds until every rank has its part in device memory."""


@asynccontextmanager
async def synthetic_tree(find: Find, *, processes: int, threads: int) -> AsyncIterator[Workload]:
    """A seated tree of so many processes and threads on the present driver; ended afterwards.

    `find` adopts a process by its number. `UsageError` if that many processes have more threads than that anyway.
    """
    async with _engine(processes=processes, idle=0) as engine:
        base = count_threads(await find(str(engine.pid)))
    if threads < base:
        raise UsageError(f"{processes} processes have {base} threads already", hint="ask for more threads")
    async with _engine(processes=processes, idle=threads - base) as engine:
        tree = await find(str(engine.pid))
        found = len(tree.platform.read_pids(tree.container))
        yield replace(tree, name=f"synthetic-{found}x{count_threads(tree)}")


def _engine(*, processes: int, idle: int) -> AbstractAsyncContextManager[RunningEngine]:
    spec = EngineSpec(weights_bytes=processes * MIB, kv_bytes=processes * MIB, processes=processes, threads=idle)
    return running(spec, deadline=START_DEADLINE)


def count_threads(workload: Workload) -> int:
    refs = workload.platform.read_pids(workload.container)
    return sum(len(list(Path(f"/proc/{ref.pid}/task").iterdir())) for ref in refs)
