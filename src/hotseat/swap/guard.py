"""Which hotseat process is which, and the lock that lets only one of them swap a workload at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hotseat.errors import Busy
from hotseat.linux import proc
from hotseat.words import ProcessRef


def boot_id() -> str:
    """Of the running kernel: pids and start times of an earlier boot mean nothing now."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def living(process: ProcessRef) -> bool:
    """Whether it runs; a zombie does not."""
    return process in proc.refs([process.pid])


def identity() -> str:
    """This process, for as long as it lives: "BOOT:PID:START"."""
    me = proc.ref(os.getpid())
    return f"{boot_id()}:{os.getpid()}:{me.start_time if me else 0}"


def alive(owner: str) -> bool:
    """Whether the process that `identity` named still runs."""
    boot, pid, start = (*owner.split(":"), "", "", "")[:3]
    return boot == boot_id() and pid.isdigit() and start.isdigit() and living(ProcessRef(int(pid), int(start)))


@contextmanager
def only_one(directory: Path, *, key: str, name: str) -> Iterator[None]:
    """Hold the workload `key` for this block. `Busy` if any hotseat process, or another task of this one, has it.

    flock(2) on a file per key: the kernel lets go when its holder dies. The file stays when it is let go; `remove`
    takes it away much later. The owner's pid stands in it, for people only.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / file_of(key)
    fd, mine = _locked(path)
    while not _stands(fd, path):  # `remove` took it between our opening it and our locking it
        os.close(fd)
        fd, mine = _locked(path)
    try:
        if not mine:
            holder = os.pread(fd, 200, 0).decode(errors="replace").strip() or "unknown"
            raise Busy(
                f"another swap of {name} is under way (hotseat process {holder})",
                rule="one swap at a time",
                hint="wait until it is done; `hotseat ps` shows where it is",
            )
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()} {name}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def file_of(key: str) -> str:
    """Name of the lock of `key`."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def remove(path: Path, *, before: float) -> bool:
    """Whether the lock was removed: nobody holds it, and nobody has since `before` (seconds since the epoch)."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _stands(fd, path) or os.fstat(fd).st_mtime >= before:
            return False
        path.unlink()  # while it is ours: whoever opened it before finds that it does not stand any more
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)


def _locked(path: Path) -> tuple[int, bool]:
    """The open file, and whether its lock is ours."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return fd, False
    except BaseException:
        os.close(fd)
        raise
    return fd, True


def _stands(fd: int, path: Path) -> bool:
    """Whether the file that is open is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
