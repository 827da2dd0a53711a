"""What the kernel says of a container, asked of cgroupfs and /proc alone: its processes, whether they are frozen.

A container's cgroup is found from its first process: the part of the path up to the name that holds the container's
id. Docker and Podman both do so, with cgroupfs and with systemd, on cgroup v1 and v2, with runc and crun (which puts
processes one level lower), and whatever cgroup namespace the container lives in, since the path is read from outside.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from hotseat.errors import PlatformFailed, ProcessGone
from hotseat.linux.port import HostMemory
from hotseat.platforms import _kernel
from hotseat.platforms.port import Container, Status
from hotseat.words import ProcessRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """One incarnation of one container."""

    name: str
    main: ProcessRef
    cgroup: Path | None
    """Its directory in the hierarchy that freezes; None if it has none of its own (rootless Podman on cgroup v1)."""

    def processes(self) -> list[ProcessRef]:
        """`ProcessGone` if its first process ended: what the cgroup holds then may be its next incarnation."""
        self._check()
        found = self._by_namespace() if self.cgroup is None else _refs(_kernel.pids_in(self.cgroup))
        self._check()
        return found

    def frozen(self) -> bool:
        return self.cgroup is not None and _kernel.frozen(self.cgroup)

    def thaw(self) -> None:
        if self.cgroup is not None and self.frozen():
            _kernel.thaw(self.cgroup)

    def memory(self) -> HostMemory:
        self._check()
        return _kernel.memory(self.main.pid)

    async def wait_frozen(self, wanted: bool, *, deadline: float) -> None:
        end = time.monotonic() + deadline
        while self.frozen() is not wanted:
            if not _kernel.alive(self.main):
                self._check()
            if time.monotonic() > end:
                raise PlatformFailed(
                    f"{self.name} is not {'frozen' if wanted else 'thawed'} after {deadline:g} s",
                    hint="a thread in uninterruptible sleep (state D in `ps -L`) holds it up, or somebody thaws it",
                )
            await asyncio.sleep(0.002)

    def _check(self) -> None:
        if not _kernel.alive(self.main):
            raise ProcessGone(f"the first process of {self.name} ({self.main.pid}) ended", hint="inspect it again")

    def _by_namespace(self) -> list[ProcessRef]:
        """Its pid namespace holds all of it, `exec` too; without one of its own there is only the tree."""
        own = _pid_namespace(self.main.pid)
        if own is None or own == _pid_namespace(os.getpid()):
            return _refs(_kernel.descendants(self.main.pid))
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        return _refs(sorted(pid for pid in pids if _pid_namespace(pid) == own))


class Roots:
    """What was found out of each container, kept as long as its incarnation lives."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Root]] = {}

    def seen(self, container: Container) -> Container:
        """Take note of a container just inspected. Returns it, as paused if its cgroup is frozen: someone froze it
        behind the daemon's back."""
        if container.pid is None:
            self._known.pop(container.id, None)
            return container
        try:
            root = self.of(container)
            if container.status is Status.RUNNING and root.frozen():
                return replace(container, status=Status.PAUSED)
        except (ProcessGone, OSError):
            pass  # it ended since the daemon answered; the next look will say so
        return container

    def of(self, container: Container) -> Root:
        started_at, root = self._known.get(container.id, (None, None))
        if root is None or started_at != container.started_at:
            root = _find(container)
            self._known[container.id] = (container.started_at, root)
        return root

    def keep_only(self, ids: Collection[str]) -> None:
        for identity in self._known.keys() - set(ids):
            del self._known[identity]


def _find(container: Container) -> Root:
    if container.pid is None:
        raise ProcessGone(f"{container.name} does not run ({container.status})", hint="start it first")
    main = _kernel.ref(container.pid)
    path = own_part(_kernel.cgroup_path(main.pid), container.id)
    cgroup = None if path is None else _kernel.freezer_mount()[1] / path.lstrip("/")
    return Root(name=container.name, main=main, cgroup=cgroup)


def own_part(path: str, identity: str) -> str | None:
    """ "/docker/4f1c.../init.scope" -> "/docker/4f1c..."; None if no part of the path names the container."""
    parts = path.split("/")
    for count, part in enumerate(parts, start=1):
        if identity in part:
            return "/".join(parts[:count])
    return None


def _refs(pids: Collection[int]) -> list[ProcessRef]:
    found = []
    for pid in pids:
        try:
            found.append(_kernel.ref(pid))
        except ProcessGone:
            continue
    return found


def _pid_namespace(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return None
