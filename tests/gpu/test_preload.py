"""What is said of a process that has the interposer, or has it not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hotseat import native
from hotseat.gpu import preload
from hotseat.gpu.preload import Preload, Preloads
from hotseat.gpu.procfs import start_time
from hotseat.words import ProcessRef


def fake(root: Path, *, libc: str = "", text: str = "", environ: str = "", mapped: str = "") -> ProcessRef:
    """A process 9 below `root`."""
    here = root / "9"
    (here / "root/lib").mkdir(parents=True)
    lines = [f"7f00-7f10 r-xp 0 0:1 1 {path}" for path in (libc, mapped) if path]
    (here / "maps").write_text("\n".join(lines))
    (here / "environ").write_text(environ)
    if libc:
        (here / "root" / libc.lstrip("/")).write_bytes(
            b"\x7fELF\0GNU C Library (Some 1) stable " + text.encode() + b".\n"
        )
    return ProcessRef(9, 1)


@pytest.mark.parametrize(
    ("libc", "text", "found"),
    [
        ("/lib/libc.so.6", "release version 2.31", "2.31"),
        ("/lib/libc-2.28.so", "release version 2.28", "2.28"),
        ("/lib/ld-musl-x86_64.so.1", "", "musl"),
        ("/lib/libc.so.6", "what is this", ""),
        ("/lib/other.so", "release version 2.31", ""),
    ],
)
def test_its_libc(tmp_path: Path, libc: str, text: str, found: str) -> None:
    assert preload.read(fake(tmp_path, libc=libc, text=text), proc=tmp_path).libc == found


def test_what_it_was_started_with_and_what_its_loader_took(tmp_path: Path) -> None:
    named = "LD_PRELOAD=/x/libfoo.so:/usr/lib/hotseat/libhotseat-interposer.so\0HOTSEAT_STORE=/s\0SECRET=1\0"
    ref = fake(tmp_path, environ=named)
    assert preload.read(ref, proc=tmp_path) == Preload(named=True, store=True)
    (tmp_path / "9/maps").write_text("7f00-7f10 r-xp 0 0:1 1 /usr/lib/hotseat/libhotseat-interposer.so (deleted)\n")
    assert preload.read(ref, proc=tmp_path) == Preload(named=True, store=True, loaded=True)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (Preload(), "was started without the interposer"),
        (Preload(static=True, named=True), "is a static binary"),
        (Preload(libc="musl"), "runs on musl"),
        (Preload(libc="2.9"), "has glibc 2.9, and the interposer needs 2."),
        (Preload(libc="2.99", named=True), "its loader did not take it"),
    ],
)
def test_why_it_has_it_not(seen: Preload, said: str) -> None:
    assert said in seen.why_not()


def test_the_library_says_which_glibc_it_needs() -> None:
    listed = subprocess.run(
        ["readelf", "-V", str(native.path(preload.LIBRARY))], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    needed = preload.needed_glibc()
    assert f"GLIBC_{needed} " in listed
    assert needed.startswith("2.")


def test_a_living_process_and_one_that_is_gone() -> None:
    library = str(native.path(preload.LIBRARY))
    environment = {**os.environ, "LD_PRELOAD": library, "HOTSEAT_STORE": "/nonexistent/store.sock"}
    script = "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()  # it is what it was started as by then
        start = start_time(child.pid)
        assert start is not None
        ref = ProcessRef(child.pid, start)
        preloads = Preloads()
        seen = preloads([ref])[ref]
        assert (seen.loaded, seen.named, seen.store, seen.static, seen.obstacle()) == (True, True, True, False, "")
        assert float(seen.libc) > 2
        child.kill()
        child.wait()
    assert preload.read(ref) == Preload()
    assert preloads([ref])[ref] is seen, "read once"
