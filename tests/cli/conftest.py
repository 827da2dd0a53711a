"""Doubles behind the ports for the commands: a machine with one GPU whose workloads park and seat in memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hotseat.demo import EngineSpec, RunningEngine, running
from hotseat.emulator import EmulatedNode
from hotseat.errors import HotseatError, NoRoom, NotFound
from hotseat.platforms.port import Container, Platform, Status
from hotseat.swap.port import Drain, Observation, Probe, Progress, Workload
from hotseat.words import (
    Device,
    DeviceUse,
    Direction,
    PhaseTime,
    ProcessRef,
    ProcessState,
    State,
    SwapReport,
)

GIB = 1 << 30
DEVICE = Device(index=0, uuid="GPU-0", name="Emulated GPU", total_bytes=10 * GIB, emulated=True)


@dataclass
class Machine:
    """Swapper, platforms and devices at once; `sizes` are the workloads' device bytes, `parked` those off the GPU."""

    sizes: dict[str, int]
    parked: set[str] = field(default_factory=set)
    failing: dict[str, HotseatError] = field(default_factory=dict)
    """Workload -> what its next swap raises."""
    strangers: dict[int, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    @property
    def swapper(self) -> Machine:
        return self

    @property
    def devices(self) -> Machine:
        return self

    @property
    def platforms(self) -> Mapping[str, Platform]:
        return {"docker": self}  # type: ignore[dict-item]

    # Platform

    name = "docker"

    async def list(self) -> Sequence[Container]:
        return [self.container(name) for name in self.sizes]

    def container(self, name: str) -> Container:
        return Container(
            platform="docker",
            id=f"id-{name}",
            name=name,
            image="engine",
            status=Status.PAUSED if name in self.parked else Status.RUNNING,
            pid=100 + list(self.sizes).index(name),
            started_at=1.0,
            labels={"hotseat.models": f"{name}-8b, {name}"},
        )

    # Runtime

    async def find_workload(self, ref: str) -> Workload:
        name = ref.removeprefix("docker:").removeprefix("id-")
        if name not in self.sizes:
            raise NotFound(f"no container named {ref!r}", hint="hotseat ps")
        return Workload(name=name, container=self.container(name), platform=self)  # type: ignore[arg-type]

    # DeviceTruth

    async def use(self) -> Sequence[DeviceUse]:
        held = {
            self.container(name).pid or 0: count
            for name, count in self.sizes.items()
            if name not in self.parked and count
        } | self.strangers
        used = sum(held.values())
        return [DeviceUse(device=DEVICE, used_bytes=used, free_bytes=DEVICE.total_bytes - used, processes=held)]

    # Swapper

    async def observe(self, workload: Workload) -> Observation:
        name = workload.name
        process = ProcessRef(workload.container.pid or 0, 1)
        parked = name in self.parked
        size = {0: self.sizes[name]} if self.sizes[name] else {}
        return Observation(
            state=State.PARKED if parked else State.SEATED,
            container=workload.container,
            processes=(process,),
            cuda={process: ProcessState.RUNNING} if size else {},
            gpu_bytes={} if parked else size,
            parked_gpu_bytes=size if parked else {},
            host_bytes=GIB,
        )

    async def known(self) -> Sequence[tuple[str, State, str]]:
        return [(f"docker:id-{name}", State.PARKED, "") for name in self.parked]

    async def swap_out(
        self, workload: Workload, *, keep: bool = False, drain: Drain | None = None, progress: Progress | None = None
    ) -> SwapReport:
        return self._swap(workload.name, Direction.OUT, progress)

    async def swap_in(
        self,
        workload: Workload,
        *,
        caps: Mapping[int, int] | None = None,
        probe: Probe | None = None,
        progress: Progress | None = None,
    ) -> SwapReport:
        return self._swap(workload.name, Direction.IN, progress)

    def _swap(self, name: str, direction: Direction, progress: Progress | None) -> SwapReport:
        self.log.append(f"{direction} {name}")
        if error := self.failing.pop(name, None):
            raise error
        done_before = (name in self.parked) == (direction is Direction.OUT)
        if direction is Direction.IN and not done_before:
            seated = sum(count for other, count in self.sizes.items() if other not in self.parked)
            if seated + self.sizes[name] > DEVICE.total_bytes:
                raise NoRoom(f"{name} does not fit", rule="reserve before restore", hint="park someone")
        phases = (
            ()
            if done_before
            else (
                PhaseTime(name="find", seconds=0.002),
                PhaseTime(name="checkpoint" if direction is Direction.OUT else "restore", seconds=2.0, part="driver"),
            )
        )
        for phase in phases:
            if progress:
                progress(phase.name, "start")
                progress(phase.name, "done")
        (self.parked.add if direction is Direction.OUT else self.parked.discard)(name)
        return SwapReport(
            workload=name,
            direction=direction,
            phases=phases,
            gpu_bytes={0: self.sizes[name]} if phases else {},
            processes=2,
            cuda_processes=1,
            threads=30,
            started_at=1700000000.0,
        )

    async def aclose(self) -> None:
        pass


@pytest.fixture
def machine() -> Machine:
    """Two workloads that do not fit together (b is parked), and one container without a GPU."""
    return Machine(sizes={"a": 8 * GIB, "b": 6 * GIB, "web": 0}, parked={"b"})


@dataclass(kw_only=True)
class Shell:
    """`hotseat` as a program, on an emulated node and a state directory of the test's own."""

    environment: dict[str, str]
    directory: Path

    def __call__(self, *arguments: str, code: int = 0, deadline: float = 90.0) -> str:
        """Run it to its end; its exit code must be `code`. Returns standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "hotseat", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=deadline,
            check=False,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str, code: int = 0, deadline: float = 90.0) -> Any:
        return json.loads(self(*arguments, "--json", code=code, deadline=deadline))

    def processes(self) -> list[int]:
        """Those that still run with this test's environment, our own excepted."""
        wanted = f"HOTSEAT_TEST_OF={self.directory}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with EmulatedNode.temporary(devices=[256 << 20]) as node:
        environment = {
            **os.environ,
            **node.environment(),
            "HOTSEAT_STATE": str(tmp_path / "state"),
            "HOTSEAT_CONTROL": str(tmp_path / "control.sock"),
            "HOTSEAT_TEST_OF": str(tmp_path),
        }
        yield Shell(environment=environment, directory=tmp_path)


@pytest.fixture
async def engine(shell: Shell) -> AsyncIterator[RunningEngine]:
    """A demo engine of two processes that hotseat did not start."""
    spec = EngineSpec(weights_bytes=8 << 20, kv_bytes=1 << 20, processes=2)
    async with running(spec, environment=shell.environment) as engine:
        yield engine
