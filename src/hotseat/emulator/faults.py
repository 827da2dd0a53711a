"""Faults on demand: what can go wrong, for whom, when and how often."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class FaultKind(enum.IntEnum):
    """What goes wrong. `op` is "lock", "checkpoint", "restore", "unlock", "state" or the exported name of a function,
    such as "cuMemAlloc_v2"; `value` as said here."""

    LOCK_TIMEOUT = 1
    """A lock finds the process busy: NOT_READY after the caller's timeout (for ever, if that is 0)."""
    HANG = 2
    """The call `op` does not return until the fault is cleared."""
    RESULT = 3
    """The call `op` does nothing and returns the CUresult `value`."""
    OOM_RESTORE = 4
    """A restore finds no device memory: final, as with the driver."""
    SLOW_COPY = 5
    """Checkpoint and restore move `value` bytes a second."""
    DIE = 6
    """The process gets SIGKILL in the middle of `op`, "checkpoint" or "restore", once `value` percent are copied."""
    LATE_RELEASE = 7
    """NVML shows released memory as used for `value` milliseconds more."""
    KEEP_MEMORY = 8
    """A checkpoint reports success and keeps its device memory: a silent failure."""
    CORRUPT = 9
    """A restore brings one byte back wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. It passes over the first `skip` calls that it could hit, then hits `times` of them; None = until
    cleared. `pid` (as seen by whoever sets the fault) None = any process."""

    kind: FaultKind
    op: str = ""
    pid: int | None = None
    value: int = 0
    skip: int = 0
    times: int | None = 1
    fired: int = 0
    """How often it has hit so far (only in reports)."""
    index: int = -1
    """Its place in the table (only in reports)."""
