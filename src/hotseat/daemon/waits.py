"""How long a request that comes now would wait, from measured swaps: for Retry-After and /v1/models. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hotseat.daemon.book import JobKind, Record
from hotseat.words import State

UNKNOWN = 5.0
"""Seconds after which to try again where nothing was measured."""


@dataclass(slots=True)
class _Group:
    """Those that use exactly the same devices."""

    out: tuple[float, str] = (0.0, "")
    """The longest way out, and whose."""
    next_out: float = 0.0
    """The longest of the others."""
    turns: dict[str, float] = field(default_factory=dict)
    """Who waits for a seat, and the seconds of its whole turn."""
    seconds: float = 0.0
    """Of all turns."""


class Waits:
    """Of all workloads at `now`: what one needs to know of the others is gathered once."""

    def __init__(self, records: Iterable[Record], now: float) -> None:
        self._now = now
        self._groups: dict[frozenset[int], _Group] = {}
        for record in records:
            self._add(record, self._groups.setdefault(_devices(record), _Group()))

    def _add(self, record: Record, group: _Group) -> None:
        out = record.learned.seconds.get(JobKind.SWAP_OUT, 0.0)
        if out > group.out[0]:
            group.out, group.next_out = (out, record.name), group.out[0]
        else:
            group.next_out = max(group.next_out, out)
        asked = record.waiting or record.wishes or record.in_flight
        if asked and record.state is not State.SEATED and record.demand is not None:
            way_in = record.learned.seconds.get(_way_in(record), 0.0)
            group.turns[record.name] = way_in + record.min_stay + out
            group.seconds += group.turns[record.name]

    def of(self, record: Record) -> float | None:
        """Seconds; None if its way in was never measured. What is under way counts for what is left of it. Else its way
        in, the longest way out of those that sit on its devices, and a whole turn of each that waits for them before
        it."""
        if record.state is State.SEATED and record.job is None and record.ready:
            return 0.0
        seconds, job = record.learned.seconds, record.job
        if job is not None and job.kind in (JobKind.SWAP_IN, JobKind.START):
            took = seconds.get(job.kind)
            return None if took is None else max(0.0, took - (self._now - job.begun))
        way_in = seconds.get(_way_in(record))
        if way_in is None:
            return None
        mine = _devices(record)
        total, out = way_in, 0.0
        for devices, group in self._groups.items():
            if mine & devices:
                longest, whose = group.out
                out = max(out, group.next_out if whose == record.name else longest)
                total += group.seconds - group.turns.get(record.name, 0.0)
        return total + out


def _way_in(record: Record) -> JobKind:
    return JobKind.START if record.state is State.STOPPED else JobKind.SWAP_IN


def _devices(record: Record) -> frozenset[int]:
    seen = record.observation
    known = record.learned.memory or record.spec.gpu_memory or {}
    if seen is not None:
        known = {**known, **seen.gpu_bytes, **seen.parked_gpu_bytes}
    return frozenset(index for index, nbytes in known.items() if nbytes)
