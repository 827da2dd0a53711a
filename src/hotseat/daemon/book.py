"""The state that the actor owns: one record a workload, and the tickets of those who wait for it. No I/O.

Times are seconds on the event loop's clock.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hotseat.config import Workload
from hotseat.daemon.learned import Learned
from hotseat.daemon.tickets import Answer, Queue, Ticket
from hotseat.platforms.port import Status
from hotseat.scheduler import WorkloadView, stay
from hotseat.scheduler.turns import turn
from hotseat.store.port import HeldState
from hotseat.swap.port import Observation
from hotseat.swap.truth import added
from hotseat.words import State, SwapReport

__all__ = ["DRAIN", "ON_HOST", "Answer", "Job", "JobKind", "Queue", "Record", "Ticket", "Wish", "row"]

ON_HOST = (State.PARKED, State.STORED, State.SWAPPING_OUT, State.SWAPPING_IN)
"""Where a workload holds host memory for what it has, had or will have on a device."""


DRAIN = "drain"
"""Among what was learned, beside the kinds of job: how long answers took to end."""


AWAY = (State.PARKED, State.STORED)
"""Where a swap in brings it back."""


class JobKind(enum.StrEnum):
    SWAP_OUT = "swap out"
    SWAP_IN = "swap in"
    START = "start"
    STOP = "stop"
    RECOVER = "recover"
    STORE = "store"
    FETCH = "fetch"


RETURN = "swap in from disk"
"""A swap in of what was stored, among the kinds of job of which is measured how long they take."""


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
    moves_since: float = 0.0
    """When its drain had ended; `begun` if there was none."""
    makes_room_for: str | None = None
    step: str = ""
    stored: bool = False
    """It was stored when this began."""
    whole: bool = False
    """A swap out after which no context of it is on a device."""
    gives_up: bool = False
    """A swap out of what was parked already: its context leaves."""
    leaves: bool = False
    """A swap out past its commit: it is frozen, and takes no more memory."""
    lost: bool = False
    """A stop of what a swap has lost: its answers are gone, so nobody waits for their end."""
    answers: list[Answer] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Record:
    name: str
    spec: Workload
    state: State = State.STOPPED
    note: str = "not looked at yet"
    observation: Observation | None = None
    pids: frozenset[int] = frozenset()
    learned: Learned = field(default_factory=Learned)
    waiting: Queue = field(default_factory=Queue)
    in_flight: dict[Ticket, None] = field(default_factory=dict)
    wishes: list[Wish] = field(default_factory=list)
    park_after: tuple[str, ...] = ()
    """Who goes to disk to make room in the arena, so that it can be parked as a person said."""
    park_answers: list[Answer] = field(default_factory=list)
    """Of persons whose word waits for that, or for a swap out under way that leaves its context there."""
    park_whole: bool = False
    """They want nothing of it left on the devices."""
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
    coming: bool = False
    """It began to come in ahead of a swap in, which has not ended yet."""
    stayed: Mapping[int, int] = field(default_factory=dict)
    """Of its contexts, when it was parked last and they stayed."""
    held: bool = False
    """Parked by a person: frozen answers do not bring it back, a new request or `seat` does."""
    seated_since: float = 0.0
    frozen_since: float | None = None
    last_used: float = float("-inf")
    not_before: float = 0.0
    keep_until: float = 0.0
    kept: int = 0
    """Failures in a row, of ways out."""
    failures: int = 0
    """In a row, of ways in."""
    no_park_until: float = 0.0
    """The host, or its container's limit, had no memory for parking it; do not try before this."""
    no_whole_until: float = 0.0
    """The same for its context, that could stay."""
    no_store_until: float = 0.0
    """It could not be written to disk; do not try before this."""
    warm_until: float = 0.0
    """A hint: it will be wanted until then."""
    preload: bool = False
    """It may sit where nobody else does, until it has once."""
    preload_due: bool = False
    """The daemon has started, and its first look says whether it is to be preloaded."""
    losses: int = 0
    """Quarantines in a row, without a swap in between that went well."""
    lost_since: float | None = None
    """Quarantined since then."""
    blocked_since: float | None = None
    sought_until: float | None = None
    """Its container, which was found by its label, is gone: until then discovery has time to say what became of it."""
    trouble: str = ""
    """The last failure of making room for it."""

    @property
    def exists(self) -> bool:
        return self.observation is not None

    @property
    def can_start(self) -> bool:
        return self.spec.start and (self.exists or self.spec.made_here)

    @property
    def start_is_due(self) -> bool:
        """A cold start of it is wanted, and comes as soon as there is room for it."""
        wanted = self.preload_due or self.preload or bool(self.wishes or self.waiting)
        return wanted and self.state is State.STOPPED and self.job is None and self.looked and self.can_start

    @property
    def frozen(self) -> bool:
        """Its requests in flight get no byte now."""
        return self.state is not State.SEATED

    @property
    def open(self) -> bool:
        """A request that comes now may have its seat at once."""
        return (
            self.state is State.SEATED
            and self.ready
            and self.job is None
            and self.successor is None
            and not self.leaving
        )

    @property
    def host_bytes(self) -> int:
        """What parking it takes of the host's memory; once it leaves its seat, what it holds of it. A context that
        stays on its devices is no part of that."""
        return self.on_host(whole=self.job is not None and self.job.whole)

    def on_host(self, *, whole: bool) -> int:
        """The same where it leaves, or has left, its devices wholly, or but for its context if that may stay."""
        seen, job = self.observation, self.job
        if seen is None or (job is not None and job.kind is JobKind.START):
            return 0
        parked, kept = sum(seen.parked_gpu_bytes.values()), sum(seen.kept_gpu_bytes.values())
        if parked or kept:
            leaves = parked + (kept if whole else 0)
        elif (self.may_keep and not whole) or (job is not None and job.kind is JobKind.STOP):
            leaves = 0
        else:
            leaves = sum(seen.gpu_bytes.values()) - seen.custom_gpu_bytes
        return max(0, leaves - sum(one.bytes for one in seen.held.values()))

    @property
    def arena_bytes(self) -> int:
        """The same of the store's arena, for what the store holds of it."""
        seen = self.observation
        if seen is None:
            return 0
        if any(one.state is HeldState.OUT for one in seen.held.values()):
            fetched = self.job is not None and self.job.kind is JobKind.FETCH  # shared with others it takes less
            return sum(
                one.bytes - one.zero_bytes if fetched and one.stored else one.parked_bytes for one in seen.held.values()
            )
        stopping = self.job is not None and self.job.kind is JobKind.STOP
        return 0 if stopping else sum(one.bytes for one in seen.held.values()) + seen.custom_gpu_bytes

    @property
    def out_in_arena(self) -> bool:
        """All that it had on devices, but for contexts, is in the store's arena."""
        seen = self.observation
        held = seen.held.values() if seen is not None else ()
        return self.state is State.PARKED and bool(held) and all(one.state is HeldState.OUT for one in held)

    @property
    def startable(self) -> bool:
        """A cold start is its way back to a seat: stopped, or lost, to be restarted, and nothing of it runs."""
        if self.state is State.QUARANTINED:
            return self.losses > 0 and self.ended
        return self.state is State.STOPPED

    @property
    def ended(self) -> bool:
        seen = self.observation
        return seen is not None and seen.container.status in (Status.EXITED, Status.CREATED)

    @property
    def demand(self) -> tuple[float, int] | None:
        """(since when, with what priority of a caller) its most urgent demand waits; None if nobody does."""
        found = [(wish.since, 0) for wish in self.wishes]
        if (urgent := self.waiting.urgent) is not None:
            found.append((urgent.arrived, urgent.priority))
        if self.in_flight and self.frozen_since is not None and not self.held:
            found.append((self.frozen_since, max(ticket.priority for ticket in self.in_flight)))
        return min(found, key=lambda one: turn(*one), default=None)

    @property
    def min_stay(self) -> float:
        """Seconds for which it keeps its seat while it has work: never shorter than what the seat costs."""
        seconds = self.learned.seconds
        if JobKind.STOP in seconds and JobKind.SWAP_OUT not in seconds:
            out, back = seconds[JobKind.STOP], seconds.get(JobKind.START, 0.0)
        else:
            out, back = seconds.get(JobKind.SWAP_OUT, 0.0), seconds.get(JobKind.SWAP_IN, 0.0)
        return stay(self.spec.min_stay, out=out, back=back)

    @property
    def need(self) -> Mapping[int, int] | None:
        """Device memory that its next seat takes. None: never seen, and not configured."""
        seen = self.observation
        cold = self.startable or (self.job is not None and self.job.kind is JobKind.START)
        if seen is not None and not cold:
            return added(seen.parked_gpu_bytes, seen.kept_gpu_bytes)
        return self.learned.memory if self.learned.memory is not None else self.spec.gpu_memory

    @property
    def context(self) -> Mapping[int, int]:
        """Of what it holds: what stays on devices while it is parked."""
        seen, job = self.observation, self.job
        if seen is None or (job is not None and (job.whole or job.kind is not JobKind.SWAP_OUT)):
            return {}
        if self.state in AWAY or self.spec.context != "keep":
            return seen.kept_gpu_bytes
        return self.stayed if seen.context_gpu_bytes and self.stayed else seen.context_gpu_bytes

    @property
    def may_keep(self) -> bool:
        """Its context may stay when it leaves its seat."""
        held = self.observation.held if self.observation is not None else {}
        cuda = self.observation.cuda if self.observation is not None else {}
        return self.spec.context == "keep" and bool(held) and all(process in held for process in cuda)

    def view(self, now: float, *, disk_free: int = 0) -> WorkloadView:
        """`disk_free`: what the store may still write to disk."""
        seen, spec, kind = self.observation, self.spec, self.job.kind if self.job is not None else None
        demand = self.demand
        caller = demand[1] if demand is not None else max((ticket.priority for ticket in self.in_flight), default=0)
        seconds = self.learned.seconds
        return WorkloadView(
            name=self.name,
            state=State.STOPPED if self.startable else self.state,
            holds=seen.gpu_bytes if seen is not None else {},
            context=self.context,
            need=self.need,
            demand_since=None if demand is None else demand[0],
            priority=spec.priority + caller,
            busy=bool(self.waiting or self.in_flight),
            waiting=len(self.waiting),
            running=len(self.in_flight),
            rate=self.learned.rate.of(now),
            seated_since=self.seated_since,
            last_used=self.last_used,
            min_stay=self.min_stay,
            linger=spec.linger,
            pinned=spec.pinned,
            can_start=self.can_start,
            commanded=any(wish.commanded for wish in self.wishes),
            not_before=self.not_before,
            keep_until=self.keep_until,
            out_seconds=seconds.get(JobKind.SWAP_OUT),
            in_seconds=seconds.get(JobKind.SWAP_IN),
            start_seconds=seconds.get(JobKind.START),
            host_bytes=self.host_bytes,
            arena_bytes=self.arena_bytes,
            storable=self.out_in_arena and self.no_store_until <= now and 0 < self.arena_bytes <= disk_free,
            storing=kind is JobKind.STORE,
            fetching=kind is JobKind.FETCH,
            store_seconds=seconds.get(JobKind.STORE),
            return_seconds=seconds.get(RETURN),
            parkable=self.no_park_until <= now,
            wholly=self.no_whole_until <= now,
            stopping=kind is JobKind.STOP,
            idle_timeout=spec.idle_timeout,
            idle_stops=spec.idle == "stop",
            warm_until=self.warm_until,
            preload=self.preload,
            prefetch=spec.prefetch and spec.idle_timeout is None and not self.held and not self.leaving,
        )


def row(record: Record) -> dict[str, Any]:
    """One workload as the control API and `ps --json` show it."""
    seen = record.observation
    gpu = dict(seen.gpu_bytes) if seen is not None else {}
    parked = dict(seen.parked_gpu_bytes) if seen is not None else {}
    going = "removed from the configuration, its last answers end" if record.leaving else ""
    going = "becomes another container when its last answers have ended" if record.successor else going
    note = "is about to be started" if record.start_is_due else record.note
    note = "; ".join(part for part in (record.job.step if record.job else "", note, going) if part)
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
        "stored_bytes": sum(one.disk_bytes for one in seen.held.values()) if seen is not None else 0,
        "waiting": len(record.waiting),
        "in_flight": len(record.in_flight),
        "pinned": record.spec.pinned,
        "note": note,
        "way": seen.way.name if seen is not None else "",
        "way_why": seen.way.why if seen is not None else "",
    }
