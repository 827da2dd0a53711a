"""Interim: replaced by hotseat.linux."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from hotseat.errors import ProcessGone
from hotseat.linux.port import HostMemory
from hotseat.words import ProcessRef


def stat(pid: int) -> tuple[str, int, int]:
    """state, ppid, start_time"""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError as error:
        raise ProcessGone(f"process {pid} is gone") from error
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[1]), int(fields[19])


def ref(pid: int) -> ProcessRef:
    return ProcessRef(pid, stat(pid)[2])


def alive(process: ProcessRef) -> bool:
    try:
        state, _, start = stat(process.pid)
    except ProcessGone:
        return False
    return start == process.start_time and state not in "ZX"


@cache
def freezer_mount() -> tuple[str, Path]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ")[:3]
        if kind == "cgroup" and "freezer" in options.split(","):
            return "v1", Path(left.split(" ")[4])
    return "v2", Path("/sys/fs/cgroup")


def cgroup_path(pid: int) -> str:
    mode, _ = freezer_mount()
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if (mode == "v1" and "freezer" in names.split(",")) or (mode == "v2" and not names):
            return path
    return "/"


def pids_in(directory: Path) -> list[int]:
    found: set[int] = set()
    for here, _, files in os.walk(directory):
        if "cgroup.procs" in files:
            found.update(int(line) for line in Path(here, "cgroup.procs").read_text().split())
    return sorted(found)


def frozen(directory: Path) -> bool:
    if freezer_mount()[0] == "v1":
        return (directory / "freezer.state").read_text().strip() == "FROZEN"
    return "frozen 1" in (directory / "cgroup.events").read_text()


def thaw(directory: Path) -> None:
    if freezer_mount()[0] == "v1":
        (directory / "freezer.state").write_text("THAWED")
    else:
        (directory / "cgroup.freeze").write_text("0")


def hierarchy(controller: str) -> Path:
    """Our own cgroup's directory"""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ")[:3]
        if kind == "cgroup" and controller in options.split(","):
            for row in Path("/proc/self/cgroup").read_text().splitlines():
                _, names, path = row.split(":", 2)
                if controller in names.split(","):
                    return Path(left.split(" ")[4]) / path.lstrip("/")
    return Path("/sys/fs/cgroup")


def set_frozen(directory: Path, on: bool) -> None:
    if freezer_mount()[0] == "v1":
        (directory / "freezer.state").write_text("FROZEN" if on else "THAWED")
    else:
        (directory / "cgroup.freeze").write_text("1" if on else "0")


def descendants(pid: int) -> list[int]:
    from hotseat.linux import proc

    return proc.descendants(pid)


def memory(pid: int) -> HostMemory:
    raise NotImplementedError
