"""A whole daemon over doubles, for the tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from hotseat import config
from hotseat.daemon.client import Client
from hotseat.daemon.service import Serving, serve
from hotseat.daemon.stopping import Order
from hotseat.daemon.wiring import Runtime
from hotseat.events import EventBus
from hotseat.swap.journal import Journal
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
    order: Order = field(default_factory=Order)
    again: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by SIGHUP."""
    from_file: bool = True
    journal: Journal | None = None
    serving: Serving | None = None
    task: asyncio.Task[list[dict[str, Any]]] | None = None
    http: aiohttp.ClientSession | None = None

    @property
    def config(self) -> config.Config:
        return config.parse(self.text, base=self.directory)

    @property
    def file(self) -> Path:
        return self.directory / "hotseat.yaml"

    @property
    def runtime(self) -> Runtime:
        return Runtime(
            swapper=self.swapper,
            platforms={"docker": self.platform, "process": self.processes},  # type: ignore[dict-item]
            driver=None,  # type: ignore[arg-type]
            devices=self.swapper,
            journal=self.journal,
            events=EventBus(),
        )

    async def up(self) -> None:
        self.order = Order()
        self.file.write_text(self.text)
        ready: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(
            serve(
                self.config,
                self.runtime,
                file=self.file if self.from_file else None,
                order=self.order,
                reload=self.again,
                ready=ready.set_result,
            )
        )
        await asyncio.wait({self.task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        if self.task.done():
            self.task.result()
        self.serving = ready.result()

    async def down(self) -> list[dict[str, Any]]:
        assert self.task is not None
        self.order.stop.set()
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
        return Client(self.directory / "c.sock")

    def row(self, name: str) -> dict[str, Any]:
        assert self.serving is not None
        return next(row for row in self.serving.workloads() if row["name"] == name)

    def states(self) -> dict[str, str]:
        assert self.serving is not None
        return {row["name"]: row["state"] for row in self.serving.workloads()}


MakeHouse = Callable[..., Awaitable[House]]
