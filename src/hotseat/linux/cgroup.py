"""Cgroups of version 1 and 2: whose is which, which processes are in it, and the freezer: the lasting stop.

A cgroup freezes threads that are held by ptrace too, and they stay frozen when the tracer lets go; threads seized
while frozen stop for the tracer before their first instruction after the thaw.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

from hotseat.errors import FreezeFailed, PlatformFailed
from hotseat.linux import cgroup_mounts, proc
from hotseat.linux.cgroup_mounts import V2
from hotseat.words import ProcessRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroup:
    """One directory of a cgroup file system. Cheap; holds nothing open. Everything read from it is read now."""

    path: Path
    version: int
    top: Path
    """The mount point: the highest cgroup that we see."""

    def pids(self) -> list[int]:
        """Every process in it or below it; empty if it is gone. Own and sibling pid namespaces alike."""
        out: list[int] = []
        stack = [str(self.path)]
        while stack:
            directory = stack.pop()
            try:
                with open(f"{directory}/cgroup.procs", "rb") as file:
                    out.extend(int(number) for number in file.read().split())
                with os.scandir(directory) as entries:
                    stack.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
            except OSError as error:
                # A threaded cgroup (EOPNOTSUPP) lists its processes in its domain, above.
                if error.errno not in {errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP}:
                    raise PlatformFailed(f"cannot read the processes of {directory}: {error.strerror}") from error
        return sorted({pid for pid in out if pid})  # 0: not visible from our pid namespace

    def processes(self) -> list[ProcessRef]:
        """`pids` with their start times, less the dead: what a `ListProcesses` returns."""
        return proc.refs(self.pids())

    def exists(self) -> bool:
        return self.path.is_dir()

    def frozen(self) -> bool:
        """Every thread in it is frozen, by itself or by a cgroup above. False if it is gone."""
        if self.version == 1:
            return self._read("freezer.state") == "FROZEN"
        return "frozen 1" in self._read("cgroup.events").split("\n")

    def held(self) -> bool:
        """It is frozen, or is to be, by itself or by a cgroup above: whoever is in it may not run. Where one that was
        frozen is killed, version 2 says for a moment that not all are frozen, until that one is gone."""
        if self.version == 1:
            return self._read("freezer.state") in ("FROZEN", "FREEZING")
        return self.frozen() or self._read("cgroup.freeze") == "1"

    def frozen_above(self) -> bool:
        """A cgroup above it is frozen: thawing this one alone would change nothing."""
        if self.version == 1:
            return self._read("freezer.parent_freezing") == "1"
        return any(
            (parent / "cgroup.freeze").is_file() and (parent / "cgroup.freeze").read_text().strip() == "1"
            for parent in self.path.parents
            if parent.is_relative_to(self.top)
        )

    async def freeze(self, *, deadline: float) -> None:
        """Returns when every thread is frozen. Idempotent. `FreezeFailed` after `deadline` seconds, thawed again."""
        self._ask(frozen=True)
        end, again = time.monotonic() + deadline, time.monotonic() + 0.02
        pause = 0.0002
        while not self.frozen():
            now = time.monotonic()
            if not self.exists():
                raise PlatformFailed(f"cgroup {self.path} is gone", hint="list the workload again (`hotseat ps`)")
            if now >= end:
                stuck = self._who_runs()
                self._ask(frozen=False)
                raise FreezeFailed(
                    f"cgroup {self.path} did not freeze in {deadline:.1f} s{stuck}; it was thawed again",
                    hint="wait until the kernel call has finished (disk, network file system, driver), then retry",
                )
            if now >= again and self.version == 1:
                # A fork at the wrong moment leaves version 1 in FREEZING for good; asking again heals that.
                self._ask(frozen=True)
                again = now + 0.02
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.01)

    async def thaw(self, *, deadline: float) -> None:
        """Returns when it is thawed. Idempotent. `FreezeFailed` if it still is frozen after `deadline` seconds."""
        self._ask(frozen=False)
        end = time.monotonic() + deadline
        pause = 0.0002
        while self._read("freezer.state") != "THAWED" if self.version == 1 else self.frozen():
            if self.frozen_above():
                raise FreezeFailed(
                    f"cgroup {self.path} stays frozen: a cgroup above it is frozen",
                    hint="thaw that one first (unpause the pod or slice)",
                )
            if not self.exists():
                raise PlatformFailed(f"cgroup {self.path} is gone", hint="list the workload again (`hotseat ps`)")
            if time.monotonic() >= end:
                raise FreezeFailed(
                    f"cgroup {self.path} did not thaw in {deadline:.1f} s", hint="something freezes it again: what?"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.01)

    def _ask(self, *, frozen: bool) -> None:
        if self.version == 1:
            self.write("freezer.state", "FROZEN" if frozen else "THAWED")
        else:
            self.write("cgroup.freeze", "1" if frozen else "0")

    def _who_runs(self) -> str:
        """For people: what keeps it from freezing, as far as one can tell (version 1 shows the frozen as D too)."""
        found = [stat for pid in self.pids() for tid in proc.task_ids(pid) if (stat := proc.stat(tid))]
        for one in sorted(found, key=lambda stat: stat.state == "D"):
            where = proc.wchan(one.pid)
            if one.state not in proc.DEAD and "refrigerator" not in where and "freezer" not in where:
                return f": thread {one.pid} ({one.name}) is in state {one.state}" + (f" in {where}" if where else "")
        return ""

    def write(self, name: str, value: str) -> None:
        """One control file. `PlatformFailed` says what to do about it."""
        try:
            (self.path / name).write_text(value)
        except OSError as error:
            raise PlatformFailed(
                f"cannot write {value!r} to {self.path / name}: {error.strerror}",
                hint="hotseat needs root, or a cgroup that is delegated to its user",
            ) from error

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text().strip()
        except OSError:
            return ""


def of(pid: int, *, controller: str, containing: str = "") -> Cgroup | None:
    """The cgroup of a process in the hierarchy of `controller` ("freezer", "memory", ...), of version 1 or else 2.

    `containing`: the highest cgroup above it whose name contains this (a container's id: a container may have made
    cgroups below its own). None if the process is gone or its cgroup is not to be seen from here.
    """
    membership = cgroup_mounts.parse_membership((proc.read(f"{proc.PROC}/{pid}/cgroup") or b"").decode())
    mounts = cgroup_mounts.read_mounts()
    found = cgroup_mounts.locate(mounts, membership, controller) if controller != V2 else None
    if found is None:
        found = cgroup_mounts.locate(mounts, membership, V2)
    if found is None:
        return None
    path, mount = found
    cgroup = Cgroup(path=path, version=mount.version, top=Path(mount.point))
    if mount.version == 2 and not has_controller(cgroup, controller):
        return None
    for parent in reversed([path, *path.parents]):
        if containing and parent.is_relative_to(cgroup.top) and containing in parent.name:
            return Cgroup(path=parent, version=mount.version, top=cgroup.top)
    return cgroup


def at(path: Path) -> Cgroup:
    """The cgroup at a directory that somebody wrote down. `PlatformFailed` if it is in no cgroup file system."""
    for mount in cgroup_mounts.read_mounts():
        if path.is_relative_to(mount.point):
            return Cgroup(path=path, version=mount.version, top=Path(mount.point))
    raise PlatformFailed(f"{path} is not in a cgroup file system", hint="is it mounted? see /proc/self/mountinfo")


def has_controller(cgroup: Cgroup, controller: str) -> bool:
    """Of version 2. The freezer is no controller there but part of every cgroup except the topmost one."""
    if controller in {V2, "freezer"}:
        return True
    try:
        return controller in (cgroup.path / "cgroup.controllers").read_text().split()
    except OSError:
        return False
