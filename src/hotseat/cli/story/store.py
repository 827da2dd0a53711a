"""With `--store`: a snapshot store of the stage's own, as anybody runs one, for as long as the story lasts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hotseat.cli.story.daemon import START_DEADLINE, stop
from hotseat.cli.story.stage import Stage
from hotseat.errors import Failed
from hotseat.store.client import StoreClient
from hotseat.store.port import Status

LOOK_EVERY = 0.05
ANSWER = 5.0


@asynccontextmanager
async def snapshot_store(stage: Stage) -> AsyncIterator[None]:
    """Nothing at all if the stage has none. `Failed` with its last words if it does not come up."""
    if stage.arena is None:
        yield
        return
    log = stage.directory / "store.log"
    arguments = ["-m", "hotseat", "store", "run", f"--directory={stage.store.parent}", f"--arena={stage.arena}"]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=dict(stage.environment),
            start_new_session=True,  # Ctrl-C is for the demo
        )
    try:
        async with asyncio.timeout(START_DEADLINE):
            while not (await status(stage)).running:
                if process.returncode is not None:
                    words = log.read_text(errors="replace").strip().splitlines()[-5:]
                    raise Failed("the store did not come up: " + (" | ".join(words) or "no word from it"))
                await asyncio.sleep(LOOK_EVERY)
        yield
    except TimeoutError as error:
        raise Failed("the store did not come up in time") from error
    finally:
        await stop(process)


async def status(stage: Stage) -> Status:
    return await StoreClient(stage.store).status(deadline=ANSWER)
