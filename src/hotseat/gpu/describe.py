"""What this machine's GPU driver is and has: facts for people, gathered without ever failing. Judges nothing."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from hotseat.errors import DriverFailed
from hotseat.gpu.client import GpuClient
from hotseat.gpu.truth import is_emulated
from hotseat.words import Device

MPS_NAME = "nvidia-cuda-mps"
"""The first 15 characters of both programs, nvidia-cuda-mps-control and -server; /proc/PID/comm holds no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """None: NVML does not say."""

    device: Device
    mig: bool | None
    compute_mode: str | None
    """"default", "exclusive thread", "prohibited" or "exclusive process"."""
    persistence: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """ "" and () stand for what could not be found out; `problems` then says why."""

    libcuda: str
    """The file that the loader chose."""
    cuda_version: str
    """What the driver supports: "13.0"."""
    missing_calls: tuple[str, ...]
    """Checkpoint calls that this libcuda lacks; empty from driver 570 on."""
    libnvml: str
    nvml_version: str
    driver_version: str
    """"580.159.04"."""
    devices: tuple[DeviceFacts, ...]
    emulated: bool
    mps: tuple[int, ...]
    """Pids of MPS daemons and servers on this host."""
    uvm: bool
    """/dev/nvidia-uvm is there."""
    problems: tuple[DriverFailed, ...]

    @property
    def can_checkpoint(self) -> bool:
        return bool(self.libcuda) and not self.missing_calls and not self.problems


async def describe(client: GpuClient, *, root: Path = Path("/")) -> GpuFacts:
    """Asks both workers. Takes as long as the driver's initialisation does, at most the client's start deadline."""
    cuda, devices = await asyncio.gather(client.start(), _devices(client), return_exceptions=True)
    problems = []
    libcuda = version = libnvml = nvml_version = driver = ""
    missing: tuple[str, ...] = ()
    names: list[str] = []
    found: tuple[DeviceFacts, ...] = ()
    if isinstance(cuda, DriverFailed):
        problems.append(cuda)
    elif isinstance(cuda, BaseException):
        raise cuda
    else:
        libcuda, version, names = cuda.library, cuda.version, cuda.device_names
        missing = tuple(cuda.missing)
    if isinstance(devices, DriverFailed):
        problems.append(devices)
    elif isinstance(devices, BaseException):
        raise devices
    else:
        libnvml, driver, nvml_version, found = devices
    cuda_emulated, nvml_emulated = any(map(is_emulated, names)), any(one.device.emulated for one in found)
    if names and found and cuda_emulated != nvml_emulated:
        problems.append(
            DriverFailed(
                f"{libcuda} and {libnvml} belong to different drivers: one is emulated, the other is not",
                hint="LD_LIBRARY_PATH must lead to both or to neither of the emulated driver's libraries",
            )
        )
    return GpuFacts(
        libcuda=libcuda,
        cuda_version=version,
        missing_calls=missing,
        libnvml=libnvml,
        nvml_version=nvml_version,
        driver_version=driver,
        devices=found,
        emulated=cuda_emulated or nvml_emulated,
        mps=mps_pids(root / "proc"),
        uvm=(root / "dev/nvidia-uvm").exists(),
        problems=tuple(problems),
    )


async def _devices(client: GpuClient) -> tuple[str, str, str, tuple[DeviceFacts, ...]]:
    """(library, driver version, NVML version, devices)."""
    devices = await client.devices()
    hello, report = await client.nvml()
    modes = {one.index: one for one in report.devices}
    facts = tuple(
        DeviceFacts(
            device=device,
            mig=modes[device.index].mig,
            compute_mode=modes[device.index].compute_mode,
            persistence=modes[device.index].persistence,
        )
        for device in devices
        if device.index in modes
    )
    return hello.library, hello.version, report.nvml_version, facts


def mps_pids(proc: Path = Path("/proc")) -> tuple[int, ...]:
    """MPS daemons and servers, by name."""
    out = []
    for entry in os.scandir(proc):
        if entry.name.isdigit():
            try:
                if Path(entry.path, "comm").read_text().strip().startswith(MPS_NAME):
                    out.append(int(entry.name))
            except OSError:
                continue  # it ended
    return tuple(sorted(out))
