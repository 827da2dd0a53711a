"""Processes to work on, and the scripted driver: a libcuda and NVML in one file that does what a test wrote down."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotseat.gpu import procfs
from hotseat.gpu.client import GpuClient
from hotseat.words import ProcessRef

SOURCE = Path(__file__).parent / "scripted_driver.c"


def ref_of(pid: int) -> ProcessRef:
    start = procfs.start_time(pid)
    assert start is not None
    return ProcessRef(pid, start)


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
        return {"SCRIPTED_DRIVER": str(self.directory)}

    def client(self, **options: object) -> GpuClient:
        given = {"libcuda": str(self.library), "libnvml": str(self.library), "environ": self.environ} | options
        return GpuClient(**given)  # type: ignore[arg-type]


def compile_driver(directory: Path, *flags: str) -> Path:
    out = directory / "driver.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", *flags, "-o", str(out), str(SOURCE)]
    subprocess.run(command, check=True, timeout=60)
    return out


@pytest.fixture(scope="session")
def scripted_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def script(scripted_library: Path, tmp_path: Path) -> Script:
    return Script(library=scripted_library, directory=tmp_path)


@pytest.fixture
def process() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a process that does nothing until it is killed; ends them all."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait(10)
