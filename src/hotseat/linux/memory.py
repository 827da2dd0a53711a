"""How much host memory a park may use: what the host has left, and what the cgroups above a process leave it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hotseat.linux import cgroup, proc
from hotseat.linux.cgroup import Cgroup
from hotseat.linux.port import HostMemory

_NO_LIMIT_V1 = 1 << 62
"""Version 1 writes "no limit" as the largest number of pages, in bytes (a little under 2^63)."""


def available_bytes() -> int:
    """MemAvailable of /proc/meminfo: what can be used without swapping."""
    return proc.parse_fields(proc.read(f"{proc.PROC}/meminfo") or b"")["MemAvailable"]


def of_process(pid: int) -> HostMemory:
    """Of the process's cgroup and all above it. Without a memory controller, or outside its view: no limit."""
    found = cgroup.of(pid, controller="memory")
    return HostMemory(available=available_bytes()) if found is None else of_cgroup(found)


def of_cgroup(found: Cgroup) -> HostMemory:
    """`found` must be a cgroup with the memory controller.

    Of the limits on the way up that one is given, with its use, that leaves least room: the smallest limit is not
    always the tightest, for a cgroup above counts its other children too.
    """
    tightest: tuple[int, int, int] | None = None
    for level in _upwards(found):
        limit, used = _limit(level, found.version), _used(level, found.version)
        if limit is not None and used is not None and (tightest is None or limit - used < tightest[0]):
            tightest = (limit - used, limit, used)
    if tightest is None:
        return HostMemory(available=available_bytes(), used=_used(found.path, found.version) or 0)
    return HostMemory(available=available_bytes(), limit=tightest[1], used=tightest[2])


def controls(found: Cgroup) -> bool:
    """Whether a memory limit can be set on it."""
    return (found.path / ("memory.limit_in_bytes" if found.version == 1 else "memory.max")).exists()


def _upwards(found: Cgroup) -> Iterator[Path]:
    for path in (found.path, *found.path.parents):
        if not path.is_relative_to(found.top):
            return
        yield path


def _limit(path: Path, version: int) -> int | None:
    text = _text(path / ("memory.limit_in_bytes" if version == 1 else "memory.max"))
    if text in {"", "max"}:
        return None
    return None if int(text) >= _NO_LIMIT_V1 else int(text)


def _used(path: Path, version: int) -> int | None:
    """What counts, less the inactive file pages, which the kernel gives up before it fails an allocation."""
    text = _text(path / ("memory.usage_in_bytes" if version == 1 else "memory.current"))
    if not text:
        return None
    key = "total_inactive_file" if version == 1 else "inactive_file"
    for line in _text(path / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return max(0, int(text) - int(value))
    return int(text)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
