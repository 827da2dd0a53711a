"""A cgroup of its own for a process tree that hotseat starts: to freeze it, to count it, to limit its memory.

On cgroup v1 one directory per hierarchy (freezer, and memory if limited), on v2 a single one. They are made beneath
hotseat's own cgroup, so that limits put on hotseat hold for what it starts too.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from hotseat.errors import Refused
from hotseat.platforms import _kernel

log = logging.getLogger(__name__)

_PARENT = "hotseat"


def create(identity: str, *, memory_limit: int | None) -> list[Path]:
    """The directories, the freezing one first; none where we may not make one. `Refused` if a limit is asked for
    that cannot be set."""
    made: list[Path] = []
    try:
        made.append(_make(_kernel.hierarchy("freezer"), identity))
        if memory_limit is not None:
            limited = _kernel.hierarchy("memory")
            if limited != _kernel.hierarchy("freezer"):
                made.append(_make(limited, identity))
            _limit(made[-1], memory_limit)
    except OSError as error:
        remove(made)
        if memory_limit is not None:
            raise Refused(
                f"no memory limit can be set: {error}",
                rule="a limit needs a cgroup",
                hint="run as root, or in a systemd unit with Delegate=yes; or leave memory_limit out",
            ) from error
        log.info("no cgroup of its own for %s, it will be paused by SIGSTOP: %s", identity, error)
        return []
    return made


def remove(directories: list[Path]) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):
            directory.rmdir()


def _make(parent: Path, identity: str) -> Path:
    (parent / _PARENT).mkdir(exist_ok=True)
    directory = parent / _PARENT / identity
    directory.mkdir()
    return directory


def _limit(directory: Path, limit: int) -> None:
    v1 = directory / "memory.limit_in_bytes"
    if v1.exists():
        v1.write_text(str(limit))
        return
    # v2: a controller shows in a directory once every directory above it hands it down.
    for parent in (directory.parent.parent, directory.parent):
        (parent / "cgroup.subtree_control").write_text("+memory")
    (directory / "memory.max").write_text(str(limit))
