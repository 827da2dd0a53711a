"""The node, the engines on every platform, their undisturbed twins, the configuration, the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from tally import Tally

from hotseat.demo import EngineSpec, image, running
from hotseat.emulator import EmulatedNode
from hotseat.platforms.docker import DockerPlatform
from hotseat.platforms.podman import PodmanPlatform
from hotseat.platforms.spec import Bind, ContainerSpec
from hotseat.testing import engines

MIB = 1 << 20
CONTEXT = 2 * MIB
IMAGE = "hotseat-soak:latest"
PROMPTS = tuple(f"{topic}: say it at length, with all that belongs to it. " * 6 for topic in
                ("rivers", "engines", "music", "the sea", "bread", "winter"))  # fmt: skip
LENGTHS = (8, 24, 64)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(kw_only=True)
class Guest:
    name: str
    platform: str
    spec: EngineSpec
    references: dict[tuple[str, int], str] = field(default_factory=dict)
    harmed_at: float = float("-inf")
    """When we last killed or stopped it ourselves."""

    @property
    def need(self) -> int:
        return self.spec.weights_bytes + self.spec.kv_bytes + 2 * CONTEXT


class Stage:
    def __init__(self, directory: Path, node: EmulatedNode, devices: Sequence[int], guests: list[Guest]) -> None:
        self.directory = directory
        self.node = node
        self.devices = devices
        self.guests = guests
        self.port = free_port()
        self.adapters: dict[str, DockerPlatform | PodmanPlatform] = {}
        self.environment = {**os.environ, **node.environment(), "HOTSEAT_STATE": str(directory / "state"),
                            "HOTSEAT_CONTROL": str(self.control)}  # fmt: skip
        self.daemon: asyncio.subprocess.Process | None = None
        self.down_since: float | None = None
        """The daemon does not serve now because we killed it."""
        self.back_at = float("-inf")
        self.variant = 0
        self.http: aiohttp.ClientSession
        self._log = (directory / "daemon.log").open("ab")

    @property
    def control(self) -> Path:
        return self.directory / "control.sock"

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def say(self, text: str) -> None:
        print(time.strftime("%H:%M:%S"), text, flush=True)

    # -- engines

    async def learn_references(self) -> None:
        """Each engine alone, on a node of its own, before anything is disturbed."""
        for guest in self.guests:
            size = guest.spec.weights_bytes + guest.spec.kv_bytes + 4 * CONTEXT
            with EmulatedNode.temporary(devices=[size], context_bytes=CONTEXT) as node:
                twin = EngineSpec(models=(guest.name,), weights_bytes=guest.spec.weights_bytes,
                                  kv_bytes=guest.spec.kv_bytes, seed=guest.spec.seed)  # fmt: skip
                async with running(twin, environment=node.environment()) as engine:
                    for prompt in PROMPTS:
                        for length in LENGTHS:
                            body = {"model": guest.name, "prompt": prompt, "max_tokens": length}
                            async with self.http.post(f"{engine.url}/v1/completions", json=body) as response:
                                answer = await response.json()
                                guest.references[prompt, length] = answer["choices"][0]["text"]

    async def create_containers(self) -> None:
        for guest in self.guests:
            if guest.platform == "process":
                continue
            binds = [Bind(source=Path(source), target=target) for source, target in
                     self.node.mounts(library_directory=image.library_directory())]  # fmt: skip
            adapter = self.adapters[guest.platform]
            container = await adapter.create(
                ContainerSpec(
                    name=guest.name,
                    image=IMAGE,
                    command=tuple(guest.spec.command(image.PROGRAM)),
                    binds=tuple(binds),
                    network="host",
                    ulimits={"nofile": 4096, "nproc": 4096},
                )
            )
            await adapter.start(container)

    # -- configuration

    def write_config(self) -> None:
        """`variant` changes what may change in a reload."""
        workloads: dict[str, Any] = {}
        for number, guest in enumerate(self.guests):
            entry: dict[str, Any] = {
                "platform": guest.platform,
                "url": f"http://127.0.0.1:{guest.spec.port}",
                "gpu_memory": {guest.spec.devices[0]: guest.need},
                "priority": (number + self.variant) % 3,
            }
            if guest.platform == "process":
                entry |= {"command": guest.spec.command(), "env": self.node.environment()}
            workloads[guest.name] = entry
        if self.variant % 2:
            workloads["passing"] = {"platform": "process", "port": free_port(), "command": ["sleep", "1000"],
                                    "start": False}  # fmt: skip
        config = {
            "gateway": {"port": self.port, "keepalive": "1s"},
            "control": str(self.control),
            "state": str(self.directory / "state"),
            "host_memory": {"reserve": "256MiB"},
            "discovery": {"docker": False, "podman": False},
            "defaults": {"min_stay": ("300ms", "500ms")[self.variant % 2], "linger": "50ms", "start_timeout": "60s",
                         "max_wait": "120s", "on_quarantine": "restart"},
            "workloads": workloads,
        }  # fmt: skip
        draft = self.directory / "hotseat.yaml.part"
        draft.write_text(yaml.safe_dump(config, sort_keys=False))
        draft.replace(self.directory / "hotseat.yaml")

    # -- daemon

    async def start_daemon(self) -> None:
        self.write_config()
        self.daemon = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hotseat", "up", "-c", str(self.directory / "hotseat.yaml"),
            stdin=asyncio.subprocess.DEVNULL, stdout=self._log, stderr=self._log, env=self.environment,
        )  # fmt: skip
        async with asyncio.timeout(120):
            while True:
                if self.daemon.returncode is not None:
                    raise RuntimeError(f"hotseat up ended with {self.daemon.returncode}: {self.log_tail()}")
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with self.http.get(f"{self.gateway}/health") as response:
                        if response.status == 200:
                            break
                await asyncio.sleep(0.05)
        self.down_since, self.back_at = None, time.monotonic()

    async def kill_daemon(self) -> float:
        """SIGKILL, and up again. Seconds until it serves."""
        assert self.daemon is not None
        self.down_since = time.monotonic()
        self.daemon.kill()
        await self.daemon.wait()
        began = time.monotonic()
        await self.start_daemon()
        return time.monotonic() - began

    async def stop_daemon(self) -> float:
        assert self.daemon is not None
        began = time.monotonic()
        self.daemon.send_signal(signal.SIGTERM)
        async with asyncio.timeout(150):
            code = await self.daemon.wait()
        if code:
            raise RuntimeError(f"hotseat up ended with {code}: {self.log_tail()}")
        return time.monotonic() - began

    async def cli(self, *arguments: str, deadline: float = 90) -> tuple[int, str]:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hotseat", *arguments, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=self.environment,
        )  # fmt: skip
        try:
            async with asyncio.timeout(deadline):
                out, _ = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return child.returncode or 0, out.decode(errors="replace")

    async def rows(self) -> list[dict[str, Any]]:
        code, out = await self.cli("ps", "--json")
        return list(json.loads(out)) if code == 0 else []

    def daemon_holds(self) -> dict[str, int] | None:
        """Descriptors, threads and resident KiB of the daemon's own process; None while it is down."""
        if self.daemon is None or self.daemon.returncode is not None:
            return None
        root = Path(f"/proc/{self.daemon.pid}")
        try:
            status = dict(line.split(":", 1) for line in (root / "status").read_text().splitlines())
            return {"pid": self.daemon.pid, "fds": len(list((root / "fd").iterdir())),
                    "threads": int(status["Threads"]), "rss_kib": int(status["VmRSS"].split()[0])}  # fmt: skip
        except OSError:
            return None

    def log_tail(self) -> str:
        return (self.directory / "daemon.log").read_text(errors="replace")[-2000:]

    def leftovers(self, tally: Tally) -> None:
        """After everything was ended: who still holds the emulated node?"""
        for holding in self.left:
            tally.fault(f"left on the node: {holding}")

    left: Sequence[object] = ()


