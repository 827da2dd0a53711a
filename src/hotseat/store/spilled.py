"""The directory of what is spilled, as the keeper has it: its own, and empty when a store begins and ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from hotseat.errors import Failed, Refused
from hotseat.store.private import private

SUFFIX = ".chunks"


def claimed(directory: Path) -> int:
    """A descriptor that keeps other stores away for as long as it is open. What an earlier one left there is removed.

    `Refused` if another store has it or it is shared with others, `Failed` if it cannot be made."""
    try:
        private(directory, ours=ours)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Failed(
            f"nothing can be spilled to {directory}: {error.strerror}", hint="give the store another directory"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise Refused(
            f"another store spills to {directory}", hint="give each store a directory of its own", rule="one store"
        ) from error
    empty(directory)
    return fd


def ours(name: str) -> bool:
    return name.endswith(SUFFIX)


def empty(directory: Path, *, keep: set[str] | frozenset[str] = frozenset()) -> None:
    """Removes every file of a store there but these."""
    with suppress(OSError):
        for name in [entry.name for entry in os.scandir(directory) if ours(entry.name) and entry.name not in keep]:
            with suppress(OSError):
                (directory / name).unlink()
