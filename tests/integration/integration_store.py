"""A store in a house, run by its command as systemd runs it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from integration_house import SOON, House

from hotseat.store.client import StoreClient


@asynccontextmanager
async def running_store(
    house: House, *, control: Path, arena: str = "96MiB", prefix: Sequence[str] = (), options: Sequence[str] = ()
) -> AsyncIterator[StoreClient]:
    """Whose arena is whole. `prefix`: what it is run by."""
    command = [*prefix, sys.executable, "-m", "hotseat", "store", "run", f"--arena={arena}", "--agents-mode=666"]
    process = await asyncio.create_subprocess_exec(
        *command,
        *options,
        f"--directory={control.parent}",
        env=dict(house.environment),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    client = StoreClient(control)
    try:
        async with asyncio.timeout(SOON):
            while not (seen := await client.status(deadline=SOON)).running or seen.ready < seen.arena:
                assert process.returncode is None
                await asyncio.sleep(0.02)
        yield client
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(SOON):
            await process.communicate()