@contextlib.asynccontextmanager
async def open_stage(*, platforms: Sequence[str], seed: int) -> AsyncIterator[Stage]:
    guests = [
        Guest(
            name=f"{platform}-{number}",
            platform=platform,
            spec=EngineSpec(
                models=(f"{platform}-{number}",), port=free_port(), weights_bytes=(12 + 8 * number) * MIB,
                kv_bytes=4 * MIB, seed=seed * 100 + 10 * place + number, tokens_per_second=80, threads=4,
                devices=(number % 2,),
            ),
        )
        for place, platform in enumerate(platforms)
        for number in range(4 if platform == "process" else 2)
    ]  # fmt: skip
    devices = tuple(_tight([guest for guest in guests if guest.spec.devices == (index,)]) for index in (0, 1))
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="hotseat-soak-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        node = stack.enter_context(EmulatedNode.temporary(devices=devices, context_bytes=CONTEXT))
        stage = Stage(directory, node, devices, guests)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        stage.http = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0, force_close=True))
        )
        tar = image.build(directory / "image.tar")
        for platform, make, adapter, variable in (
            ("docker", engines.DockerDaemon, DockerPlatform, "DOCKER_HOST"),
            ("podman", engines.PodmanServer, PodmanPlatform, "CONTAINER_HOST"),
        ):
            if platform not in platforms:
                stage.environment[variable] = f"unix://{directory}/no-{platform}.sock"
                continue
            server = make(directory=directory / platform)
            await asyncio.to_thread(server.start)
            stack.callback(server.stop)
            engines.load_image(server, tar, reference=IMAGE)
            stage.environment[variable] = f"unix://{server.socket}"
            stage.adapters[platform] = adapter(socket=server.socket)
            stack.push_async_callback(stage.adapters[platform].aclose)
        await stage.create_containers()
        stack.push_async_callback(_end_processes, stage)
        yield stage


def _tight(guests: Sequence[Guest]) -> int:
    """Bytes of a device on which any one of them fits, and less than half of them together."""
    needs = [guest.need for guest in guests]
    return max(*needs, sum(needs) * 45 // 100) + CONTEXT


async def _end_processes(stage: Stage) -> None:
    """Parked processes of ours have to end too; hotseat itself knows how, through its platform."""
    from hotseat.platforms.process import ProcessPlatform

    if stage.daemon is not None and stage.daemon.returncode is None:
        stage.daemon.kill()
        await stage.daemon.wait()
    platform = ProcessPlatform(directory=stage.directory / "state" / "processes")
    try:
        for container in await platform.list():
            if any(guest.name == container.name for guest in stage.guests):
                await platform.stop(container, grace=5)
    finally:
        await platform.aclose()
    for adapter in stage.adapters.values():
        for container in await adapter.list():
            await adapter.stop(container, grace=1)
    stage.left = stage.node.report().processes
