"""The real daemon with demo engines as process trees on the emulated driver."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import yaml

from hotseat import config
from hotseat.daemon.service import Serving, serve
from hotseat.daemon.stopping import Order
from hotseat.daemon.wiring import build
from hotseat.demo.spec import EngineSpec
from hotseat.emulator import EmulatedNode

MIB = 1 << 20


@dataclass(kw_only=True)
class Stage:
    settings: config.Config
    environ: dict[str, str]
    session: aiohttp.ClientSession
    serving: Serving = field(init=False)

    async def up(self) -> None:
        """A daemon with all its parts; at a stop it leaves its workloads as they are."""
        self._order = Order()
        ready: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._serve(ready.set_result))
        await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
        if self._task.done():
            self._task.result()
        self.serving = ready.result()

    async def down(self) -> None:
        self._order.stop.set()
        await asyncio.wait_for(self._task, 60)

    async def _serve(self, ready: Callable[[Serving], None]) -> None:
        async with build(self.settings, environ=self.environ) as runtime:
            await serve(self.settings, runtime, order=self._order, ready=ready)

    async def clear(self) -> None:
        """Ends the engines."""
        async with build(self.settings, environ=self.environ) as runtime:
            platform = runtime.platforms["process"]
            for container in await platform.list():
                await platform.remove(container)

    def states(self) -> dict[str, str]:
        return {row["name"]: row["state"] for row in self.serving.workloads()}

    async def metrics(self) -> str:
        async with self.session.get(f"{self.serving.gateway}/metrics") as response:
            assert response.status == 200, await response.text()
            return await response.text()

    async def say(self, model: str, *, tokens: int = 16) -> None:
        body = {"model": model, "max_tokens": tokens, "messages": [{"role": "user", "content": "hello"}]}
        async with self.session.post(f"{self.serving.gateway}/v1/chat/completions", json=body) as response:
            assert response.status == 200, await response.text()
            await response.read()


@contextlib.asynccontextmanager
async def stage(directory: Path, weights: dict[str, int]) -> AsyncIterator[Stage]:
    """`weights`: MiB of each engine, on a device of 128 MiB."""
    with EmulatedNode.temporary(devices=[128 * MIB], context_bytes=4 * MIB) as node:
        workloads = {}
        for seed, (name, size) in enumerate(weights.items(), start=1):
            spec = EngineSpec(
                models=(name,), port=_free_port(), weights_bytes=size * MIB, kv_bytes=8 * MIB, seed=seed, threads=4
            )
            workloads[name] = {
                "platform": "process",
                "port": spec.port,
                "command": list(spec.command()),
                "env": node.environment(),
                "gpu_memory": (size + 16) * MIB,
                "preload": True,
            }
        settings = {
            "control": str(directory / "c.sock"),
            "state": str(directory / "state"),
            "gateway": {"port": _free_port()},
            "defaults": {"min_stay": 0, "linger": 0},
            "workloads": workloads,
        }
        read = config.parse(yaml.safe_dump(settings), base=directory)
        timeout = aiohttp.ClientTimeout(total=60)
        environ = {**os.environ, **node.environment()}
        async with aiohttp.ClientSession(timeout=timeout) as session:
            staged = Stage(settings=read, environ=environ, session=session)
            try:
                await staged.up()
                yield staged
            finally:
                try:
                    await staged.down()
                finally:
                    await staged.clear()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
