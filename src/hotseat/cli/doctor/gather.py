"""Puts all facts together: the driver by a worker process, the rest by the modules beside it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hotseat.cli.doctor import gather_machine, gather_platforms
from hotseat.cli.doctor.facts import ContainerFact, Driver, Facts, Gpu
from hotseat.errors import DriverFailed, HotseatError
from hotseat.gpu.client import GpuClient
from hotseat.platforms.port import Container, Platform
from hotseat.words import DeviceUse


async def gather(
    client: GpuClient, platforms: Mapping[str, Platform], *, only: tuple[Platform, Container] | None = None
) -> Facts:
    """Everything, or with `only` one container and the machine."""
    found, (gpus, uses) = await asyncio.gather(driver(client), devices(client))
    if isinstance(gpus, str):
        found = replace(found, nvml_error=gpus)
        gpus = ()
    containers = await _containers(platforms, uses, only=only)
    ours = {process.pid for container in containers for process in container.processes} | client.worker_pids
    if only is not None:
        foreign: dict[int, dict[int, int]] = {}
    else:
        foreign = {
            use.device.index: {pid: count for pid, count in use.processes.items() if pid not in ours} for use in uses
        }
    return Facts(
        driver=found,
        gpus=tuple(replace(gpu, foreign=foreign.get(gpu.index, {})) for gpu in gpus),
        amd=gather_machine.amd(),
        rights=gather_machine.rights(),
        cgroups=gather_machine.cgroups(),
        host=gather_machine.host(),
        platforms=tuple(
            await asyncio.gather(
                *(gather_platforms.platform(name, adapter) for name, adapter in platforms.items() if name != "process")
            )
        ),
        containers=tuple(containers),
    )


async def driver(client: GpuClient) -> Driver:
    """What a worker says of the library that it loaded."""
    release = kernel_release()
    try:
        hello = await client.start()
    except DriverFailed as error:
        library = error.details.get("library")
        loaded = library if isinstance(library, str) and library.startswith("/") else None
        return Driver(libcuda=loaded, error=_reason(error), release=release, checkpoint_api=loaded is not None)
    version = [int(part) for part in hello.version.split(".") if part.isdigit()]
    emulated = any("emulated" in name.lower() for name in hello.device_names)
    return Driver(
        libcuda=hello.library,
        emulated=emulated,
        version=version[0] * 1000 + version[1] * 10 if len(version) == 2 else None,
        release=None if emulated else release,
        checkpoint_api=not hello.missing,
        others=() if emulated else other_copies(hello.library),
    )


def _reason(error: DriverFailed) -> str:
    """The cause alone: that there is no driver is what the finding says already."""
    return error.message.rpartition("no GPU driver to work with: ")[2].partition(": cannot open shared object")[0]


async def devices(client: GpuClient) -> tuple[tuple[Gpu, ...] | str, Sequence[DeviceUse]]:
    """(devices, their use), or (what NVML complained of, nothing)."""
    try:
        uses = await client.use()
        _, report = await client.nvml()
    except HotseatError as error:
        return error.message, ()
    modes = {fact.index: fact for fact in report.devices}
    gpus = []
    for use in uses:
        mode = modes.get(use.device.index)
        gpus.append(
            Gpu(
                index=use.device.index,
                name=use.device.name,
                uuid=use.device.uuid,
                total_bytes=use.device.total_bytes,
                used_bytes=use.used_bytes,
                emulated=use.device.emulated,
                mig=mode.mig if mode else None,
                compute_mode=mode.compute_mode if mode else None,
            )
        )
    return tuple(gpus), uses


def kernel_release(root: Path = Path("/")) -> str | None:
    """The loaded kernel module's release, "580.159.04", from /proc/driver/nvidia/version."""
    for word in (gather_machine.read(root / "proc/driver/nvidia/version") or "").split():
        if word.count(".") >= 1 and word.replace(".", "").isdigit():
            return word
    return None


def other_copies(loaded: str) -> tuple[str, ...]:
    """Files named libcuda.so.1 that the loader knows and that are not the one that was loaded."""
    try:
        listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    mine = Path(loaded).resolve()
    found = {
        line.rpartition("=> ")[2].strip()
        for line in listing.stdout.splitlines()
        if line.strip().startswith("libcuda.so.1 ") and "x86-64" in line
    }
    different = {path for path in found if not _same(Path(path), mine)}
    return tuple(sorted(different))


def _same(one: Path, other: Path) -> bool:
    """The same file, or a copy of the same size (some installations keep two)."""
    try:
        return one.resolve() == other or one.stat().st_size == other.stat().st_size
    except OSError:
        return True


async def _containers(
    platforms: Mapping[str, Platform], uses: Sequence[DeviceUse], *, only: tuple[Platform, Container] | None
) -> list[ContainerFact]:
    if only is not None:
        return [await gather_platforms.container(*only, uses=uses)]
    out = []
    for adapter in platforms.values():
        try:
            listed = await adapter.list()
        except HotseatError:
            continue  # its PlatformFact says so
        out += [await gather_platforms.container(adapter, found, uses=uses) for found in listed]
    return out
