"""/proc as records: pure parsers first, then readers. A process that vanishes in the middle of a read reads as None.

Names of processes may hold anything (spaces, parentheses, newlines), see proc(5). Bytes in, records out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from hotseat.words import ProcessRef

PROC = "/proc"
DEAD = frozenset("ZXx")
"""States of what runs no more: zombie, dead."""
STOPPED = frozenset("Tt")
"""Stopped by job control or by a tracer."""


class Stat(NamedTuple):
    """What hotseat uses of /proc/PID/stat (and /proc/PID/task/TID/stat). `start_time`: clock ticks since boot."""

    pid: int
    name: str
    state: str
    ppid: int
    threads: int
    start_time: int


class Status(NamedTuple):
    """What hotseat uses of /proc/PID/status. `ns_pids`: the pid in each nested pid namespace, outermost first."""

    name: str
    state: str
    pid: int
    tgid: int
    ppid: int
    tracer: int
    threads: int
    ns_pids: tuple[int, ...]
    rss_bytes: int


def parse_stat(data: bytes) -> Stat:
    """The name stands between the first and the last parenthesis, whatever it holds itself."""
    opened, closed = data.index(b"("), data.rindex(b")")
    rest = data[closed + 1 :].split()
    return Stat(
        pid=int(data[:opened]),
        name=data[opened + 1 : closed].decode(errors="replace"),
        state=rest[0].decode(),
        ppid=int(rest[1]),
        threads=int(rest[17]),
        start_time=int(rest[19]),
    )


def parse_status(data: bytes) -> Status:
    """One field a line; the kernel escapes newlines in the name."""
    fields = {}
    for line in data.split(b"\n"):
        key, colon, value = line.partition(b":")
        if colon:
            fields[key] = value.strip()
    pid = int(fields[b"Pid"])
    return Status(
        name=fields[b"Name"].decode(errors="replace"),
        state=fields[b"State"][:1].decode(),
        pid=pid,
        tgid=int(fields[b"Tgid"]),
        ppid=int(fields[b"PPid"]),
        tracer=int(fields.get(b"TracerPid", b"0")),
        threads=int(fields.get(b"Threads", b"0")),
        ns_pids=tuple(int(number) for number in fields.get(b"NSpid", b"").split()) or (pid,),
        rss_bytes=parse_kilobytes(fields.get(b"VmRSS", b"0 kB")),
    )


def parse_kilobytes(value: bytes) -> int:
    """b"12 kB" -> 12288."""
    return int(value.split()[0]) * 1024


def parse_fields(data: bytes) -> dict[str, int]:
    """Of meminfo and smaps_rollup: every line "Name:   12 kB" in bytes; other lines are passed over."""
    out = {}
    for line in data.split(b"\n"):
        key, colon, value = line.partition(b":")
        if colon and value.endswith(b" kB"):
            out[key.decode()] = parse_kilobytes(value)
    return out


def read(path: str) -> bytes | None:
    """One file of /proc, None when its process is gone (ENOENT at open, ESRCH at read) or hides it from us."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError, NotADirectoryError):
        return None
    try:
        data = os.read(descriptor, 1 << 14)
        if len(data) < 1 << 11:  # less than half a page: a seq_file has no more, spare the second read
            return data
        while more := os.read(descriptor, 1 << 16):
            data += more
        return data
    except (ProcessLookupError, PermissionError):
        return None
    finally:
        os.close(descriptor)


def stat(pid: int) -> Stat | None:
    data = read(f"{PROC}/{pid}/stat")
    return parse_stat(data) if data else None


def status(pid: int) -> Status | None:
    data = read(f"{PROC}/{pid}/status")
    return parse_status(data) if data else None


def wchan(pid: int) -> str:
    """The kernel function in which a thread sleeps; "" if it runs or the kernel does not say."""
    name = (read(f"{PROC}/{pid}/wchan") or b"").decode()
    return "" if name == "0" else name


def command(pid: int) -> str:
    """A process's command line for people, its name in brackets where it has none, "" when it is gone."""
    line = (read(f"{PROC}/{pid}/cmdline") or b"").rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    if line:
        return line
    found = stat(pid)
    return f"[{found.name}]" if found else ""


def task_ids(pid: int) -> list[int]:
    """Ids of the threads of a process in the order of their birth; empty when it is gone."""
    try:
        return [int(name) for name in os.listdir(f"{PROC}/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return []


def ref(pid: int) -> ProcessRef | None:
    """A process by pid and start time, also a zombie; None when there is none."""
    found = stat(pid)
    return ProcessRef(pid, found.start_time) if found else None


def refs(pids: Iterable[int]) -> list[ProcessRef]:
    """Those of `pids` that live (zombies do not), sorted by pid."""
    out = []
    for pid in sorted(set(pids)):
        found = stat(pid)
        if found is not None and (found.state not in DEAD or found.threads > 1):
            out.append(ProcessRef(pid, found.start_time))
    return out


def same(ref: ProcessRef) -> bool:
    """Whether the process that `ref` names is still there (a zombie is), and not another one under its pid."""
    found = stat(ref.pid)
    return found is not None and found.start_time == ref.start_time


def children(pid: int) -> list[int]:
    """Children of every thread of a process. A child that was reparented is not among them."""
    out: list[int] = []
    for tid in task_ids(pid):
        data = read(f"{PROC}/{pid}/task/{tid}/children")
        out.extend(int(number) for number in (data or b"").split())
    return out


def descendants(root: int) -> list[int]:
    """`root` and every process below it, parents first.

    The fallback where there is no cgroup: a process whose parent ended hangs below another one and is not found.
    """
    out, queue = [], [root]
    seen = {root}
    while queue:
        pid = queue.pop(0)
        out.append(pid)
        for child in children(pid):
            if child not in seen:
                seen.add(child)
                queue.append(child)
    return out


def pss_bytes(pid: int) -> int | None:
    """Host memory of a process, shared pages by share (smaps_rollup); its resident set where that is not readable."""
    data = read(f"{PROC}/{pid}/smaps_rollup")
    if data and "Pss" in (fields := parse_fields(data)):
        return fields["Pss"]
    found = status(pid)
    return found.rss_bytes if found else None
