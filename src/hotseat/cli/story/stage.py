"""The stage: a device for one, two engines that do not fit together, a configuration, and the daemon over it.

Everything lies in a private directory and on free ports; leaving the context ends and removes all of it, and only that.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from hotseat.cli.story import plot
from hotseat.config.units import parse_size
from hotseat.demo.spec import EngineSpec
from hotseat.emulator import EmulatedNode
from hotseat.errors import DriverFailed, NoRoom, UsageError
from hotseat.gpu.client import GpuClient
from hotseat.store.port import CONTROL
from hotseat.words import DeviceUse

MIB, GIB = 1 << 20, 1 << 30
CONTEXT_BYTES = {True: 16 * MIB, False: 640 * MIB}
"""Device memory of a bare context: as the emulated node is told, or as measured on an H200 (with slack)."""
SIZES = {True: (24 * MIB, 4 * MIB), False: (4 * GIB, 1 * GIB)}
"""Weights and KV cache by default: emulated, on a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What the engines take turns on."""

    emulated: bool
    name: str
    room: int
    """Bytes that all engines together may use: the emulated device's size, or the cap on a GPU."""
    node: EmulatedNode | None = None

    @property
    def environment(self) -> dict[str, str]:
        return self.node.environment() if self.node else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    directory: Path
    platform: str
    device: Device
    engines: Mapping[str, EngineSpec]
    """Model name (and workload name) -> how its engine is started."""
    each: int
    """Bytes of the device that one engine takes."""
    gateway_port: int
    environment: Mapping[str, str]
    """Of the daemon and of every command on this stage."""
    arena: int | None = None
    """Bytes of the snapshot store that moves their memory. None: the driver does."""

    @property
    def control(self) -> Path:
        return self.directory / "control.sock"

    @property
    def config(self) -> Path:
        return self.directory / "hotseat.yaml"

    @property
    def store(self) -> Path:
        """The store's control socket."""
        return self.directory / "store" / CONTROL

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    def container(self, name: str) -> str:
        """Unique on this machine, so that nobody's container is mistaken for ours."""
        return f"{self.directory.name}-{name}"


async def choose_gpu(*, emulated: bool) -> DeviceUse | None:
    """The first real GPU that can be used, unless the emulated driver is asked for."""
    if emulated:
        return None
    async with GpuClient() as client:
        try:
            await client.start()
            uses = await client.use()
        except DriverFailed:
            return None
    return next((use for use in uses if not use.device.emulated), None)


def engine_specs(*, names: tuple[str, str], weights: int, kv: int) -> dict[str, EngineSpec]:
    """Two engines that differ by their seed."""
    return {
        name: EngineSpec(
            models=(name,),
            port=free_port(),
            weights_bytes=weights,
            kv_bytes=kv,
            seed=seed,
            tokens_per_second=plot.TOKENS_PER_SECOND,
            threads=8,
        )
        for seed, name in enumerate(names, start=1)
    }


def sizes(*, emulated: bool, weights: str | None, kv: str | None) -> tuple[int, int]:
    """Bytes of weights and KV cache. `UsageError` for what is no size."""
    default_weights, default_kv = SIZES[emulated]
    try:
        return (
            parse_size(weights) if weights is not None else default_weights,
            parse_size(kv) if kv is not None else default_kv,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


@asynccontextmanager
async def set_stage(
    *, platform: str, emulated: bool, weights: str | None, kv: str | None, store: bool, names: tuple[str, str]
) -> AsyncIterator[Stage]:
    """Everything but the containers, the store and the daemon."""
    if store and platform != "process":
        raise UsageError("--store is for --platform process", hint="leave one of the two out")
    gpu = await choose_gpu(emulated=emulated)
    weight_bytes, kv_bytes = sizes(emulated=gpu is None, weights=weights, kv=kv)
    one = weight_bytes + kv_bytes + CONTEXT_BYTES[gpu is None]
    # Room for one and a half: two never sit together, one always fits.
    room = one + one // 2 + (CONTEXT_BYTES[gpu is None] if store else 0)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hotseat-demo-")))
        if gpu is None:
            node = stack.enter_context(emulated_node(room, parked=one))
            device = Device(emulated=True, name="emulated GPU", room=room, node=node)
        elif gpu.free_bytes < room:
            raise NoRoom(
                f"{gpu.device.name} has {gpu.free_bytes >> 20} MiB free, the demo needs {room >> 20}",
                rule="the demo takes no memory from others",
                hint="smaller --weights and --kv, or --emulated",
            )
        else:
            device = Device(emulated=False, name=gpu.device.name, room=room)
        stage = Stage(
            directory=directory,
            platform=platform,
            device=device,
            engines=engine_specs(names=names, weights=weight_bytes, kv=kv_bytes),
            each=one,
            arena=(weight_bytes + kv_bytes) * len(names) if store else None,
            gateway_port=free_port(),
            environment={**os.environ, **device.environment, "HOTSEAT_STATE": str(directory / "state")},
        )
        stage.config.write_text(configuration(stage))
        yield stage


@contextmanager
def emulated_node(room: int, *, parked: int) -> Iterator[EmulatedNode]:
    """In memory if /dev/shm has the room (in many containers it has 64 MiB), else on disk."""
    shm = Path("/dev/shm")
    in_memory = shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > room + 64 * MIB
    with tempfile.TemporaryDirectory(prefix="hotseat-demo-", dir=shm if in_memory else None) as root:
        os.chmod(root, 0o755)  # containers reach the files by bind mount, also those of other users
        yield EmulatedNode.create(root, devices=[room], context_bytes=CONTEXT_BYTES[True])


def configuration(stage: Stage) -> str:
    """The hotseat.yaml of the stage. Short stays, so that the story is not a wait."""
    workloads = {}
    for name, spec in stage.engines.items():
        workload: dict[str, object] = {
            "platform": stage.platform,
            "models": [name],
            "url": f"http://127.0.0.1:{spec.port}",
            "gpu_memory": stage.each,
        }
        if stage.platform == "process":
            workload |= {"command": spec.command(), "env": stage.device.environment}
        else:
            workload["container"] = stage.container(name)
        workloads[name] = workload
    config: dict[str, object] = {
        "gateway": {"host": "127.0.0.1", "port": stage.gateway_port, "keepalive": "1s"},
        "control": str(stage.control),
        "state": str(stage.directory / "state"),
        # Another store of this machine is none of the demo's.
        "store": {"use": "off"} if stage.arena is None else {"use": "on", "control": str(stage.store)},
        "defaults": {"min_stay": "2s", "linger": "100ms", "start_timeout": "60s", "max_wait": "60s"},
        "workloads": workloads,
    }
    if not stage.device.emulated:
        config["devices"] = {0: {"cap": stage.device.room}}
    return yaml.safe_dump(config, sort_keys=False)


def alone(spec: EngineSpec) -> EngineSpec:
    """The same engine for the undisturbed run: same bytes, another port."""
    return replace(spec, port=0)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def wait_listening(url_port: int, *, deadline: float) -> bool:
    """Whether something accepts connections at 127.0.0.1 within `deadline` seconds."""
    try:
        async with asyncio.timeout(deadline):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", url_port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                await writer.wait_closed()
                return True
    except TimeoutError:
        return False
