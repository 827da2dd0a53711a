"""`hotseat up` as a process of its own, as anybody runs it, and the end of what it started."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from hotseat.cli.story.stage import Stage, wait_listening
from hotseat.errors import Failed, HotseatError
from hotseat.platforms.process import ProcessPlatform

START_DEADLINE = 30.0
STOP_DEADLINE = 30.0


@asynccontextmanager
async def daemon(stage: Stage, *, verbose: bool) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs while the block lasts. `Failed` with its last words if it does not come up."""
    log = stage.directory / "daemon.log"
    arguments = ["-m", "hotseat", "up", "--config", str(stage.config), *(["--verbose"] if verbose else [])]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=None if verbose else out,
            stderr=None if verbose else out,
            env=dict(stage.environment),
            # Ctrl-C is for the demo, which ends the daemon itself, in order.
            start_new_session=True,
        )
    try:
        listening = asyncio.ensure_future(wait_listening(stage.gateway_port, deadline=START_DEADLINE))
        ended = asyncio.ensure_future(process.wait())
        await asyncio.wait({listening, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not (listening.done() and listening.result()):
            listening.cancel()
            words = log.read_text(errors="replace").strip().splitlines()[-5:]
            raise Failed("the daemon did not come up: " + (" | ".join(words) or "no word from it"))
        yield process
    finally:
        await stop(process)
        await remove_processes(stage)


async def stop(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and after a deadline SIGKILL."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_DEADLINE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def remove_processes(stage: Stage) -> None:
    """Process trees outlive the daemon, as containers do; these are the stage's own registry's."""
    if stage.platform != "process":
        return
    platform = ProcessPlatform(directory=stage.directory / "state" / "processes")
    try:
        for container in await platform.list():
            with suppress(HotseatError):
                await platform.kill(container)
            with suppress(HotseatError):
                await platform.remove(container)
    finally:
        await platform.aclose()
