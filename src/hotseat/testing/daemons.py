"""How `hotseat.testing.engines` starts and ends daemons: no client library, nothing left behind."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hotseat.errors import NotFound, PlatformFailed, ProcessGone
from hotseat.linux import proc
from hotseat.linux.identity import Process
from hotseat.words import ProcessRef

START_DEADLINE = 60.0
"""Seconds until a daemon listens on a busy machine."""
STOP_DEADLINE = 30.0


def program(name: str, *, package: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise NotFound(f"no {name} on this machine", hint=f"apt-get install {package}")
    return found


def spawn(
    arguments: list[str], *, directory: Path, log: Path, env: Mapping[str, str], user: tuple[int, int] | None = None
) -> None:
    """Start a daemon that is nobody's child: another of the processes that share it may be the one to end it."""
    uid, gid = user or (None, None)
    started = subprocess.run(
        ["sh", "-c", '"$@" </dev/null >>"$LOG" 2>&1 & echo $!', "sh", *arguments],
        env={**env, "LOG": str(log)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=10,
        check=True,
        start_new_session=True,
        user=uid,
        group=gid,
        extra_groups=[] if user else None,
        cwd="/",
    )
    ref = proc.ref(int(started.stdout))
    if ref is not None:
        (directory / "daemon.json").write_text(json.dumps(ref))


def run(arguments: Sequence[str], *, env: Mapping[str, str], user: tuple[int, int] | None = None) -> str:
    """Its output. `PlatformFailed` with what it said on stderr if it fails."""
    uid, gid = user or (None, None)
    done = subprocess.run(
        arguments,
        env=dict(env),
        user=uid,
        group=gid,
        extra_groups=[] if user else None,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise PlatformFailed(f"{' '.join(arguments)}: {done.stderr.strip()}", hint="try it by hand")
    return done.stdout


def daemon(directory: Path) -> ProcessRef | None:
    try:
        return ProcessRef(*json.loads((directory / "daemon.json").read_text()))
    except FileNotFoundError:
        return None


def end_daemon(directory: Path, *, grace: float = STOP_DEADLINE) -> None:
    """SIGTERM, `grace` seconds, SIGKILL."""
    ref = daemon(directory)
    if ref is None:
        return
    beneath = set(proc.refs(proc.descendants(ref.pid))) - {ref}  # rootless Podman is two processes
    with contextlib.suppress(ProcessGone), Process.open(ref) as process:
        process.signal(signal.SIGTERM)
        end = time.monotonic() + grace
        while process.alive() and time.monotonic() < end:
            time.sleep(0.02)
    for one in (ref, *beneath):
        if proc.same(one):
            kill(one.pid)
    (directory / "daemon.json").unlink(missing_ok=True)


def kill(pid: int) -> None:
    """SIGKILL, and wait for the end."""
    ref = proc.ref(pid)
    if ref is None:
        return
    with contextlib.suppress(ProcessGone), Process.open(ref) as process:
        process.signal(signal.SIGKILL)
        end = time.monotonic() + STOP_DEADLINE
        while process.alive() and time.monotonic() < end:
            time.sleep(0.02)


def wait_listening(path: Path, *, directory: Path, log: Path) -> None:
    end = time.monotonic() + START_DEADLINE
    while True:
        with contextlib.suppress(OSError):
            if request(path, "GET", "/_ping")[0] == 200:
                return
        ref = daemon(directory)
        if ref is None or not proc.refs([ref.pid]) or time.monotonic() > end:
            words = log.read_bytes()[-2000:].decode(errors="replace") if log.exists() else ""
            end_daemon(directory)
            raise PlatformFailed(f"no daemon listens at {path}: {words}", hint=f"see {log}")
        time.sleep(0.05)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, *, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def request(
    path: Path, method: str, target: str, *, body: bytes | None = None, timeout: float = 60.0
) -> tuple[int, bytes]:
    """One request to an engine's socket, without any client library: (status, body)."""
    with contextlib.closing(_Connection(path, timeout=timeout)) as connection:
        connection.request(method, target, body=body, headers={"Content-Type": "application/x-tar"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def remove_containers(path: Path) -> None:
    """All of them, whatever leans on what: Podman keeps a container whose network another one shares."""
    with contextlib.suppress(OSError):
        for _ in range(5):
            rows = json.loads(request(path, "GET", "/v1.40/containers/json?all=1")[1])
            for row in rows:
                # Killed first: Podman's forced removal waits ten seconds for a program that does not listen to SIGTERM.
                request(path, "POST", f"/v1.40/containers/{row['Id']}/kill")
                request(path, "DELETE", f"/v1.40/containers/{row['Id']}?force=1")
            if not rows:
                return


def remove_cgroups(parent: str) -> None:
    """Empty directories of this name, in every hierarchy."""
    for mount in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
        top = mount / parent.lstrip("/")
        if top.is_dir():
            for here, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(here)


def erase(directory: Path) -> None:
    """All files, and first all mounts, beneath it."""
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file]
    for point in sorted((p for p in points if p.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False, timeout=10, capture_output=True)
    shutil.rmtree(directory, ignore_errors=True)


@dataclass
class Count:
    value: int


@contextlib.contextmanager
def counted(path: Path) -> Iterator[Count]:
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        count = Count(int(file.read() or 0))
        yield count
        file.seek(0)
        file.truncate()
        file.write(str(count.value))
