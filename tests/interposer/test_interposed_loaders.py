"""What other loaders than this host's glibc make of the library: a container with the setting may hold any of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hotseat import native
from hotseat.gpu.preload import LIBRARY
from hotseat.platforms.interposed import LIBRARY_INSIDE, Interposer
from hotseat.testing import daemons

TELL = "print([line.split()[-1] for line in open('/proc/self/maps') if line.endswith('interposer.so\\n')][:1])"


@pytest.fixture
def preloaded(tmp_path: Path) -> dict[str, str]:
    """The environment of a program in a container, with the container's files below `tmp_path`."""
    given = Interposer(library=native.path(LIBRARY), agents=tmp_path)
    for bind in given.binds():
        if bind.source == given.library:
            target = tmp_path / bind.target.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(bind.source)
    return {**os.environ, "LD_PRELOAD": f"{tmp_path}{LIBRARY_INSIDE}", "HOTSEAT_STORE": str(tmp_path / "none.sock")}


def run(*command: str, environment: dict[str, str]) -> tuple[int, str, str]:
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


def test_this_hosts_loader_finds_it(preloaded: dict[str, str]) -> None:
    code, said, complaints = run(sys.executable, "-c", TELL, environment=preloaded)
    assert (code, complaints) == (0, "")
    assert LIBRARY in said


@pytest.mark.musl
def test_a_program_of_musl_goes_on_without_it(preloaded: dict[str, str], tmp_path: Path) -> None:
    compiler = daemons.program("musl-gcc", package="musl-tools")
    source = tmp_path / "lives.c"
    source.write_text('#include <stdio.h>\nint main(void) { puts("it lives"); }\n')
    program = str(tmp_path / "lives")
    environment = {**preloaded, "LD_PRELOAD": ""}
    assert run(compiler, "-o", program, str(source), environment=environment)[0] == 0
    assert run(program, environment=preloaded) == (0, "it lives\n", "")
    assert run(program, environment={**preloaded, "LD_PRELOAD": str(native.path(LIBRARY))})[0] != 0, (
        "as it would without $LIB"
    )
