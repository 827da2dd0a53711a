"""The state that the actor owns: one record a workload, and the tickets of those who wait for it. No I/O.

Times are seconds on the event loop's clock.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hotseat.config import Workload
from hotseat.errors import HotseatError
from hotseat.scheduler import WorkloadView
from hotseat.swap.port import Observation
from hotseat.words import State, SwapReport

SHORTEST_STAY = 0.1
"""Seconds. A seat that is left before one token was made serves nobody: two workloads would swap for ever."""

Answer = Callable[[Any, HotseatError | None], None]
"""Called once with (value, None) or (None, error)."""


class JobKind(enum.StrEnum):
    SWAP_OUT = "swap out"
    SWAP_IN = "swap in"
    START = "start"
    STOP = "stop"
    RECOVER = "recover"


@dataclass(slots=True, eq=False)
class Ticket:
    """One request at the gateway, from its arrival until it ends."""

    workload: str
    arrived: float
    answer: Answer
    """Called with the time waited when the seat is given."""
    swapped: bool = False
    ended: bool = False


@dataclass(slots=True, eq=False)
class Wish:
    """Somebody (a person, the start of the daemon) wants a workload seated."""

    since: float
    answer: Answer
    """Called with the reports of all swaps made for it."""
    commanded: bool = True
    """Before all requests, whatever the minimum stay of others."""
    reports: list[SwapReport] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Job:
    """What is being done to a workload now. At most one at a time."""

    kind: JobKind
    begun: float
    makes_room_for: str | None = None
    step: str = ""
    answers: list[Answer] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Record:
    name: str
    spec: Workload
    state: State = State.STOPPED
    note: str = "not looked at yet"
    observation: Observation | None = None
    pids: frozenset[int] = frozenset()
    learned: dict[int, int] | None = None
    """Most device memory seen while seated, per device: what a cold start will need."""
    waiting: dict[Ticket, None] = field(default_factory=dict)
    """In order of arrival."""
    in_flight: dict[Ticket, None] = field(default_factory=dict)
    wishes: list[Wish] = field(default_factory=list)
    drained: list[Answer] = field(default_factory=list)
    """Who waits for `in_flight` to be empty."""
    job: Job | None = None
    looked: bool = False
    """A look at it has ended, well or badly: before the first one nobody is told that it does not run."""
    leaving: bool = False
    """Not in the configuration any more: forgotten once what is in flight, and its job, have ended."""
    successor: Workload | None = None
    """Settings with another container, which take the place of `spec` as soon as that is so."""
    epoch: int = 0
    """Counts begins and ends of jobs: an observation that began before the last of them is stale."""
    ready: bool = False
    """Its engine answered since it was seated."""
    probing: int = 0
    """Number of the probe under way; 0 for none."""
    held: bool = False
    """Parked by a person: frozen answers do not bring it back, a new request or `seat` does."""
    seated_since: float = 0.0
    frozen_since: float | None = None
    last_used: float = float("-inf")
    not_before: float = 0.0
    keep_until: float = 0.0
    failures: int = 0
    """In a row, of ways in."""
    blocked_since: float | None = None
    trouble: str = ""
    """The last failure of making room for it."""
    seconds: dict[JobKind, float] = field(default_factory=dict)
    """How long the last job of each kind took."""

    @property
    def exists(self) -> bool:
        return self.observation is not None

    @property
    def can_start(self) -> bool:
        return self.spec.start and (self.exists or self.spec.platform == "process")

    @property
    def frozen(self) -> bool:
        """Its requests in flight get no byte now."""
        return self.state is not State.SEATED

    @property
    def host_bytes(self) -> int:
        """What parking it takes of the host's memory; once it leaves its seat, what it holds of it."""
        seen = self.observation
        if seen is None or (self.job is not None and self.job.kind is JobKind.START):
            return 0
        stopping = self.job is not None and self.job.kind is JobKind.STOP
        return sum(seen.parked_gpu_bytes.values()) or (0 if stopping else sum(seen.gpu_bytes.values()))

    @property
    def demand_since(self) -> float | None:
        times = [wish.since for wish in self.wishes]
        times += [ticket.arrived for ticket in self.waiting][:1]
        if self.in_flight and self.frozen_since is not None and not self.held:
            times.append(self.frozen_since)
        return min(times, default=None)

    def view(self) -> WorkloadView:
        seen = self.observation
        need = dict(seen.parked_gpu_bytes) if seen is not None and self.state is not State.STOPPED else None
        if need is None or (self.job is not None and self.job.kind is JobKind.START):
            need = self.learned if self.learned is not None else self.spec.gpu_memory
        return WorkloadView(
            name=self.name,
            state=self.state,
            holds=dict(seen.gpu_bytes) if seen is not None else {},
            need=need,
            demand_since=self.demand_since,
            busy=bool(self.waiting or self.in_flight),
            waiting=len(self.waiting),
            running=len(self.in_flight),
            seated_since=self.seated_since,
            last_used=self.last_used,
            min_stay=max(self.spec.min_stay, SHORTEST_STAY),
            linger=self.spec.linger,
            pinned=self.spec.pinned,
            can_start=self.can_start,
            commanded=any(wish.commanded for wish in self.wishes),
            not_before=self.not_before,
            keep_until=self.keep_until,
            host_bytes=self.host_bytes,
            stopping=self.job is not None and self.job.kind is JobKind.STOP,
        )


def row(record: Record) -> dict[str, Any]:
    """One workload as the control API and `ps --json` show it."""
    seen = record.observation
    gpu = dict(seen.gpu_bytes) if seen is not None else {}
    parked = dict(seen.parked_gpu_bytes) if seen is not None else {}
    going = "removed from the configuration, its last answers end" if record.leaving else ""
    going = "becomes another container when its last answers have ended" if record.successor else going
    note = "; ".join(part for part in (record.job.step if record.job else "", record.note, going) if part)
    return {
        "name": record.name,
        "state": record.state.value,
        "platform": record.spec.platform,
        "container": seen.container.key if seen is not None else f"{record.spec.platform}:{record.spec.container}",
        "models": list(record.spec.models or ()),
        "pids": sorted(record.pids),
        "gpu_bytes": sum(gpu.values()),
        "gpu_bytes_per_device": {str(index): nbytes for index, nbytes in sorted(gpu.items())},
        "parked_gpu_bytes": sum(parked.values()),
        "parked_gpu_bytes_per_device": {str(index): nbytes for index, nbytes in sorted(parked.items())},
        "host_bytes": seen.host_bytes if seen is not None else 0,
        "waiting": len(record.waiting),
        "in_flight": len(record.in_flight),
        "pinned": record.spec.pinned,
        "note": note,
    }
