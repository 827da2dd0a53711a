"""Real processes to freeze: `victim.c`, compiled once a session, and cgroups of our own in both versions."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

import hotseat
from hotseat.linux import cgroup, proc
from hotseat.linux.cgroup import Cgroup
from hotseat.linux.freezer import PtraceFreezer
from hotseat.linux.owners import ProcessOwners, ThreadOwners
from hotseat.words import ProcessRef

DEADLINE = 20.0
"""Seconds; generous, for a test that passes never waits so long."""


def wait_until(condition: Callable[[], object], *, what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"never came true: {what}"
        time.sleep(0.002)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """`await until(condition)`, while the event loop runs."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():  # noqa: ASYNC110 - it comes true in another process
                await asyncio.sleep(0.002)

    return wait


class Victim:
    """One run of victim.c. Its parent is a shell, so that no test process is the parent of what it traces."""

    def __init__(self, *, program: Path, mode: str, file: Path, n: int, direct: bool, into: Path | None) -> None:
        command = [str(program), mode, str(file), str(n)]
        file.write_bytes(bytes(8 * 4096))
        if direct:
            self.popen = subprocess.Popen(command, start_new_session=True)
            self.pid = self.popen.pid
        else:
            move = f"echo 0 > {into}/cgroup.procs; " if into else ""
            shell = ["/bin/sh", "-c", f'({move}exec "$@") >/dev/null & echo $!; wait', "sh", *command]
            self.popen = subprocess.Popen(shell, stdout=subprocess.PIPE, start_new_session=True)
            assert self.popen.stdout is not None
            self.pid = int(self.popen.stdout.readline())
            self.popen.stdout.close()
        descriptor = os.open(file, os.O_RDWR)
        self.counters = mmap.mmap(descriptor, 8 * 4096)
        os.close(descriptor)
        wait_until(lambda: self.count(0), what=f"victim {mode} is in place")

    def count(self, index: int) -> int:
        return int(struct.unpack_from("=Q", self.counters, 8 * index)[0])

    def set(self, index: int, value: int) -> None:
        struct.pack_into("=Q", self.counters, 8 * index, value)

    def everything(self) -> bytes:
        return self.counters[:]

    @property
    def ref(self) -> ProcessRef:
        found = proc.ref(self.pid)
        assert found is not None
        return found

    def family(self) -> list[ProcessRef]:
        return proc.refs(proc.descendants(self.pid))

    def rests(self, seconds: float = 0.05) -> bool:
        """No counter moves."""
        before = self.everything()
        time.sleep(seconds)
        return before == self.everything()

    def runs(self, index: int = 1) -> bool:
        before = self.count(index)
        wait_until(lambda: self.count(index) != before, what=f"counter {index} moves")
        return True

    def states(self) -> set[str]:
        return {found.state for tid in proc.task_ids(self.pid) if (found := proc.stat(tid))}

    def end(self) -> None:
        """The whole process group at once: a fork storm outruns anything else."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(DEADLINE)


@pytest.fixture(scope="session")
def victim_program(session_directory: Path) -> Path:
    program = session_directory / "victim"
    with open(session_directory / "victim.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            source = Path(__file__).with_name("victim.c")
            subprocess.run(
                ["cc", "-O1", "-Wall", "-Wextra", "-pthread", str(source), "-o", str(program) + ".new"], check=True
            )
            os.rename(str(program) + ".new", program)
            session_directory.chmod(0o755)
    return program


@pytest.fixture
def victim(victim_program: Path, tmp_path: Path) -> Iterator[Callable[..., Victim]]:
    made: list[Victim] = []

    def make(mode: str, n: int = 1, *, direct: bool = False, into: Path | None = None) -> Victim:
        file = tmp_path / f"{mode}{len(made)}"
        made.append(Victim(program=victim_program, mode=mode, file=file, n=n, direct=direct, into=into))
        return made[-1]

    yield make
    for one in reversed(made):  # what traces before what it traces
        one.end()


@pytest.fixture(params=["process", "thread"])
async def freezer(request: pytest.FixtureRequest) -> AsyncIterator[PtraceFreezer]:
    """With its owner as a process (the rule) and as a thread (the exception)."""
    made = PtraceFreezer(made_by=ProcessOwners() if request.param == "process" else ThreadOwners())
    yield made
    await made.aclose()


@pytest.fixture
async def process_freezer() -> AsyncIterator[PtraceFreezer]:
    made = PtraceFreezer(made_by=ProcessOwners())
    yield made
    await made.aclose()


def cgroup_tops() -> list[Cgroup]:
    """A cgroup of either version that can freeze, as far as this host has them."""
    found = [cgroup.of(os.getpid(), controller="freezer"), cgroup.of(os.getpid(), controller=cgroup.V2)]
    return list({one.top: one for one in found if one is not None}.values())


@pytest.fixture(params=[f"v{one.version}" for one in cgroup_tops()])
def own(request: pytest.FixtureRequest) -> Iterator[Cgroup]:
    """An empty cgroup of each version that this host has. Ends everything in it afterwards."""
    top = next(one for one in cgroup_tops() if request.param == f"v{one.version}").top
    path = top / f"hotseat-test-{uuid.uuid4().hex[:12]}"
    path.mkdir()
    found = cgroup.at(path)
    yield found
    found.write(*(("freezer.state", "THAWED") if found.version == 1 else ("cgroup.freeze", "0")))
    for pid in found.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: _removed(path), what="the cgroup is empty")


def _removed(path: Path) -> bool:
    """The dying keep a cgroup busy a moment longer than they are listed."""
    with contextlib.suppress(OSError):
        for directory, _, _ in os.walk(path, topdown=False):
            os.rmdir(directory)
    return not path.exists()


class Nobody:
    """A user without any rights, with a directory of its own in which `victim` lies."""

    def __init__(self, *, directory: str) -> None:
        self.directory = directory
        source = str(Path(hotseat.__file__).parent.parent)
        self._environment = {**os.environ, "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}
        # The interpreter of the tests may lie in a home directory that others cannot read.
        candidates = [sys.executable, os.path.realpath(sys.executable), "/usr/bin/python3"]
        check = "import os, sys, hotseat.words; sys.exit(not os.access(sys.executable, os.X_OK))"
        self._python = next(path for path in candidates if self._run(path, "-c", check).returncode == 0)

    def python(self, script: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return self._run(self._python, "-c", script, *arguments)

    def _run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
        return subprocess.run(
            [*drop, *command],
            check=False,
            capture_output=True,
            cwd=self.directory,
            env=self._environment,
            timeout=DEADLINE,
        )


@pytest.fixture
def nobody(victim_program: Path) -> Iterator[Nobody]:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        shutil.copy(victim_program, directory)
        yield Nobody(directory=directory)
