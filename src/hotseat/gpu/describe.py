"""What this machine's GPU driver is and has: facts for people, gathered without ever failing. Judges nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hotseat.errors import DriverFailed
from hotseat.gpu.client import GpuClient
from hotseat.gpu.truth import is_emulated
from hotseat.words import Device, DeviceUse

T = TypeVar("T")

MPS_NAME = "nvidia-cuda-mps"
"""The first 15 characters of both programs, nvidia-cuda-mps-control and -server; /proc/PID/comm holds no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """None: NVML does not say."""

    use: DeviceUse
    mig: bool | None
    compute_mode: str | None
    """"default", "exclusive thread", "prohibited" or "exclusive process"."""
    persistence: bool | None

    @property
    def device(self) -> Device:
        return self.use.device


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """ "" and () stand for what could not be found out; `problems` then says why."""

    libcuda: str
    """The file that the loader chose."""
    cuda_version: str
    """What the driver supports: "13.0"."""
    missing_calls: tuple[str, ...]
    """Checkpoint calls that this libcuda lacks; empty from driver 570 on."""
    cuda_names: tuple[str, ...]
    """Its devices' names as libcuda gives them."""
    libnvml: str
    nvml_version: str
    driver_version: str
    """"580.159.04"."""
    devices: tuple[DeviceFacts, ...]
    uvm: bool
    """/dev/nvidia-uvm is there."""
    cuda_problem: DriverFailed | None
    """Why libcuda does not serve."""
    nvml_problem: DriverFailed | None
    """Why NVML does not."""

    @property
    def cuda_emulated(self) -> bool:
        """libcuda says so of itself."""
        return any(map(is_emulated, self.cuda_names))

    @property
    def nvml_emulated(self) -> bool:
        return any(one.device.emulated for one in self.devices)

    @property
    def emulated(self) -> bool:
        return self.cuda_emulated or self.nvml_emulated

    @property
    def problems(self) -> tuple[DriverFailed, ...]:
        """All of them, also that the two libraries do not belong together."""
        out = [one for one in (self.cuda_problem, self.nvml_problem) if one is not None]
        if self.cuda_names and self.devices and self.cuda_emulated != self.nvml_emulated:
            out.append(
                DriverFailed(
                    f"{self.libcuda} and {self.libnvml} belong to different drivers: one is emulated, the other is not",
                    hint="LD_LIBRARY_PATH must lead to both or to neither of the emulated driver's libraries",
                )
            )
        return tuple(out)

    @property
    def can_checkpoint(self) -> bool:
        return bool(self.libcuda) and not self.missing_calls and not self.problems


async def describe(client: GpuClient, *, root: Path = Path("/")) -> GpuFacts:
    """Asks both workers. Takes as long as the driver's initialisation does, at most the client's start deadline."""
    cuda, nvml = await asyncio.gather(_asked(client.start()), _asked(_devices(client)))
    hello = None if isinstance(cuda, DriverFailed) else cuda
    libnvml, driver, nvml_version, devices = ("", "", "", ()) if isinstance(nvml, DriverFailed) else nvml
    return GpuFacts(
        libcuda=hello.library if hello else "",
        cuda_version=hello.version if hello else "",
        missing_calls=tuple(hello.missing) if hello else (),
        cuda_names=tuple(hello.device_names) if hello else (),
        libnvml=libnvml,
        nvml_version=nvml_version,
        driver_version=driver,
        devices=devices,
        uvm=(root / "dev/nvidia-uvm").exists(),
        cuda_problem=cuda if isinstance(cuda, DriverFailed) else None,
        nvml_problem=nvml if isinstance(nvml, DriverFailed) else None,
    )


async def _asked(question: Awaitable[T]) -> T | DriverFailed:
    """The answer, or why there is none: each of the two is a fact of its own."""
    try:
        return await question
    except DriverFailed as error:
        return error


async def _devices(client: GpuClient) -> tuple[str, str, str, tuple[DeviceFacts, ...]]:
    """(library, driver version, NVML version, devices)."""
    uses = await client.use()
    hello, report = await client.nvml()
    modes = {one.index: one for one in report.devices}
    facts = tuple(
        DeviceFacts(
            use=use,
            mig=mode.mig if mode else None,
            compute_mode=mode.compute_mode if mode else None,
            persistence=mode.persistence if mode else None,
        )
        for use in uses
        for mode in [modes.get(use.device.index)]
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
