"""A demo engine as a plain child process."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hotseat.demo.spec import EngineSpec
from hotseat.errors import Failed

_LISTENING = re.compile(r"listening on (http://\S+)")
_READY = re.compile(r"ready, |holding ")


@dataclass(kw_only=True)
class RunningEngine:
    """One that has its weights in device memory. `url` is "" for a process that only holds memory."""

    process: asyncio.subprocess.Process
    url: str = ""
    output: list[str] = field(default_factory=list)
    """Lines of both its streams, so far."""

    @property
    def pid(self) -> int:
        return self.process.pid

    async def stop(self, *, deadline: float = 20.0) -> int:
        """SIGTERM, and SIGKILL after `deadline` seconds. Returns the exit code (negative: the signal)."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(deadline):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
        return await self.process.wait()


@asynccontextmanager
async def running(
    spec: EngineSpec | Sequence[str], *, environment: Mapping[str, str] | None = None, deadline: float = 60.0
) -> AsyncIterator[RunningEngine]:
    """Starts the engine (or a whole command such as `hold_command`'s), waits until it is ready, stops it at the end.

    `environment` is added to this process's: where the driver's library lies. `Failed` with the engine's own words if
    it ends before it is ready or is not within `deadline` seconds.
    """
    command = spec.command() if isinstance(spec, EngineSpec) else list(spec)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
    )
    engine = RunningEngine(process=process)
    ready = asyncio.get_running_loop().create_future()
    reader = asyncio.create_task(_read(engine, ready))
    try:
        try:
            async with asyncio.timeout(deadline):
                started = await ready
        except TimeoutError:
            started = False
        if not started:
            raise Failed(
                "the demo engine did not start: " + (" | ".join(engine.output) or "no word from it"),
                hint="its environment must lead to a libcuda.so.1 with enough free device memory",
            )
        yield engine
    finally:
        await engine.stop()
        await reader


async def _read(engine: RunningEngine, ready: asyncio.Future[bool]) -> None:
    """Keeps reading to the end, or a full pipe would stop the engine."""
    assert engine.process.stdout is not None
    async for raw in engine.process.stdout:
        line = raw.decode(errors="replace").rstrip()
        engine.output.append(line)
        if found := _LISTENING.search(line):
            engine.url = found[1]
        if _READY.search(line) and not ready.done():
            ready.set_result(True)
    if not ready.done():
        ready.set_result(False)
