"""A daemon, three engines that take turns on one device, an arena that holds one of them, and a disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from store_bench import Bench

from hotseat import config
from hotseat.daemon.service import Serving, serve
from hotseat.daemon.stopping import Order
from hotseat.daemon.wiring import build
from hotseat.emulator.node import EmulatedNode
from hotseat.testing import served

pytestmark = pytest.mark.emulated
MIB = 1 << 20
NAMES = ("ada", "bob", "cyd")
WITHIN = 60.0


class House:
    def __init__(self, serving: Serving, session: aiohttp.ClientSession, bench: Bench) -> None:
        self.serving, self.session, self.bench = serving, session, bench

    def states(self) -> dict[str, str]:
        return {row["name"]: row["state"] for row in self.serving.workloads()}

    async def say(self, model: str) -> str:
        return await served.say(self.session, self.serving.gateway, model)


@pytest.fixture
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    directory: Path = tmp_path_factory.mktemp("e")
    with EmulatedNode.temporary(devices=[72 * MIB], context_bytes=4 * MIB) as node:
        async with Bench(node, directory / "store", arena=24) as bench:
            settings = {
                "control": str(directory / "c.sock"),
                "state": str(directory / "state"),
                "store": {"use": "on", "control": str(bench.directory / "control.sock")},
                "gateway": {"port": 0},
                "defaults": {"min_stay": 0, "linger": 0},
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


async def test_who_is_least_wanted_goes_to_disk_and_the_next_request_brings_it_back(house: House) -> None:
    texts = {name: await house.say(name) for name in NAMES}
    assert len(set(texts.values())) == 3, "they differ by their seed"
    assert house.states() == {"ada": "stored", "bob": "parked", "cyd": "seated"}
    assert len(house.bench.files()) == 1
    (row,) = [row for row in house.serving.workloads() if row["name"] == "ada"]
    assert row["stored_bytes"] > 0
    for name in ("ada", "cyd", "bob", "ada"):
        assert await house.say(name) == texts[name]
        assert house.states()[name] == "seated"
        assert sorted(house.states().values()) == ["parked", "seated", "stored"]
