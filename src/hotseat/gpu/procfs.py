"""The little that the worker reads of /proc, quickly: who a process is, and where a library came from.

Only the standard library, and little of it: the worker's start counts.
"""

from __future__ import annotations

import os
import select


def read(path: str) -> bytes:
    """A whole file of /proc. `OSError` if it cannot be read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def start_time(pid: int, *, proc: str = "/proc") -> int | None:
    """Field 22 of /proc/PID/stat (clock ticks since boot); None if there is no such process."""
    try:
        stat = read(f"{proc}/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in field 2 may hold spaces and brackets, so count from behind its last bracket.
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


class Held:
    """One process, held by a pidfd from when it was verified until `close`.

    The pid is right for as long as `alive` is true: the kernel gives it to no other process before this one ended.
    """

    def __init__(self, pid: int, fd: int) -> None:
        self.pid = pid
        self._fd = fd

    @classmethod
    def open(cls, pid: int, start: int) -> Held | None:
        """None if the process has ended or its pid now belongs to another. First the pidfd, then the start time:
        the other way round the pid could change hands between the two."""
        try:
            fd = os.pidfd_open(pid)
        except (ProcessLookupError, OSError):
            # EINVAL is a thread's id or a pid <= 0: not the process that was meant either.
            return None
        held = cls(pid, fd)
        if start_time(pid) != start or not held.alive():
            held.close()
            return None
        return held

    def alive(self) -> bool:
        """False also for a zombie: none of its threads is left."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        os.close(self._fd)


def mapped_file(address: int) -> str:
    """The file mapped at `address` in this process, "" if none."""
    for line in read("/proc/self/maps").decode(errors="replace").splitlines():
        span, _, rest = line.partition(" ")
        low, _, high = span.partition("-")
        if int(low, 16) <= address < int(high, 16):
            fields = rest.split(maxsplit=4)
            return fields[4] if len(fields) > 4 else ""
    return ""


def host_thread(pid: int, tid: int) -> int:
    """The id, as we see it, of the thread that process `pid` may call `tid` in its own pid namespace.

    Gives `tid` back where it is one of the process's threads already, or where no thread answers to it.
    """
    if os.path.exists(f"/proc/{pid}/task/{tid}"):
        return tid
    try:
        for name in os.listdir(f"/proc/{pid}/task"):
            for line in read(f"/proc/{pid}/task/{name}/status").splitlines():
                if line.startswith(b"NSpid:") and int(line.split()[-1]) == tid:
                    return int(name)
    except OSError:
        pass
    return tid


def memory_bytes() -> tuple[int, int]:
    """Of this host: in all, and available without swapping."""
    fields = dict(line.split(b":", 1) for line in read("/proc/meminfo").splitlines())
    total, available = (int(fields[name].split()[0]) * 1024 for name in (b"MemTotal", b"MemAvailable"))
    return total, available
