"""Every call of cuda.h is classified, and what is made of it is up to date."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hotseat import native

SOURCES = Path(__file__).parents[2] / "native" / "interposer"
GENERATE = (sys.executable, str(SOURCES / "generate.py"))


@pytest.fixture(scope="module")
def header() -> Path:
    """NVIDIA's, from PyPI: it is needed by this test only, and not ours to give on."""
    files = importlib.metadata.files("nvidia-cuda-runtime") or []
    return Path(str(next(file.locate() for file in files if file.name == "cuda.h")))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_each_call_of_the_header_is_classified_and_the_wrappers_are_made_of_it(header: Path) -> None:
    done = run(*GENERATE, str(header), "--check")
    assert done.returncode == 0, done.stderr


def test_a_call_that_a_header_brings_is_an_error_until_it_is_classified(header: Path, tmp_path: Path) -> None:
    newer = tmp_path / "cuda.h"
    marker = "CUresult CUDAAPI cuInit("
    text = header.read_text()
    assert marker in text
    newer.write_text(text.replace(marker, f"CUresult CUDAAPI cuMemTeleport(CUdeviceptr dptr);\n{marker}", 1))
    done = run(*GENERATE, str(newer), "--check")
    assert done.returncode == 1
    assert "cuMemTeleport is not classified" in done.stderr


def test_the_library_asks_for_no_glibc_that_is_younger_than_2_17() -> None:
    """So that it loads in the containers of every engine: that of CentOS 7, which manylinux2014 stands for."""
    needed = re.findall(r"GLIBC_([\d.]+)", run("objdump", "-T", str(native.path("libhotseat-interposer.so"))).stdout)
    assert needed
    assert max(tuple(map(int, one.split("."))) for one in needed) <= (2, 17)


def test_the_library_has_every_gate_and_nothing_that_only_looks() -> None:
    exported = {
        line.split()[-1]
        for line in run("nm", "-D", "--defined-only", str(native.path("libhotseat-interposer.so"))).stdout.splitlines()
    }
    kinds = [line.split() for line in (SOURCES / "calls.txt").read_text().splitlines() if not line.startswith("#")]
    assert exported == {name for name, kind in kinds if kind != "pass"} | {"dlsym"}
