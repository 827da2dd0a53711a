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

from hotseat.errors import PlatformFailed, ProcessGone
from hotseat.linux import cgroup as cgroups
from hotseat.linux import memory, proc
from hotseat.linux.cgroup import Cgroup
from hotseat.linux.port import HostMemory
from hotseat.platforms.port import Container, Status
from hotseat.words import ProcessRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """One incarnation of one container."""

    name: str
    main: ProcessRef
    cgroup: Cgroup | None
    """In the hierarchy that freezes; None if it has none of its own (rootless Podman on cgroup v1)."""

    def processes(self) -> list[ProcessRef]:
        """`ProcessGone` if its first process ended: what the cgroup holds then may be its next incarnation."""
        self._check()
        found = self._by_namespace() if self.cgroup is None else self.cgroup.processes()
        self._check()
        return found

    def frozen(self) -> bool:
        return any(cgroup.frozen() for cgroup in self._freezing())

    async def thaw(self, *, deadline: float) -> None:
        """If it is frozen. `FreezeFailed` if a cgroup above it is."""
        for cgroup in self._freezing():
            if cgroup.frozen():
                await cgroup.thaw(deadline=deadline)

    def memory(self) -> HostMemory:
        self._check()
        return memory.of_process(self.main.pid)

    async def wait_frozen(self, wanted: bool, *, deadline: float) -> None:
        end = time.monotonic() + deadline
        while self.frozen() is not wanted:
            self._check()
            if time.monotonic() > end:
                raise PlatformFailed(
                    f"{self.name} is not {'frozen' if wanted else 'thawed'} after {deadline:g} s",
                    hint="a thread in uninterruptible sleep (state D in `ps -L`) holds it up, or somebody thaws it",
                )
            await asyncio.sleep(0.002)

    def _freezing(self) -> list[Cgroup]:
        """Its own, and the one that its first process is in: a runtime may freeze either."""
        if self.cgroup is None:
            return []
        lowest = cgroups.of(self.main.pid, controller="freezer")
        return [self.cgroup] if lowest is None or lowest.path == self.cgroup.path else [self.cgroup, lowest]

    def _check(self) -> None:
        if not proc.same(self.main):
            raise ProcessGone(f"the first process of {self.name} ({self.main.pid}) ended", hint="inspect it again")

    def _by_namespace(self) -> list[ProcessRef]:
        """Its pid namespace holds all of it, `exec` too; without one of its own there is only the tree."""
        own = _pid_namespace(self.main.pid)
        if own is None or own == _pid_namespace(os.getpid()):
            return proc.refs(proc.descendants(self.main.pid))
        return proc.refs(
            int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _pid_namespace(int(entry)) == own
        )


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
    main = None if container.pid is None else proc.ref(container.pid)
    if main is None:
        raise ProcessGone(f"{container.name} does not run ({container.status})", hint="start it first")
    found = cgroups.of(main.pid, controller="freezer", containing=container.id)
    own = found if found is not None and container.id in found.path.name else None
    return Root(name=container.name, main=main, cgroup=own)


def _pid_namespace(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return None
