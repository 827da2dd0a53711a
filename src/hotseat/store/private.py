"""Directories that only the store's user may look into."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from hotseat.errors import Refused


def private(directory: Path, *, ours: Callable[[str], bool]) -> None:
    """Makes it, or closes one that has nothing in it but what is `ours`. `Refused` if others may use it: it would be
    closed to them. `OSError` if it cannot be made."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.stat()
    if not status.st_mode & 0o077:
        return
    shared = status.st_uid != os.geteuid() or status.st_mode & (stat.S_ISVTX | stat.S_IWGRP | stat.S_IWOTH)
    if shared or not all(ours(name) for name in os.listdir(directory)):
        raise Refused(
            f"{directory} is open to others, and not the store's alone: it would be closed to them",
            hint=f"give it a directory of its own, such as {directory / 'hotseat'}",
            rule="own directory",
        )
    directory.chmod(0o700)
