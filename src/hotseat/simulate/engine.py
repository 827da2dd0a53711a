"""One workload in the simulated world: its state, who waits for it, and its engine on a clock of its own.

The engine's clock runs only while the engine does, so a frozen answer goes on later by itself: an answer's end is known
on that clock the moment it begins, and `offset` tells it in the time of the world.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush, heapreplace

from hotseat.scheduler import Rate, WorkloadView, stay
from hotseat.simulate.fleet import Member
from hotseat.simulate.results import Results
from hotseat.words import State


class Engine:
    __slots__ = (
        "busy",
        "clock",
        "dirty",
        "drain_until",
        "draining",
        "frozen_since",
        "has_sat",
        "idle_at",
        "keep_until",
        "kept",
        "last_used",
        "look_at",
        "member",
        "number",
        "offset",
        "parked_bytes",
        "rate",
        "results",
        "running",
        "runs",
        "seated_since",
        "seen",
        "slots",
        "state",
        "stay",
        "stopping",
        "waiting",
        "wants",
    )

    def __init__(self, number: int, member: Member, state: State, results: Results) -> None:
        self.number, self.member, self.state, self.results = number, member, state, results
        self.waiting: list[int] = []
        self.running: list[tuple[float, float, int]] = []
        """A heap of (end, first token, request) on its own clock."""
        self.slots = [0.0] * member.service.at_once
        """A heap: when each place for an answer is free, on its own clock."""
        self.clock = 0.0
        """Its own time, while it does not run."""
        self.offset = 0.0
        """While it runs: the world's time less its own."""
        self.runs = False
        self.idle_at = 0.0
        """On its own clock."""
        self.busy = False
        """An answer is under way, or frozen."""
        self.wants = False
        """Off its seat, at rest, and there is demand for it: the scheduler has something to decide."""
        self.dirty = True
        self.stopping = self.draining = False
        self.drain_until = self.look_at = math.nan
        """When the event comes that ends its drain, or that asks whether it has become idle."""
        self.parked_bytes = 0
        self.has_sat = False
        self.seated_since = 0.0
        self.frozen_since = 0.0
        self.last_used = -math.inf
        self.keep_until = 0.0
        self.kept = 0
        """How often in a row its answers did not end in time for a stop."""
        self.stay = stay(member.min_stay, out=member.out_seconds, back=member.in_seconds)
        """As `Record.min_stay` of a daemon that has measured both."""
        self.rate = Rate()
        self.seen = 0
        """How many of its requests have arrived."""

    # -- requests

    def asked(self, now: float) -> None:
        self.rate.count(now)
        self.seen += 1
        self.dirty = True

    def admit(self, request: int, now: float) -> None:
        """It runs, and takes this one: when it will answer is known now, unless it is frozen before."""
        results, service, offset = self.results, self.member.service, self.offset
        trace = results.trace
        begin = max(now - offset, self.slots[0])
        prefilled = begin + trace.prompts[request] / service.prefill
        tokens = trace.outputs[request]
        end = prefilled + tokens / service.decode
        first = prefilled + 1.0 / service.decode if tokens else end
        heapreplace(self.slots, end)
        heappush(self.running, (end, first, request))
        if end > self.idle_at:
            self.idle_at = end
        results.wait[request] = now - trace.times[request]
        results.first[request] = first + offset - trace.times[request]
        results.end[request] = end + offset - trace.times[request]

    def prune(self, now: float) -> int:
        """Forgets the answers that have ended; how many are under way."""
        running = self.running
        at = self.offset if self.runs else math.inf
        while running and running[0][0] + at <= now:
            heappop(running)
        return len(running)

    # -- its clock

    def freeze(self, now: float) -> None:
        self.prune(now)
        self.clock = now - self.offset
        self.runs = False
        for _, _, request in self.running:
            self.results.freezes[request] += 1

    def thaw(self, now: float) -> None:
        self.offset = now - self.clock
        self.runs = True
        results, times = self.results, self.results.trace.times
        for end, first, request in self.running:
            results.end[request] = end + self.offset - times[request]
            if first > self.clock:
                results.first[request] = first + self.offset - times[request]

    def idle_time(self) -> float:
        """When it will have answered all that it has taken, in the world's time."""
        return self.idle_at + self.offset

    # -- as the scheduler sees it

    @property
    def demand_since(self) -> float | None:
        since = self.results.trace.times[self.waiting[0]] if self.waiting else None
        if self.running and not self.runs and self.state in (State.PARKED, State.STOPPED):
            return self.frozen_since if since is None else min(since, self.frozen_since)
        return since

    def view(self, now: float) -> WorkloadView:
        member, state = self.member, self.state
        running = self.prune(now)
        holds = state is State.SEATED or (state is State.SWAPPING_OUT and not self.on_host)
        return WorkloadView(
            name=member.name,
            state=state,
            holds=member.need if holds else _NOTHING,
            need=member.need,
            demand_since=self.demand_since,
            priority=member.priority,
            busy=bool(self.waiting or running),
            waiting=len(self.waiting),
            running=running,
            rate=self.rate.of(now),
            seated_since=self.seated_since,
            last_used=self.last_used,
            min_stay=self.stay,
            linger=member.linger,
            pinned=member.pinned,
            can_start=member.can_start,
            keep_until=self.keep_until,
            out_seconds=member.out_seconds,
            in_seconds=member.in_seconds,
            start_seconds=member.costs.start,
            host_bytes=self.host_bytes,
            stopping=self.stopping,
            idle_timeout=member.idle_timeout,
            idle_stops=member.idle_stops,
            preload=member.preload and not self.has_sat,
            prefetch=member.prefetch and member.idle_timeout is None,
        )

    @property
    def on_host(self) -> bool:
        """It is being stopped, and was parked before."""
        return self.stopping and self.parked_bytes > 0

    @property
    def host_bytes(self) -> int:
        """What it holds of the host's memory; seated, what parking it would take."""
        if self.state is State.SEATED:
            return self.member.nbytes
        return self.parked_bytes


_NOTHING: dict[int, int] = {}
