"""The engines as real containers of Docker or Podman, the device given to them by bind mounts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from hotseat.cli.story.engine import LIMITS, Engine
from hotseat.cli.story.stage import Stage
from hotseat.demo import image
from hotseat.errors import HotseatError
from hotseat.gpu.client import GpuClient
from hotseat.platforms.spec import Bind, ContainerSpec

DRIVER_LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1", "libnvidia-nvvm.so.4")
DEVICES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")


@asynccontextmanager
async def containers(stage: Stage, engine: Engine | None) -> AsyncIterator[None]:
    """Created, not started: the daemon starts them when they are asked for. Removed at the end."""
    if engine is None:
        yield
        return
    binds, devices = await _device(stage)
    try:
        for name, spec in stage.engines.items():
            await engine.adapter.create(
                ContainerSpec(
                    name=stage.container(name),
                    image=engine.reference,
                    command=tuple(spec.command(image.PROGRAM)),
                    labels={"hotseat.demo": stage.directory.name, "hotseat.models": name},
                    binds=binds,
                    devices=devices,
                    ulimits=LIMITS,
                )
            )
        yield
    finally:
        for name in stage.engines:
            with suppress(HotseatError):
                container = await engine.adapter.inspect(stage.container(name))
                with suppress(HotseatError):
                    await engine.adapter.kill(container)
                await engine.adapter.remove(container)


async def _device(stage: Stage) -> tuple[tuple[Bind, ...], tuple[str, ...]]:
    if stage.device.node is not None:
        pairs = stage.device.node.mounts(library_directory=image.library_directory())
        return tuple(Bind(source=Path(source), target=target) for source, target in pairs), ()
    async with GpuClient() as client:
        library = (await client.start()).library
    return _driver_files(Path(library).parent), _device_files()


def _device_files() -> tuple[str, ...]:
    return tuple(device for device in DEVICES if Path(device).exists())


def _driver_files(where: Path) -> tuple[Bind, ...]:
    """What a CUDA program loads of the driver, from the directory in which this machine's libcuda lies."""
    inside = image.library_directory()
    found = [name for name in DRIVER_LIBRARIES if (where / name).exists()]
    extra = [path.name for path in where.glob("libnvidia-gpucomp.so.*")]
    return tuple(
        Bind(source=(where / name).resolve(), target=f"{inside}/{name}", read_only=True) for name in found + extra
    )
