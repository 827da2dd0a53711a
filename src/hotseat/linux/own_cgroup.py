"""Cgroups that hotseat makes itself, for process trees that no container engine looks after."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from hotseat.errors import Failed, PlatformFailed, ProcessGone
from hotseat.linux import cgroup_mounts, memory
from hotseat.linux.cgroup import Cgroup
from hotseat.linux.cgroup_mounts import V2, Mount
from hotseat.linux.identity import Process

FOLDER = "hotseat"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCgroup:
    """A cgroup with a freezer and, where it lies in another hierarchy (version 1), one beside it with the memory."""

    freezer: Cgroup
    memory: Cgroup | None

    def add(self, pid: int) -> None:
        """Moves a process; children that it has already stay where they are, so add it before it forks."""
        for cgroup in self._all():
            cgroup.write("cgroup.procs", str(pid))

    def set_memory_limit(self, limit: int | None) -> bool:
        """Bytes, None for none. False where no memory controller is at hand."""
        if self.memory is None:
            return False
        name, none = ("memory.limit_in_bytes", "-1") if self.memory.version == 1 else ("memory.max", "max")
        self.memory.write(name, none if limit is None else str(limit))
        return True

    async def kill(self, *, deadline: float) -> None:
        """SIGKILL everything in it, frozen or not, until nothing is left. `Failed` after `deadline` seconds."""
        end = time.monotonic() + deadline
        while pids := self.freezer.processes():
            if self.freezer.version == 2 and (self.freezer.path / "cgroup.kill").exists():
                self.freezer.write("cgroup.kill", "1")
            else:
                for ref in pids:
                    with contextlib.suppress(ProcessGone), Process.open(ref) as process:
                        process.signal(signal.SIGKILL)
            if self.freezer.version == 1:
                await self.freezer.thaw(deadline=max(end - time.monotonic(), 0.1))  # frozen by version 1 none can die
            if time.monotonic() >= end:
                raise Failed(
                    f"{len(pids)} processes of {self.freezer.path} survive SIGKILL, the first is {pids[0].pid}",
                    hint="a thread in uninterruptible sleep dies when its kernel call ends; see /proc/PID/stack",
                )
            await asyncio.sleep(0.005)

    def remove(self) -> None:
        """Idempotent. `PlatformFailed` while processes are in it."""
        for cgroup in self._all():
            for directory, _, _ in os.walk(cgroup.path, topdown=False):
                try:
                    os.rmdir(directory)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise PlatformFailed(
                        f"cannot remove cgroup {directory}: {error.strerror}", hint="end its processes first"
                    ) from error

    def _all(self) -> list[Cgroup]:
        if self.memory is None or self.memory == self.freezer:
            return [self.freezer]
        return [self.freezer, self.memory]


def create(name: str) -> OwnCgroup | None:
    """Make (or find again) the cgroup `name`. None where nothing is writable: then only SIGSTOP is left.

    Version 2 before version 1: there a frozen process can be killed and traced. As root below the top of the tree, so
    that it outlives hotseat's own service; otherwise below hotseat's own cgroup, if that is delegated to its user.
    """
    mounts = cgroup_mounts.read_mounts()
    freezer = _make(mounts, V2, name) or _make(mounts, "freezer", name)
    if freezer is None:
        return None
    memory_cgroup = _make(mounts, "memory", name)
    if memory_cgroup is None and memory.controls(freezer):
        memory_cgroup = freezer
    return OwnCgroup(freezer=freezer, memory=memory_cgroup)


def _make(mounts: tuple[Mount, ...], controller: str, name: str) -> Cgroup | None:
    own = cgroup_mounts.parse_membership(Path("/proc/self/cgroup").read_text())
    places: list[tuple[Path, Mount]] = []
    for mount in mounts:
        if (controller == V2 and mount.version == 2) or controller in mount.controllers:
            places.append((Path(mount.point), mount))
    if (here := cgroup_mounts.locate(mounts, own, controller)) is not None:
        places.append(here)
    for place, mount in places:
        path = place / FOLDER / name
        try:
            path.mkdir(parents=True, exist_ok=True)
            if controller == V2:
                _delegate_memory(place, path)
        except OSError:
            continue  # not ours to write: the next place
        if os.access(path / "cgroup.procs", os.W_OK) and _may_move_from(here, path):
            return Cgroup(path=path, version=mount.version, top=Path(mount.point))
    return None


def _delegate_memory(place: Path, path: Path) -> None:
    """Version 2: let the memory controller through to `path`, where the cgroups above it can."""
    for directory in (place, path.parent):
        if "memory" in (directory / "cgroup.controllers").read_text().split():
            try:
                (directory / "cgroup.subtree_control").write_text("+memory")
            except OSError:
                return  # processes of its own in a cgroup that is not the topmost: no limit then, all else works


def _may_move_from(here: tuple[Path, Mount] | None, path: Path) -> bool:
    """Moving a process takes the right to write cgroup.procs of the lowest cgroup above both ends too."""
    if here is None:
        return os.geteuid() == 0
    common = Path(os.path.commonpath([here[0], path]))
    return os.access(common / "cgroup.procs", os.W_OK)
