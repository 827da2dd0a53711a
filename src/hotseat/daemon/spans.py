"""How long the ways of one workload take, by what was measured of it and what is left of what is under way. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hotseat.daemon import healing
from hotseat.daemon.book import AWAY, DRAIN, RETURN, JobKind, Record
from hotseat.scheduler.price import CONTEXT
from hotseat.words import State

UNKNOWN = 5.0
"""Seconds that a way is taken for in Retry-After where it was never measured."""


@dataclass(frozen=True, slots=True)
class Span:
    seconds: float
    measured: bool = True
    """False: some of it is a guess, and nobody is told it as a figure."""

    def __add__(self, other: Span) -> Span:
        return Span(self.seconds + other.seconds, self.measured and other.measured)


NOTHING = Span(0.0)
_CONTEXT = Span(CONTEXT, measured=False)
"""Until a context that stayed on the device of a parked one has left it: of that nothing is learned."""


def last(spans: Sequence[Span]) -> Span:
    """Until the last of them has ended; a guess if one of them is, for that one may be the last."""
    return Span(max(span.seconds for span in spans), all(span.measured for span in spans))


def took(record: Record, kind: str) -> Span:
    """What such a job of it takes."""
    seconds = record.learned.seconds.get(kind)
    return Span(UNKNOWN, measured=False) if seconds is None else Span(seconds)


def way_in(record: Record) -> Span:
    """From where it is, or will be once its job has ended, to its seat; without waiting for room."""
    kind = record.job.kind if record.job is not None else None
    if record.state is State.QUARANTINED and not record.ended and healing.restarts(record):
        stop = NOTHING if kind is JobKind.STOP else took(record, JobKind.STOP)
        return stop + took(record, JobKind.START)
    if kind is JobKind.STOP or record.startable:
        return took(record, JobKind.START)
    if kind is JobKind.RECOVER:
        return Span(UNKNOWN, measured=False)
    stored = kind is JobKind.STORE or (record.state is State.STORED and kind is not JobKind.FETCH)
    return took(record, RETURN if stored else JobKind.SWAP_IN)


def rest_of_job(record: Record, now: float) -> Span:
    """What is left of the job that is under way; of a way in that has none, all of it."""
    job = record.job
    if job is None:
        return took(record, JobKind.SWAP_IN)
    kind = RETURN if job.kind is JobKind.SWAP_IN and job.stored else job.kind.value
    return _rest(took(record, kind), passed=now - job.moves_since)


def way_out(record: Record, now: float) -> Span:
    """Until its device memory is free: its way out, or what is left of it. Nothing for one that has no seat to leave,
    but for what is being done with it."""
    job = record.job
    if job is not None and job.kind is JobKind.STOP:  # what was measured of stops has the end of their answers in it
        stop = _rest(took(record, JobKind.STOP), passed=now - job.begun)
        return Span(stop.seconds, measured=stop.measured and not record.drained)
    if job is not None and job.kind is JobKind.SWAP_OUT:
        if job.gives_up:
            return _rest(_CONTEXT, passed=now - job.begun)
        if not record.in_flight or record.spec.drain is None:
            return rest_of_job(record, now)
        out, passed = took(record, job.kind), now - job.begun
        if passed < _limit(record):
            return _rest(Span(_drains(record)), passed=passed) + out
        return _rest(out, passed=passed - _limit(record))  # what was left was frozen
    if job is not None and job.kind in (JobKind.STORE, JobKind.FETCH, JobKind.RECOVER):
        return rest_of_job(record, now)
    if record.state in AWAY and any(record.context.values()):
        return _CONTEXT
    if record.state not in (State.SEATED, State.SWAPPING_IN):
        return NOTHING
    if record.no_park_until > now:
        return took(record, JobKind.STOP)
    return swap_out(record) if record.in_flight or record.waiting else took(record, JobKind.SWAP_OUT)


def swap_out(record: Record) -> Span:
    """Of one that has work."""
    return Span(_drains(record)) + took(record, JobKind.SWAP_OUT)


def _rest(span: Span, *, passed: float) -> Span:
    return Span(max(0.0, span.seconds - passed), span.measured)


def _drains(record: Record) -> float:
    """Seconds that its answers take to end, where they are waited for: as measured, at most its `drain`."""
    limit = _limit(record)
    return min(limit, record.learned.seconds.get(DRAIN, limit))


def _limit(record: Record) -> float:
    return record.spec.drain or 0.0
