"""`on_quarantine: restart`: what a swap has lost is stopped and started cold by itself. Part of the core: no I/O.

The pauses between grow, so that an engine which is lost at every swap does not take the device from all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotseat.daemon.book import JobKind, Record, Wish
from hotseat.errors import HotseatError
from hotseat.words import State

if TYPE_CHECKING:
    from hotseat.daemon.core import Core

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 600.0
"""Seconds between a quarantine and the restart; doubles with each that comes before a swap has gone well again."""


def restarts(record: Record) -> bool:
    """Whether a quarantine of it is ended by hotseat itself, so that waiting for it makes sense."""
    spec = record.spec
    going = record.leaving or record.successor is not None
    return spec.on_quarantine == "restart" and record.can_start and not going


def heal(core: Core, record: Record, now: float) -> None:
    if record.state is not State.QUARANTINED:
        record.lost_since = None
        return
    if record.job is not None or core.closing or not restarts(record):
        return
    if record.lost_since is None:
        record.lost_since = now
        record.losses += 1
        record.not_before = now + min(FIRST_PAUSE * 2 ** min(record.losses - 1, 16), LONGEST_PAUSE)
    if now < record.not_before:
        core.wake(record.not_before)
    elif not record.ended:
        core.launch(record, JobKind.STOP, now).lost = True
    else:
        wish_it_back(record, now)


def wish_it_back(record: Record, now: float) -> None:
    """Nothing of it runs any more: a cold start in its turn, as if a request had come."""
    if not record.wishes:
        record.wishes.append(Wish(since=now, answer=_nobody, commanded=False))


def went_well(record: Record, kind: JobKind) -> None:
    """Back in its seat by a swap: whatever was wrong with it has passed."""
    if kind is JobKind.SWAP_IN:
        record.losses = 0


def _nobody(value: object, error: HotseatError | None) -> None:
    """The answer that no one waits for."""
