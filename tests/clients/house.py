"""A daemon as people run it, with engines behind it, for the client libraries of this folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from hotseat import config
from hotseat.daemon.wiring import build
from hotseat.demo.spec import EngineSpec
from hotseat.emulator import EmulatedNode
from hotseat.gateway.keys import hash_of

MIB = 1 << 20
DEADLINE = 60.0
"""Seconds until a daemon on a busy machine has said where it listens, or has ended."""

ALICE, BOB, ROOT = "hs-alice-may-use-everything", "hs-bob-may-use-one-model-once", "hs-root-may-do-everything"


@dataclass(frozen=True, slots=True)
class House:
    """Of `ada` and `bob` one fits on the GPU; `studio` needs none and has what a language model has not."""

    url: str
    directory: Path

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()


def _ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def settings(directory: Path, node: EmulatedNode) -> dict[str, object]:
    ports = _ports(3)
    workloads: dict[str, object] = {}
    for seed, name in enumerate(("ada", "bob")):
        spec = EngineSpec(
            models=(name,),
            port=ports[seed],
            weights_bytes=24 * MIB,
            kv_bytes=8 * MIB,
            seed=seed + 1,
            threads=4,
            tokens_per_second=200,
        )
        workloads[name] = {
            "platform": "process",
            "port": spec.port,
            "command": list(spec.command()),
            "env": node.environment(),
            "gpu_memory": 40 * MIB,
        }
    workloads["studio"] = {
        "platform": "process",
        "port": ports[2],
        "command": [sys.executable, "-m", "hotseat.testing.studio", "--model=studio", f"--port={ports[2]}"],
        "gpu_memory": 0,
    }
    return {
        "control": str(directory / "c.sock"),
        "state": str(directory / "state"),
        "gateway": {"port": 0, "keepalive": "20ms", "max_body": "1MiB", "max_upload": "64MiB"},
        "discovery": {"docker": False, "podman": False},
        "keys": {
            "alice": {"hash": hash_of(ALICE)},
            "bob": {"hash": hash_of(BOB), "models": ["bob"], "max_concurrent": 1},
            "root": {"hash": hash_of(ROOT), "admin": True},
        },
        "defaults": {"min_stay": 0, "linger": 0},
        "workloads": workloads,
    }


@contextlib.contextmanager
def standing(directory: Path) -> Iterator[House]:
    with EmulatedNode.temporary(devices=[72 * MIB], context_bytes=4 * MIB) as node:
        file = directory / "hotseat.yaml"
        file.write_text(yaml.safe_dump(settings(directory, node)))
        environment = {**os.environ, **node.environment()}
        with (directory / "log").open("wb") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "hotseat", "up", "--config", str(file), "--verbose"],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        try:
            yield House(_address(daemon, directory / "log"), directory)
        finally:
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(DEADLINE)
            finally:
                daemon.kill()
                assert daemon.stdout is not None
                daemon.stdout.close()
                asyncio.run(_end_engines(config.load(file), environment))


def _address(daemon: subprocess.Popen[bytes], log: Path) -> str:
    """As the daemon prints it, once it serves."""
    assert daemon.stdout is not None
    end = time.monotonic() + DEADLINE
    with selectors.DefaultSelector() as selector:
        selector.register(daemon.stdout, selectors.EVENT_READ)
        said = b""
        while b"\n" not in said:
            assert selector.select(end - time.monotonic()), f"it does not serve: {log.read_text()[-3000:]}"
            chunk = os.read(daemon.stdout.fileno(), 4096)
            assert chunk, f"it ended: {log.read_text()[-3000:]}"
            said += chunk
    word, address = said.split(b"\n")[0].split()
    assert word == b"gateway"
    return address.decode().removesuffix("/v1")


async def _end_engines(read: config.Config, environment: dict[str, str]) -> None:
    async with build(read, environ=environment) as runtime:
        platform = runtime.platforms["process"]
        for container in await platform.list():
            await platform.remove(container)
