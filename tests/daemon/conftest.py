from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hotseat import config
from hotseat.daemon.client import Client
from hotseat.daemon.service import Serving, serve
from hotseat.daemon.wiring import Runtime
from hotseat.events import EventBus
from hotseat.platforms.spec import ContainerSpec
from hotseat.testing.engine import FakeEngine
from hotseat.testing.platforms import FakePlatform
from hotseat.testing.swapper import FakeSwapper


async def until(true: Callable[[], Any], *, seconds: float = 20.0) -> None:
    """A deadline, not a duration: returns as soon as it is true."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


@dataclass
class House:
    """A whole daemon over doubles: containers a, b, ... each with a fake engine that freezes when it is parked."""

    directory: Path
    platform: FakePlatform
    processes: FakePlatform
    swapper: FakeSwapper
    engines: dict[str, FakeEngine]
    text: str
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    serving: Serving | None = None
    task: asyncio.Task[list[dict[str, Any]]] | None = None
    http: aiohttp.ClientSession | None = None

    @property
    def config(self) -> config.Config:
        return config.parse(self.text, base=self.directory)

    @property
    def runtime(self) -> Runtime:
        return Runtime(
            swapper=self.swapper,
            platforms={"docker": self.platform, "process": self.processes},  # type: ignore[dict-item]
            driver=None,  # type: ignore[arg-type]
            devices=self.swapper,
            journal=None,
            events=EventBus(),
        )

    async def up(self) -> None:
        self.stop.clear()
        self.hurry.clear()
        ready: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(
            serve(self.config, self.runtime, stop=self.stop, hurry=self.hurry, ready=ready.set_result)
        )
        await asyncio.wait({self.task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        if self.task.done():
            self.task.result()
        self.serving = ready.result()

    async def down(self) -> list[dict[str, Any]]:
        assert self.task is not None
        self.stop.set()
        return await asyncio.wait_for(self.task, 20)

    def ask(self, model: str, **body: object) -> aiohttp.client._RequestContextManager:
        assert self.serving is not None
        assert self.http is not None
        return self.http.post(f"{self.serving.gateway}/v1/chat/completions", json={"model": model, **body})

    async def answer(self, model: str) -> int:
        async with self.ask(model) as response:
            await response.read()
            return response.status

    def client(self) -> Client:
        return Client(self.config.control)

    def row(self, name: str) -> dict[str, Any]:
        assert self.serving is not None
        return next(row for row in self.serving.workloads() if row["name"] == name)

    def states(self) -> dict[str, str]:
        assert self.serving is not None
        return {row["name"]: row["state"] for row in self.serving.workloads()}


MakeHouse = Callable[..., Awaitable[House]]


@pytest.fixture
async def make_house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MakeHouse]:
    async with contextlib.AsyncExitStack() as stack:

        async def make(
            *,
            names: str = "ab",
            size: int = 10,
            need: int | dict[str, int] = 8,
            parked: str = "",
            stopped: str = "",
            per: dict[str, str] | None = None,
            gateway: str = "keepalive: 5s",
            min_stay: str = "10s",
        ) -> House:
            directory = tmp_path_factory.mktemp("d")
            platform = FakePlatform(name="docker")
            engines: dict[str, FakeEngine] = {}
            lines = [f"control: c.sock\nstate: state\ngateway: {{port: 0, {gateway}}}"]
            lines.append(f"defaults: {{min_stay: {min_stay}, linger: 0, health_timeout: 5s}}\nworkloads:")
            for name in names:
                engine = FakeEngine(model=name)
                await engine.start()
                stack.push_async_callback(engine.stop)
                engines[name] = engine
                extra = (per or {}).get(name, "")
                lines.append(
                    f"  {name}: {{url: '{engine.url}', models: [{name}, {name}-alias]{extra and ', ' + extra}}}"
                )
                if "platform: process" not in extra:
                    container = await platform.create(ContainerSpec(name=name, command=("x",)))
                    if name not in stopped:
                        await platform.start(container)
            processes = FakePlatform(name="process")

            def frozen(name: str, now: bool) -> None:
                engines[name].freeze() if now else engines[name].thaw()

            swapper = FakeSwapper(
                sizes={0: size},
                memory={name: {0: need if isinstance(need, int) else need[name]} for name in names},
                platforms=[platform, processes],
                frozen=frozen,
            )
            for name in parked:
                container = await platform.inspect(name)
                await platform.pause(container)
                swapper.parked[container.key] = container.started_at
                engines[name].freeze()
            house = House(
                directory=directory,
                platform=platform,
                processes=processes,
                swapper=swapper,
                engines=engines,
                text="\n".join(lines),
            )
            house.http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)))
            stack.push_async_callback(_close, house)
            return house

        yield make


async def _close(house: House) -> None:
    if house.task is not None and not house.task.done():
        house.hurry.set()
        house.stop.set()
        await asyncio.wait({house.task}, timeout=20)
    assert house.swapper.violations == []


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    """a sits, b is parked, and they do not fit together."""
    made = await make_house(parked="b")
    await made.up()
    return made
