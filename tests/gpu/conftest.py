"""Fixtures of the GPU tests."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from gpu_bench import Bench, DoubleBench, EmulatedBench, Script, compile_driver


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


@pytest.fixture(params=["double", pytest.param("emulated", marks=pytest.mark.emulated)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """The port's two implementations, each with a machine to work on."""
    if request.param == "double":
        double = DoubleBench()
        yield double
        await double.driver.aclose()
        return
    with EmulatedBench.open() as emulated:
        yield emulated
        await emulated.driver.aclose()
