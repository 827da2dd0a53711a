"""The real daemon with demo engines as process trees on the emulated driver."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    serving: Serving
    session: aiohttp.ClientSession

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
            "gateway": {"port": 0},
            "defaults": {"min_stay": 0, "linger": 0},
            "workloads": workloads,
        }
        read = config.parse(yaml.safe_dump(settings), base=directory)
        timeout = aiohttp.ClientTimeout(total=60)
        async with (
            build(read, environ={**os.environ, **node.environment()}) as runtime,
            aiohttp.ClientSession(timeout=timeout) as session,
        ):
            order = Order()
            ready: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(serve(read, runtime, order=order, ready=ready.set_result))
            try:
                await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
                if task.done():
                    task.result()
                yield Stage(serving=ready.result(), session=session)
            finally:
                order.stop.set()
                await asyncio.wait_for(task, 60)
                platform: Any = runtime.platforms["process"]
                for container in await platform.list():
                    await platform.remove(container)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
