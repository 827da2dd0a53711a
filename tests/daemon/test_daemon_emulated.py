"""The daemon over the real adapters: two demo engines as process trees on the emulated driver, taking turns."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from daemon_house import until

from hotseat import config
from hotseat.daemon.client import Client
from hotseat.daemon.service import Serving, serve
from hotseat.daemon.stopping import Order
from hotseat.daemon.wiring import Runtime, build
from hotseat.emulator import EmulatedNode
from hotseat.errors import NotFound, UsageError
from hotseat.testing import served

pytestmark = pytest.mark.emulated
MIB = 1 << 20


class Stage:
    """One emulated device on which either of two engines fits, a daemon in this process, a client."""

    def __init__(self, *, read: config.Config, runtime: Runtime, session: aiohttp.ClientSession) -> None:
        self.config = read
        self.runtime = runtime
        self.session = session
        self.order = Order()
        self.serving: Serving | None = None
        self.task: asyncio.Task[list[dict[str, Any]]] | None = None

    async def up(self) -> None:
        self.order = Order()
        ready: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(serve(self.config, self.runtime, order=self.order, ready=ready.set_result))
        await asyncio.wait({self.task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        if self.task.done():
            self.task.result()
        self.serving = ready.result()

    async def down(self) -> list[dict[str, Any]]:
        assert self.task is not None
        self.order.stop.set()
        return await asyncio.wait_for(self.task, 30)

    def states(self) -> dict[str, str]:
        assert self.serving is not None
        return {row["name"]: row["state"] for row in self.serving.workloads()}

    async def say(self, model: str, *, tokens: int = 8) -> str:
        assert self.serving is not None
        return await served.say(self.session, self.serving.gateway, model, tokens=tokens)


@pytest.fixture
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    directory: Path = tmp_path_factory.mktemp("e")
    with EmulatedNode.temporary(devices=[72 * MIB], context_bytes=4 * MIB) as node:
        settings = {
            "control": str(directory / "c.sock"),
            "state": str(directory / "state"),
            "gateway": {"port": 0},
            "defaults": {"min_stay": 0, "linger": 0},
            "workloads": served.workloads(node, ("ada", "bob"), threads=4),
        }
        read = config.parse(yaml.safe_dump(settings), base=directory)
        timeout = aiohttp.ClientTimeout(total=60)
        async with (
            build(read, environ={**os.environ, **node.environment()}) as runtime,
            aiohttp.ClientSession(timeout=timeout) as session,
        ):
            made = Stage(read=read, runtime=runtime, session=session)
            try:
                yield made
            finally:
                if made.task is not None and not made.task.done():
                    await made.down()
                platform: Any = runtime.platforms["process"]
                for container in await platform.list():
                    await platform.remove(container)


async def test_the_story(stage: Stage) -> None:
    await stage.up()
    await until(lambda: stage.states() == {"ada": "seated", "bob": "parked"}, seconds=60)
    first = await stage.say("ada")
    other = await stage.say("bob")
    assert first != other, "they differ by their seed"
    assert stage.states() == {"ada": "parked", "bob": "seated"}
    assert await stage.say("ada") == first
    async with Client(stage.config.control) as client:
        ada, bob = await client.workloads()
        assert ada["gpu_bytes"] >= 32 * MIB
        assert (bob["gpu_bytes"], bob["parked_gpu_bytes"]) == (0, ada["gpu_bytes"])
        reports = await client.swap("bob", "ada")
        assert {phase.part for report in reports for phase in report.phases} >= {"driver", "platform", "engine"}
    # Killed behind its back: shown, and started again by the next request.
    container = await stage.runtime.platforms["process"].inspect("bob")
    await stage.runtime.platforms["process"].kill(container)
    await until(lambda: stage.states()["bob"] == "stopped")
    assert await stage.say("bob") == other
    # A restart finds all as it was.
    left = await stage.down()
    assert {row["name"]: row["state"] for row in left} == {"ada": "parked", "bob": "seated"}
    await stage.up()
    assert stage.states() == {"ada": "parked", "bob": "seated"}
    assert await stage.say("ada") == first


async def test_find_workload(stage: Stage) -> None:
    await stage.up()
    await until(lambda: stage.states() == {"ada": "seated", "bob": "parked"}, seconds=60)
    find = stage.runtime.find_workload
    ada = await find("ada")
    assert (ada.name, ada.container.name, ada.platform.name) == ("ada", "ada", "process")
    assert (await find(ada.container.key)).container.id == ada.container.id
    assert ada.container.pid is not None
    assert (await find(str(ada.container.pid))).container.pid == ada.container.pid
    with pytest.raises(NotFound, match="no container or process adda") as caught:
        await find("adda")
    assert "did you mean ada" in caught.value.hint
    with pytest.raises(NotFound):
        await find("process:nobody")
    with pytest.raises((NotFound, UsageError)):
        await find("999999999")
