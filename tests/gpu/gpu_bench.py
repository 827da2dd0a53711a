"""What the GPU tests work with: processes, the scripted driver, and one bench each for the double and the emulation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from hotseat.emulator.faults import Fault as EmulatedFault
from hotseat.emulator.faults import FaultKind
from hotseat.emulator.node import EmulatedNode
from hotseat.gpu import procfs
from hotseat.gpu.client import GpuClient
from hotseat.gpu.port import CheckpointDriver, DeviceTruth
from hotseat.testing.gpu import Effect, FakeGpu, Fault
from hotseat.words import ProcessRef

HERE = Path(__file__).parent
MIB = 1 << 20


def ref_of(pid: int) -> ProcessRef:
    start = procfs.start_time(pid)
    assert start is not None
    return ProcessRef(pid, start)


def exists(ref: ProcessRef) -> bool:
    return procfs.start_time(ref.pid) == ref.start_time


def wait_dead(pid: int) -> None:
    """Until a child is a zombie; it is not reaped."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


async def until(condition: Callable[[], bool | Awaitable[bool]], *, deadline: float = 20.0) -> None:
    """For what other processes do, of which no event tells us."""
    async with asyncio.timeout(deadline):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.005)


# The scripted driver


def compile_driver(directory: Path, *flags: str) -> Path:
    out = directory / "driver.so"
    source = str(HERE / "scripted_driver.c")
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", *flags, "-o", str(out), source]
    subprocess.run(command, check=True, timeout=60)
    return out


class Script:
    """The directory that the scripted driver reads, and clients that load this driver."""

    def __init__(self, *, library: Path, directory: Path) -> None:
        self.library = library
        self.directory = directory

    def set(self, call: str, text: str, *, pid: int | None = None) -> None:
        (self.directory / (call if pid is None else f"{call}.{pid}")).write_text(text)

    def unset(self, call: str, *, pid: int | None = None) -> None:
        (self.directory / (call if pid is None else f"{call}.{pid}")).unlink()

    @property
    def calls(self) -> list[tuple[str, int]]:
        log = self.directory / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(name, int(pid)) for name, pid in (line.split() for line in lines)]

    @property
    def environ(self) -> dict[str, str]:
        search = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return {"SCRIPTED_DRIVER": str(self.directory)} | search

    def client(self, **options: object) -> GpuClient:
        given = {"libcuda": str(self.library), "libnvml": str(self.library), "environ": self.environ} | options
        return GpuClient(**given)  # type: ignore[arg-type]


# Benches of the contract


class Bench(ABC):
    """A machine with two devices of `CAPACITY` bytes, the port's implementation, and hands to move things."""

    CAPACITY = 64 * MIB
    driver: CheckpointDriver
    truth: DeviceTruth

    @abstractmethod
    async def start(self, holds: Mapping[int, int], *, group: int = 0) -> ProcessRef:
        """A process that uses CUDA and holds memory. `group`: a communicator it belongs to."""

    @abstractmethod
    async def plain(self) -> ProcessRef:
        """A process without CUDA."""

    @abstractmethod
    async def end(self, ref: ProcessRef) -> None:
        """Returns when the device has its memory back."""

    @abstractmethod
    def freeze(self, ref: ProcessRef) -> None: ...

    @abstractmethod
    def thaw(self, ref: ProcessRef) -> None: ...

    @abstractmethod
    def fault(self, effect: Effect, op: str, *, ref: ProcessRef | None = None, result: int = 999) -> None: ...

    @abstractmethod
    def clear_faults(self) -> None: ...


class DoubleBench(Bench):
    def __init__(self) -> None:
        self.gpu = FakeGpu(devices=[self.CAPACITY, self.CAPACITY])
        self.driver = self.truth = self.gpu
        self._pid = 1000

    def _next(self) -> ProcessRef:
        self._pid += 1
        return ProcessRef(self._pid, 7)

    async def start(self, holds: Mapping[int, int], *, group: int = 0) -> ProcessRef:
        return self.gpu.start(self._next(), holds, group=str(group) if group else "")

    async def plain(self) -> ProcessRef:
        return self.gpu.start(self._next(), cuda=False)

    async def end(self, ref: ProcessRef) -> None:
        self.gpu.end(ref)

    def freeze(self, ref: ProcessRef) -> None:
        self.gpu.freeze(ref)

    def thaw(self, ref: ProcessRef) -> None:
        self.gpu.thaw(ref)

    def fault(self, effect: Effect, op: str, *, ref: ProcessRef | None = None, result: int = 999) -> None:
        self.gpu.faults.append(Fault(op=op, effect=effect, pid=ref and ref.pid, result=result))

    def clear_faults(self) -> None:
        self.gpu.faults.clear()


class EmulatedBench(Bench):
    """The real client; processes that load the emulated libcuda."""

    KINDS: Mapping[Effect, FaultKind] = {
        Effect.BUSY: FaultKind.LOCK_TIMEOUT,
        Effect.HANG: FaultKind.HANG,
        Effect.RESULT: FaultKind.RESULT,
        Effect.DIE: FaultKind.DIE,
        Effect.KEEP_MEMORY: FaultKind.KEEP_MEMORY,
    }

    def __init__(self, node: EmulatedNode) -> None:
        self.node = node
        self._environ = os.environ | node.environment()
        self.client = GpuClient(environ=self._environ)
        self.driver = self.truth = self.client
        self.children: dict[int, subprocess.Popen[str]] = {}

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Iterator[EmulatedBench]:
        with EmulatedNode.temporary(devices=[cls.CAPACITY, cls.CAPACITY], context_bytes=2 * MIB) as node:
            bench = cls(node)
            try:
                yield bench
            finally:
                for child in bench.children.values():
                    child.kill()
                    child.communicate()

    async def start(self, holds: Mapping[int, int], *, group: int = 0) -> ProcessRef:
        given = [f"{device}:{nbytes}" for device, nbytes in holds.items()]
        return await asyncio.to_thread(self.spawn, [sys.executable, str(HERE / "cuda_holder.py"), str(group), *given])

    async def plain(self) -> ProcessRef:
        return await asyncio.to_thread(self.spawn, ["sh", "-c", "echo ready; read line"])

    def spawn(self, command: list[str]) -> ProcessRef:
        child = subprocess.Popen(command, env=self._environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.children[child.pid] = child
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return ref_of(child.pid)

    async def end(self, ref: ProcessRef) -> None:
        child = self.children.pop(ref.pid)
        child.kill()
        await asyncio.to_thread(child.communicate)

    def freeze(self, ref: ProcessRef) -> None:
        os.kill(ref.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, ref.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self, ref: ProcessRef) -> None:
        os.kill(ref.pid, signal.SIGCONT)

    def fault(self, effect: Effect, op: str, *, ref: ProcessRef | None = None, result: int = 999) -> None:
        self.node.set_fault(
            EmulatedFault(
                kind=self.KINDS[effect],
                op=op,
                pid=ref and ref.pid,
                value=result if effect is Effect.RESULT else 0,
                times=None if effect is Effect.HANG else 1,
            )
        )

    def clear_faults(self) -> None:
        self.node.clear_faults()
