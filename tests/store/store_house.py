"""A daemon with a store, and three engines that take turns on one device."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from store_bench import Bench

from hotseat import config
from hotseat.daemon.service import Serving, serve
from hotseat.daemon.stopping import Order
from hotseat.daemon.wiring import build
from hotseat.emulator.node import EmulatedNode
from hotseat.testing import served

MIB = 1 << 20
CONTEXT = 4 * MIB
NAMES = ("ada", "bob", "cyd")
WITHIN = 60.0


class House:
    @property
    def control(self) -> Path:
        return self.bench.directory.with_name("c.sock")

    def __init__(self, serving: Serving, session: aiohttp.ClientSession, bench: Bench) -> None:
        self.serving, self.session, self.bench = serving, session, bench

    def states(self) -> dict[str, str]:
        return {row["name"]: row["state"] for row in self.serving.workloads()}

    def row(self, name: str) -> dict[str, Any]:
        (found,) = [row for row in self.serving.workloads() if row["name"] == name]
        return found

    async def say(self, model: str) -> str:
        return await served.say(self.session, self.serving.gateway, model)


@asynccontextmanager
async def living(
    directory: Path, *, device: int, arena: int, spills: bool = True, defaults: Mapping[str, Any] | None = None
) -> AsyncIterator[House]:
    """`device`: bytes. `arena`: chunks."""
    with EmulatedNode.temporary(devices=[device], context_bytes=CONTEXT) as node:
        async with Bench(node, directory / "store", arena=arena, spills=spills) as bench:
            settings = {
                "control": str(directory / "c.sock"),
                "state": str(directory / "state"),
                "store": {"use": "on", "control": str(bench.directory / "control.sock")},
                "gateway": {"port": 0},
                "defaults": {"min_stay": 0, "linger": 0, **(defaults or {})},
                "workloads": served.workloads(node, NAMES, threads=2),
            }
            read = config.parse(yaml.safe_dump(settings), base=directory)
            order = Order()
            timeout = aiohttp.ClientTimeout(total=WITHIN)
            async with (
                build(read, environ={**os.environ, **node.environment()}) as runtime,
                aiohttp.ClientSession(timeout=timeout) as session,
            ):
                ready: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
                task = asyncio.create_task(serve(read, runtime, order=order, ready=ready.set_result))
                try:
                    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=WITHIN)
                    if task.done():
                        task.result()
                    yield House(ready.result(), session, bench)
                finally:
                    order.stop.set()
                    await asyncio.wait_for(task, WITHIN)
                    platform: Any = runtime.platforms["process"]
                    for container in await platform.list():
                        await platform.remove(container)
