"""Demo engines as process workloads of a daemon on an emulated node, and a client's question to one."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import aiohttp

from hotseat.demo.spec import EngineSpec
from hotseat.emulator import EmulatedNode

MIB = 1 << 20
_RANDOM = random.SystemRandom()


def free_port() -> int:
    """A port that nobody listens on now, below those that the kernel gives to who asks for any: an engine listens on
    it only later, and again after a stop."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", _RANDOM.randrange(12_000, 32_000)))
            return int(probe.getsockname()[1])


def workloads(node: EmulatedNode, names: Iterable[str], *, threads: int) -> dict[str, dict[str, Any]]:
    """As hotseat.yaml has them: 24 MiB of weights and 8 MiB of cache each, no two alike."""
    found = {}
    for seed, name in enumerate(names, start=1):
        spec = EngineSpec(
            models=(name,), port=free_port(), weights_bytes=24 * MIB, kv_bytes=8 * MIB, seed=seed, threads=threads
        )
        found[name] = {
            "platform": "process",
            "port": spec.port,
            "command": list(spec.command()),
            "env": node.environment(),
            "gpu_memory": 40 * MIB,
        }
    return found


async def say(session: aiohttp.ClientSession, gateway: str, model: str, *, tokens: int = 8) -> str:
    """Its answer to `hello`."""
    body = {"model": model, "max_tokens": tokens, "messages": [{"role": "user", "content": "hello"}]}
    async with session.post(f"{gateway}/v1/chat/completions", json=body) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return str(answer["choices"][0]["message"]["content"])
