"""A process tree to measure hotseat's own part on: one demo engine of many processes and threads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from hotseat.demo.launch import RunningEngine, running
from hotseat.demo.spec import EngineSpec
from hotseat.errors import UsageError
from hotseat.platforms.port import Container, Platform
from hotseat.swap.port import Workload

MIB = 1 << 20
START_DEADLINE = 60.0
"""Seconds until every rank has its part in device memory."""


@asynccontextmanager
async def synthetic_tree(platform: Platform, *, processes: int, threads: int) -> AsyncIterator[Workload]:
    """A seated tree of so many processes and threads on the present driver; ended afterwards.

    `platform` is the one of bare processes, which adopts any process by its number. `UsageError` if that many processes
    have more threads than that anyway.
    """
    async with _engine(processes=processes, idle=0) as engine:
        base = count_threads(platform, await platform.inspect(str(engine.pid)))
    if threads < base:
        raise UsageError(f"{processes} processes have {base} threads already", hint="ask for more threads")
    async with _engine(processes=processes, idle=threads - base) as engine:
        container = await platform.inspect(str(engine.pid))
        have = count_threads(platform, container)
        found = len(platform.read_pids(container))
        yield Workload(name=f"synthetic-{found}x{have}", container=container, platform=platform)


def _engine(*, processes: int, idle: int) -> AbstractAsyncContextManager[RunningEngine]:
    spec = EngineSpec(weights_bytes=processes * MIB, kv_bytes=processes * MIB, processes=processes, threads=idle)
    return running(spec, deadline=START_DEADLINE)


def count_threads(platform: Platform, container: Container) -> int:
    return sum(len(list(Path(f"/proc/{ref.pid}/task").iterdir())) for ref in platform.read_pids(container))
