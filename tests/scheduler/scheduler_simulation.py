"""A device, some workloads and a virtual clock around `decide`. Checks at every instant that capacity holds.

A request runs only while its workload is seated; one that is parked in mid-answer goes on later.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from hotseat.scheduler import Decision, DeviceRoom, Kind, Snapshot, WorkloadView, decide
from hotseat.words import State


@dataclass
class Sim:
    need: dict[int, int]
    state: State = State.PARKED
    seated_since: float = 0.0
    last_used: float = 0.0
    waiting: list[tuple[float, float]] = field(default_factory=list)
    """(arrived, seconds of work)"""
    running: list[float] = field(default_factory=list)
    """Seconds of work left."""
    frozen_since: float | None = None

    @property
    def since(self) -> float | None:
        oldest = [arrived for arrived, _ in self.waiting]
        if self.running and self.frozen_since is not None:
            oldest.append(self.frozen_since)
        return min(oldest, default=None)


@dataclass
class Simulation:
    capacity: dict[int, int]
    workloads: dict[str, Sim]
    swap_out: float
    swap_in: float
    min_stay: float
    linger: float = 0.0
    now: float = 0.0
    longest_wait: float = 0.0
    swaps: int = 0
    served: list[str] = field(default_factory=list)

    def snapshot(self) -> Snapshot:
        views = []
        for name, sim in self.workloads.items():
            holding = sim.state in (State.SEATED, State.SWAPPING_OUT)
            views.append(
                WorkloadView(
                    name=name,
                    state=sim.state,
                    holds=sim.need if holding else {},
                    need=sim.need,
                    demand_since=None if sim.state is State.SEATED else sim.since,
                    busy=bool(sim.waiting or sim.running),
                    seated_since=sim.seated_since,
                    last_used=sim.last_used,
                    min_stay=self.min_stay,
                    linger=self.linger,
                )
            )
        rooms = tuple(DeviceRoom(index=index, size=size) for index, size in self.capacity.items())
        return Snapshot(devices=rooms, workloads=tuple(views))

    def run(self, arrivals: list[tuple[float, str, float]], *, until: float) -> None:
        """`arrivals` are (time, workload, seconds of work)."""
        events: list[tuple[float, int, str, tuple[object, ...]]] = []
        order = 0

        def push(at: float, what: str, *data: object) -> None:
            nonlocal order
            order += 1
            heapq.heappush(events, (at, order, what, data))

        for at, name, work in arrivals:
            push(at, "arrive", name, work)
        while events and events[0][0] <= until:
            at, _, what, data = heapq.heappop(events)
            self._work(at - self.now)
            self.now = at
            if what == "arrive":
                name, work = data
                self.workloads[name].waiting.append((at, work))  # type: ignore[index, arg-type]
            elif what == "parked":
                sim = self.workloads[data[0]]  # type: ignore[index]
                sim.state = State.PARKED
                sim.frozen_since = at
            elif what == "seated":
                sim = self.workloads[data[0]]  # type: ignore[index]
                sim.state, sim.seated_since = State.SEATED, at
                self._waited(sim)
                sim.frozen_since = None
            self._admit()
            decision = self._decide()
            for action in decision.actions:
                sim = self.workloads[action.workload]
                self.swaps += 1
                if action.kind is Kind.SWAP_OUT:
                    assert sim.state is State.SEATED
                    sim.state = State.SWAPPING_OUT
                    push(at + self.swap_out, "parked", action.workload)
                else:
                    assert sim.state is State.PARKED
                    sim.state = State.SWAPPING_IN
                    push(at + self.swap_in, "seated", action.workload)
            self.check_capacity()
            if decision.wake_at is not None:
                assert decision.wake_at > at
                push(decision.wake_at, "tick")
            ends = [work for sim in self.workloads.values() if sim.state is State.SEATED for work in sim.running]
            if ends:
                push(at + min(ends), "tick")

    def _decide(self) -> Decision:
        decision = decide(self.now, self.snapshot())
        assert not decision.blocked
        return decision

    def _work(self, seconds: float) -> None:
        for name, sim in self.workloads.items():
            if sim.state is State.SEATED and sim.running:
                left = [work - seconds for work in sim.running]
                sim.running = [work for work in left if work > 1e-9]
                if len(sim.running) < len(left):
                    self.served += [name] * (len(left) - len(sim.running))
                    sim.last_used = self.now + seconds

    def _admit(self) -> None:
        for sim in self.workloads.values():
            if sim.state is State.SEATED and sim.waiting:
                self._waited(sim)
                sim.running += [work for _, work in sim.waiting]
                sim.waiting.clear()

    def _waited(self, sim: Sim) -> None:
        if sim.since is not None:
            self.longest_wait = max(self.longest_wait, self.now - sim.since)

    def check_capacity(self) -> None:
        for index, size in self.capacity.items():
            held = sum(sim.need.get(index, 0) for sim in self.workloads.values() if sim.state is not State.PARKED)
            assert held <= size, (index, held, size)
