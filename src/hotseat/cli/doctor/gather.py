"""Puts all facts together: driver and devices as the gpu layer describes them, the rest by the modules beside it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from hotseat.cli.doctor import gather_machine, gather_platforms
from hotseat.cli.doctor.facts import ContainerFact, Driver, Facts, Gpu, StoreFact
from hotseat.errors import DriverFailed, HotseatError
from hotseat.gpu.client import GpuClient
from hotseat.gpu.describe import DeviceFacts, GpuFacts, describe
from hotseat.platforms.port import Container, Platform
from hotseat.store.client import StoreClient
from hotseat.store.port import Store
from hotseat.words import DeviceUse


async def gather(
    client: GpuClient,
    platforms: Mapping[str, Platform],
    *,
    store_socket: Path,
    only: tuple[Platform, Container] | None = None,
) -> Facts:
    """Everything, or with `only` one container and the machine."""
    seen = await store(StoreClient(store_socket), socket=store_socket)
    described = await describe(client)
    uses = [one.use for one in described.devices]
    containers = await _containers(platforms, uses, store=seen, only=only)
    ours = {process.pid for container in containers for process in container.processes} | client.worker_pids
    if only is not None:
        foreign: dict[int, dict[int, int]] = {}
    else:
        foreign = {
            use.device.index: {pid: count for pid, count in use.processes.items() if pid not in ours} for use in uses
        }
    return Facts(
        driver=driver(described, release=kernel_release()),
        gpus=tuple(gpu(one, foreign=foreign.get(one.device.index, {})) for one in described.devices),
        amd=gather_machine.amd(),
        rights=gather_machine.rights(),
        cgroups=gather_machine.cgroups(),
        host=gather_machine.host(),
        store=seen,
        platforms=tuple(
            await asyncio.gather(
                *(gather_platforms.platform(name, adapter) for name, adapter in platforms.items() if name != "process")
            )
        ),
        containers=tuple(containers),
    )


STORE_DEADLINE = 5.0
"""Seconds."""


async def store(client: Store, *, socket: Path) -> StoreFact:
    try:
        seen = await client.status(deadline=STORE_DEADLINE)
    except HotseatError as error:
        return StoreFact(socket=str(socket), note=error.message)
    return StoreFact(
        socket=str(socket),
        running=seen.running,
        arena=seen.arena,
        ready=seen.ready,
        used=seen.used,
        held={ref.pid: held.bytes for ref, held in seen.processes.items()},
        custom_storage=seen.custom_storage,
        no_custom_storage=seen.no_custom_storage,
        room=max(seen.arena, seen.may_grow),
        customs=frozenset(ref.pid for ref, held in seen.processes.items() if held.custom),
        note=seen.note,
    )


def driver(seen: GpuFacts, *, release: str | None) -> Driver:
    """`release`: the loaded kernel module's."""
    nvml_error = seen.nvml_problem.message if seen.nvml_problem else ""
    if seen.cuda_problem is not None:
        library = seen.cuda_problem.details.get("library")
        loaded = library if isinstance(library, str) and library.startswith("/") else None
        return Driver(
            libcuda=loaded,
            error=_reason(seen.cuda_problem),
            release=release,
            checkpoint_api=loaded is not None,
            nvml_error=nvml_error,
        )
    version = [int(part) for part in seen.cuda_version.split(".") if part.isdigit()]
    return Driver(
        libcuda=seen.libcuda,
        emulated=seen.cuda_emulated,
        version=version[0] * 1000 + version[1] * 10 if len(version) == 2 else None,
        release=None if seen.cuda_emulated else release,
        checkpoint_api=not seen.missing_calls,
        nvml_error=nvml_error,
        others=() if seen.cuda_emulated else other_copies(seen.libcuda),
    )


def _reason(error: DriverFailed) -> str:
    """The cause alone: that there is no driver is what the finding says already."""
    return error.message.rpartition("no GPU driver to work with: ")[2].partition(": cannot open shared object")[0]


def gpu(seen: DeviceFacts, *, foreign: Mapping[int, int]) -> Gpu:
    return Gpu(
        index=seen.device.index,
        name=seen.device.name,
        uuid=seen.device.uuid,
        total_bytes=seen.device.total_bytes,
        used_bytes=seen.use.used_bytes,
        emulated=seen.device.emulated,
        mig=seen.mig,
        compute_mode=seen.compute_mode,
        foreign=foreign,
    )


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
    platforms: Mapping[str, Platform],
    uses: Sequence[DeviceUse],
    *,
    store: StoreFact,
    only: tuple[Platform, Container] | None,
) -> list[ContainerFact]:
    if only is not None:
        return [await gather_platforms.container(*only, uses=uses, store=store)]
    out = []
    for adapter in platforms.values():
        try:
            listed = await adapter.list()
        except HotseatError:
            continue  # its PlatformFact says so
        out += [await gather_platforms.container(adapter, found, uses=uses, store=store) for found in listed]
    return out
