"""What the cases run on: a store of their own, children that hold device memory, the driver."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotseat import native
from hotseat.errors import DriverTimeout, Failed, ProcessGone
from hotseat.gpu.client import GpuClient
from hotseat.gpu.preload import LIBRARY
from hotseat.gpu.procfs import start_time
from hotseat.platforms.interposed import agents_of, environment
from hotseat.store.client import StoreClient
from hotseat.store.port import CONTROL, Status
from hotseat.words import ProcessRef

STEP = 300.0
"""Seconds that any one step may take."""
STOP = 20.0
LOOK_EVERY = 0.02
CHILD = "hotseat.bench.by_store.child"


class Subject:
    """A child that is told what to do line by line. Ends with the block that it was made in."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.ref = ProcessRef(process.pid, start_time(process.pid) or 0)

    @classmethod
    async def run(cls, *arguments: object, extra: Mapping[str, str] | None = None) -> Subject:
        """Python with these arguments; `extra`: added to its environment. Returns when it is ready."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *map(str, arguments),
            env={**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", **(extra or {})},  # as NVML counts them
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        subject = cls(process)
        try:
            await subject._line()
        except BaseException:
            await subject.end()
            raise
        return subject

    async def ask(self, *words: object) -> Any:
        """`ProcessGone` if it has ended, `DriverTimeout` if it says nothing."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        return await self._line()

    async def _line(self) -> Any:
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(STEP):
                said = await self.process.stdout.readline()
        except TimeoutError as error:
            raise DriverTimeout(f"the process said nothing for {STEP:g} s", hint="its driver call hangs") from error
        if not said:
            raise ProcessGone(
                f"the process ended with {await self.process.wait()}", hint="its own words stand above; free memory?"
            )
        return json.loads(said)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def running_store(*, arena: int, threads: int) -> AsyncIterator[tuple[StoreClient, Path]]:
    """A store of our own whose arena is ready, and its directory. `Failed` if it ends before."""
    with tempfile.TemporaryDirectory(prefix="hotseat-bench-") as directory:
        argv = [sys.executable, "-P", "-m", "hotseat.store", f"--arena={arena}", f"--directory={directory}"]
        keeper = await asyncio.create_subprocess_exec(*argv, f"--threads={threads}")
        store = StoreClient(Path(directory) / CONTROL)
        try:
            await until(store, lambda status: status.running and status.ready >= status.arena, alive=keeper)
            yield store, Path(directory)
        finally:
            if keeper.returncode is None:
                keeper.terminate()
            try:
                async with asyncio.timeout(STOP):
                    await keeper.wait()
            except TimeoutError:
                keeper.kill()
                await keeper.wait()


async def until(
    store: StoreClient, true: Callable[[Status], bool], *, alive: asyncio.subprocess.Process | None = None
) -> Status:
    """The first status of which it is true."""
    try:
        async with asyncio.timeout(STEP):
            while True:
                seen = await store.status(deadline=STEP)
                if true(seen):
                    return seen
                if seen.running and seen.note:
                    raise Failed(f"the store works only in part: {seen.note}", hint="give it a smaller arena")
                if alive is not None and alive.returncode is not None:
                    raise Failed("the store ended before it was ready", hint="its own words stand above")
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError as error:
        raise Failed(
            f"the store did not come as far within {STEP:g} s", hint="a smaller arena, or more time"
        ) from error


@dataclass(kw_only=True)
class Stage:
    gpu: GpuClient
    running: tuple[StoreClient, Path] | None
    """The store and its directory."""
    block: int
    tick: Callable[[str], None]
    settle: float
    """Seconds between out and in of one process; see `moves.by_store`."""
    context: int
    """Bytes that one takes of the device, at most."""
    checks: list[tuple[str, bool]] = field(default_factory=list)
    """What was claimed, and whether it was so."""

    @property
    def store(self) -> StoreClient:
        assert self.running is not None
        return self.running[0]

    @asynccontextmanager
    async def subject(self, nbytes: int, *, interposed: bool = True) -> AsyncIterator[Subject]:
        """With so much device memory; one that is interposed is known to the store by then."""
        extra = {}
        if interposed and self.running is not None:
            extra = environment(native.path(LIBRARY), agents_of(self.running[1] / CONTROL))
        block = min(self.block, nbytes)
        subject = await Subject.run("-P", "-m", CHILD, nbytes, block, extra=extra)
        try:
            if interposed:
                await until(self.store, lambda status: subject.ref in status.processes)
            yield subject
        finally:
            await subject.end()
            if interposed:
                await until(self.store, lambda status: subject.ref not in status.processes)

    async def content(self, case: str, subject: Subject) -> None:
        """Is it what was filled in?"""
        wrong = await subject.ask("check")
        self.check(f"{case}: content is the same", wrong == 0)

    def check(self, what: str, holds: bool) -> None:
        self.checks.append((what, holds))

    async def used(self) -> int:
        """Bytes in use on the first device."""
        return (await self.gpu.use())[0].used_bytes

    async def arena_used(self) -> int:
        return (await self.store.status(deadline=STEP)).used


@asynccontextmanager
async def set_stage(
    *, arena: int, block: int, settle: float, context: int, tick: Callable[[str], None]
) -> AsyncIterator[Stage]:
    """`arena` 0: without a store."""
    async with AsyncExitStack() as stack:
        gpu = await stack.enter_async_context(GpuClient())
        await gpu.start()
        running = None
        if arena:
            tick("populating the arena")
            running = await stack.enter_async_context(running_store(arena=arena, threads=min(os.cpu_count() or 1, 16)))
        yield Stage(gpu=gpu, running=running, block=block, settle=settle, context=context, tick=tick)
