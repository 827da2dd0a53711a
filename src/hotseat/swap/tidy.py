"""Drops from the state directory what it keeps of containers and workloads that are long gone.

Containers come and go with new ids; without this their history and their lock files would stay for ever.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection

from hotseat.swap import guard
from hotseat.swap.journal import Journal

KEPT = 30 * 86400.0
"""Seconds that something is kept after it was last seen."""


def tidy(journal: Journal, *, names: Collection[str], keys: Collection[str], now: float | None = None) -> int:
    """Returns how many rows and files went. `names` of workloads and `keys` of containers that there are now stay,
    and so does whoever has a record in the journal. `now` in seconds since the epoch. `Failed`, `OSError`."""
    before = (time.time() if now is None else now) - KEPT
    stay = {*keys, *(record.key for record in journal.all())}
    gone = journal.forget_old(before=before, names=names, keys=stay)
    files = {guard.file_of(key) for key in stay}
    try:
        found = list(os.scandir(journal.locks))
    except FileNotFoundError:
        return gone
    old = [entry for entry in found if entry.name not in files and entry.stat().st_mtime < before]
    return gone + sum(guard.remove(journal.locks / entry.name, before=before) for entry in old)
