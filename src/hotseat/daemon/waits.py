"""How long a request that comes now would wait, from measured swaps: for Retry-After and /v1/models. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hotseat.daemon.book import JobKind, Record
from hotseat.words import State

UNKNOWN = 5.0
"""Seconds after which to try again where nothing was measured."""


def expected_wait(record: Record, others: Iterable[Record], now: float) -> float | None:
    """Seconds; None if its way in was never measured. What is under way counts for what is left of it. Else its way in,
    the longest way out of those that sit on its devices, and a whole turn of each that waits for them before it."""
    if record.state is State.SEATED and record.job is None and record.ready:
        return 0.0
    seconds = record.learned.seconds
    way_in = seconds.get(JobKind.START if record.state is State.STOPPED else JobKind.SWAP_IN)
    job = record.job
    if job is not None and job.kind in (JobKind.SWAP_IN, JobKind.START):
        took = seconds.get(job.kind)
        return None if took is None else max(0.0, took - (now - job.begun))
    if way_in is None:
        return None
    mine = _devices(record)
    total, out = way_in, 0.0
    for other in others:
        other_out = other.learned.seconds.get(JobKind.SWAP_OUT, 0.0)
        asked = other.waiting or other.wishes or other.in_flight
        waits = bool(asked) and other.state is not State.SEATED and other.demand is not None
        if (other_out <= out and not waits) or other is record or not mine & _devices(other):
            continue
        out = max(out, other_out)
        if waits:
            turn_in = other.learned.seconds.get(JobKind.START if other.state is State.STOPPED else JobKind.SWAP_IN, 0.0)
            total += turn_in + other.min_stay + other_out
    return total + out


def retry_after(record: Record, others: Iterable[Record], now: float) -> float:
    return expected_wait(record, others, now) or UNKNOWN


def _devices(record: Record) -> set[int]:
    seen = record.observation
    known = record.learned.memory or record.spec.gpu_memory or {}
    if seen is not None:
        known = {**known, **seen.gpu_bytes, **seen.parked_gpu_bytes}
    return {index for index, nbytes in known.items() if nbytes}
