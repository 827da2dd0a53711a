"""Private container engines for tests and the demo: a Docker daemon, a Podman service, an image to run in them.

Nothing of the host's own engines is touched: every store, socket and cgroup parent is beneath one directory or carries
its name, and `stop` takes all of it away. Several processes (pytest-xdist) share one engine through `shared`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from hotseat.errors import NotFound, PlatformFailed
from hotseat.testing import daemons

AnyEngine = TypeVar("AnyEngine", bound="Engine")

TINY_IMAGE = "hotseat-tiny:latest"
"""Busybox alone; every applet is a link in /bin."""


class Engine(Protocol):
    """What can be started, used by its socket, and stopped without a trace."""

    @property
    def socket(self) -> Path: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(kw_only=True)
class DockerDaemon:
    """A dockerd of its own, without bridge and firewall rules: containers use the host's network or none."""

    directory: Path
    live_restore: bool = False
    """Containers survive the daemon."""

    @property
    def socket(self) -> Path:
        return self.directory / "docker.sock"

    @property
    def cgroup_parent(self) -> str:
        return f"/hotseat-{self.directory.name}"

    def start(self) -> None:
        """Returns once it answers. `NotFound`: no dockerd here. `PlatformFailed`: it ended, with its last words."""
        program = daemons.program("dockerd", package="docker.io")
        self.directory.mkdir(parents=True, exist_ok=True)
        arguments = [
            program,
            f"--data-root={self.directory}/data",
            f"--exec-root={self.directory}/exec",
            f"--host=unix://{self.socket}",
            f"--pidfile={self.directory}/pid",
            f"--cgroup-parent={self.cgroup_parent}",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
        ]
        if self.live_restore:
            arguments.append("--live-restore")
        log = self.directory / "dockerd.log"
        daemons.spawn(arguments, directory=self.directory, log=log, env=os.environ)
        daemons.wait_listening(self.socket, directory=self.directory, log=log)

    def stop(self) -> None:
        """End it, its containers, and what it mounted."""
        daemons.remove_containers(self.socket)
        self.halt()
        daemons.remove_cgroups(self.cgroup_parent)
        daemons.erase(self.directory)

    def halt(self) -> None:
        """End the daemon alone; `start` brings it back with all that it knew."""
        daemons.end_daemon(self.directory)

    def run(self, *arguments: str) -> str:
        """One docker command on this daemon, as a person behind hotseat's back would give it."""
        return daemons.run(["docker", "--host", f"unix://{self.socket}", *arguments], env=os.environ)


@dataclass(kw_only=True)
class PodmanServer:
    """Podman with a store of its own, and its API service. Root or, as another user, rootless."""

    directory: Path
    user: tuple[int, int] | None = None
    """uid and gid to run as; needs root to be another one."""
    home: Path | None = None

    @property
    def socket(self) -> Path:
        return self.directory / "podman.sock"

    @property
    def command(self) -> tuple[str, ...]:
        """`podman` with this store, for a command line."""
        store = ("--root", f"{self.directory}/root", "--runroot", f"{self.directory}/run")
        return ("podman", *store, "--tmpdir", f"{self.directory}/tmp")

    @property
    def env(self) -> dict[str, str]:
        # With CONTAINER_HOST podman is a client of another service and refuses a store of its own.
        env = {
            name: value for name, value in os.environ.items() if name not in ("CONTAINER_HOST", "CONTAINER_CONNECTION")
        }
        env["CONTAINERS_CONF"] = f"{self.directory}/containers.conf"
        if self.user is not None:
            env |= {"HOME": str(self.home or self.directory), "XDG_RUNTIME_DIR": f"{self.directory}/runtime"}
        return env

    def start(self) -> None:
        """Returns once it answers. `NotFound`: no podman here. `PlatformFailed`: it ended, with its last words."""
        daemons.program("podman", package="podman")
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "runtime").mkdir(mode=0o700, exist_ok=True)
        (self.directory / "containers.conf").write_text(_CONTAINERS_CONF)
        if self.user is not None:
            for path in (self.directory, self.directory / "runtime"):
                os.chown(path, *self.user)
        log = self.directory / "podman.log"
        arguments = [*self.command, "system", "service", "--time=0", f"unix://{self.socket}"]
        daemons.spawn(arguments, directory=self.directory, log=log, env=self.env, user=self.user)
        daemons.wait_listening(self.socket, directory=self.directory, log=log)

    def stop(self) -> None:
        """End its containers, then the service; leave no file and no mount."""
        daemons.remove_containers(self.socket)
        self.halt()
        if self.user is not None:
            with contextlib.suppress(PlatformFailed):
                self.run("unshare", "rm", "-rf", f"{self.directory}/root", f"{self.directory}/run")
            for file in self.directory.glob("**/pause.pid"):  # it keeps the user namespace
                daemons.kill(int(file.read_text()))
        daemons.remove_cgroups("libpod_parent")  # what is in use stays
        daemons.erase(self.directory)

    def halt(self) -> None:
        """End the service alone: containers do not need it."""
        daemons.end_daemon(self.directory, grace=0.5)  # it waits for listeners to its events, in vain
        self.socket.unlink(missing_ok=True)

    def run(self, *arguments: str) -> str:
        """One podman command on this store, as a person behind hotseat's back would give it."""
        return daemons.run([*self.command, *arguments], env=self.env, user=self.user)


_CONTAINERS_CONF = """\
[containers]
# Raising a limit needs CAP_SYS_RESOURCE, which test machines lack.
default_ulimits = ["nofile=8192:8192", "nproc=8192:8192"]
[engine]
# crun refuses cgroup v1 beside a v2 tree.
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@contextlib.contextmanager
def shared(engine: AnyEngine, *, users: Path, image: Path | None = None) -> Iterator[AnyEngine]:
    """One engine for several processes: the first starts it (and imports `image`), the last stops it. `users` is a
    file to count them in."""
    with daemons.counted(users) as count:
        if count.value == 0:
            engine.start()
            if image is not None:
                load_image(engine, image)
        count.value += 1
    try:
        yield engine
    finally:
        with daemons.counted(users) as count:
            count.value -= 1
            if count.value == 0:
                engine.stop()


def load_image(engine: Engine, tar: Path, *, reference: str = TINY_IMAGE) -> None:
    """Import a root file system. `PlatformFailed` with the daemon's words if it will not."""
    name, _, tag = reference.partition(":")
    target = f"/v1.40/images/create?fromSrc=-&repo={name}&tag={tag or 'latest'}"
    status, answer = daemons.request(engine.socket, "POST", target, body=tar.read_bytes(), timeout=300.0)
    if status != 200 or b"errorDetail" in answer:
        raise PlatformFailed(f"the image was not imported: {answer.decode(errors='replace')}", hint="is the disk full?")


def has_image(engine: Engine, *, reference: str) -> bool:
    return daemons.request(engine.socket, "GET", f"/v1.40/images/{reference}/json")[0] == 200


def tiny_image(path: Path) -> Path:
    """A root file system with busybox alone, as a tar file to import. `NotFound`: no static busybox here."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise NotFound("no busybox on this machine", hint="apt-get install busybox-static")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True, timeout=10).stdout.split()
    with tarfile.open(path, "w") as tar:
        for name in ("bin", "tmp", "proc", "sys", "dev", "etc", "mnt"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add(Path(busybox).resolve(), "bin/busybox")
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
    return path
