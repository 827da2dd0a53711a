"""Devices, host memory, workloads and a virtual clock around `decide`. Checks at every instant that capacity holds.

A request runs only while its workload is seated; one that is parked in mid-answer goes on later. With `drain` it has
so long to end before it is frozen, and nobody is let in meanwhile, as the daemon does it. Who is to be stopped ends its
answers first and is started again by the next request.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hotseat.scheduler import Action, Decision, DeviceRoom, HostRoom, Kind, Snapshot, WorkloadView, decide
from hotseat.scheduler.turns import stay, turn
from hotseat.words import State


@dataclass(eq=False)
class Request:
    since: float
    """When it arrived, or since when its answer is frozen."""
    left: float
    """Seconds of work."""
    priority: int = 0


@dataclass
class Sim:
    need: dict[int, int]
    state: State = State.PARKED
    priority: int = 0
    pinned: bool = False
    can_start: bool = True
    idle_timeout: float | None = None
    warm_until: float = 0.0
    seated_since: float = 0.0
    last_used: float = 0.0
    stopping: bool = False
    swap_out: float | None = None
    swap_in: float | None = None
    """Seconds of its swaps; None: as the simulation has it for all."""
    drain: float | None = None
    """Seconds that its answers have to end before it is parked; None: they are frozen at once."""
    drain_until: float | None = None
    """It drains, and for so long at most."""
    rate: float = 0.0
    prefetch: bool = False
    waiting: list[Request] = field(default_factory=list)
    running: list[Request] = field(default_factory=list)

    @property
    def runs(self) -> bool:
        """Its engine makes progress: it sits, or ends its answers before it is parked or stopped."""
        return self.state is State.SEATED or self.stopping or self.drain_until is not None

    @property
    def urgent(self) -> Request | None:
        frozen = [] if self.runs else self.running
        return min([*self.waiting, *frozen], key=lambda one: turn(one.since, one.priority), default=None)


@dataclass
class Simulation:
    capacity: dict[int, int]
    workloads: dict[str, Sim]
    swap_out: float
    swap_in: float
    min_stay: float
    linger: float = 0.0
    start: float = 0.0
    stop: float = 0.0
    host: int | None = None
    now: float = 0.0
    longest_wait: float = 0.0
    swaps: int = 0
    stops: int = 0
    served: list[str] = field(default_factory=list)
    waits: dict[str, float] = field(default_factory=dict)
    """The longest of each workload."""
    blocked: set[str] = field(default_factory=set)
    """Ever told that nobody may be asked."""
    left_for: dict[str, str] = field(default_factory=dict)
    """Who gave up its seat for whom, until either has one again."""

    def view(self, name: str) -> WorkloadView:
        sim = self.workloads[name]
        urgent = sim.urgent
        present = max((one.priority for one in sim.running), default=0)
        on_host = sim.state in (State.PARKED, State.SWAPPING_IN, State.SEATED, State.SWAPPING_OUT)
        holding = sim.state in (State.SEATED, State.SWAPPING_OUT) and not (sim.stopping and self._was_parked(name))
        return WorkloadView(
            name=name,
            state=sim.state,
            holds=sim.need if holding else {},
            need=sim.need,
            demand_since=None if urgent is None or sim.state is State.SEATED else urgent.since,
            priority=sim.priority + (urgent.priority if urgent is not None else present),
            busy=bool(sim.waiting or sim.running),
            waiting=len(sim.waiting),
            running=len(sim.running),
            rate=sim.rate,
            seated_since=sim.seated_since,
            last_used=sim.last_used,
            min_stay=stay(self.min_stay, out=self.out_of(sim) + (sim.drain or 0.0), back=self.in_of(sim)),
            linger=self.linger,
            pinned=sim.pinned,
            can_start=sim.can_start,
            idle_timeout=sim.idle_timeout,
            warm_until=sim.warm_until,
            prefetch=sim.prefetch,
            host_bytes=sum(sim.need.values()) if on_host and not (sim.stopping and holding) else 0,
            stopping=sim.stopping,
            out_seconds=self.out_of(sim) + (sim.drain or 0.0),
            in_seconds=self.in_of(sim),
        )

    def out_of(self, sim: Sim) -> float:
        return self.swap_out if sim.swap_out is None else sim.swap_out

    def in_of(self, sim: Sim) -> float:
        return self.swap_in if sim.swap_in is None else sim.swap_in

    def _was_parked(self, name: str) -> bool:
        return name in self._stopped_parked

    _stopped_parked: set[str] = field(default_factory=set)

    def snapshot(self) -> Snapshot:
        rooms = tuple(DeviceRoom(index=index, size=size) for index, size in self.capacity.items())
        host = None if self.host is None else HostRoom(budget=self.host)
        return Snapshot(devices=rooms, workloads=tuple(self.view(name) for name in self.workloads), host=host)

    def run(self, arrivals: Sequence[tuple[Any, ...]], *, until: float) -> None:
        """`arrivals` are (time, workload, seconds of work) and, if it matters, the caller's priority."""
        events: list[tuple[float, int, str, str, Any]] = []
        order = 0

        def push(at: float, what: str, name: str = "", data: Any = None) -> None:
            nonlocal order
            order += 1
            heapq.heappush(events, (at, order, what, name, data))

        for at, name, work, *priority in arrivals:
            push(at, "arrive", name, Request(at, work, *priority))
        while events and events[0][0] <= until:
            at, _, what, name, data = heapq.heappop(events)
            self._work(at - self.now)
            self.now = at
            if name:
                self._happens(what, self.workloads[name], data)
            self._admit()
            decision = self._decide()
            for action in decision.actions:
                push(at + self._begin(action), *self._end_of(action))
            for name, sim in self.workloads.items():
                if sim.stopping and not sim.running and sim.state is State.SWAPPING_OUT:
                    sim.state, sim.stopping = State.SWAPPING_OUT, True
                    if name not in self._ending:
                        self._ending.add(name)
                        push(at + self.stop, "stopped", name)
                if sim.drain_until is not None and (not sim.running or at >= sim.drain_until):
                    sim.drain_until = None
                    push(at + self.out_of(sim), "parked", name)
            self.check_capacity()
            if decision.wake_at is not None:
                assert decision.wake_at > at
                push(decision.wake_at, "tick")
            ends = [one.left for sim in self.workloads.values() if sim.runs for one in sim.running]
            if ends:
                push(at + min(ends), "tick")

    _ending: set[str] = field(default_factory=set)

    def _happens(self, what: str, sim: Sim, data: Any) -> None:
        match what:
            case "arrive":
                sim.waiting.append(data)
            case "warm":
                sim.warm_until = data
            case "parked":
                sim.state = State.PARKED
                for one in sim.running:
                    one.since = self.now
            case "stopped":
                sim.state, sim.stopping = State.STOPPED, False
                name = next(name for name, other in self.workloads.items() if other is sim)
                self._ending.discard(name)
                self._stopped_parked.discard(name)
            case "seated":
                sim.state, sim.seated_since = State.SEATED, self.now
                for one in sim.running:
                    self._waited(sim, one)

    def _begin(self, action: Action) -> float:
        """Seconds until it ends."""
        sim = self.workloads[action.workload]
        self.swaps += 1
        self.check_use(action)
        match action.kind:
            case Kind.SWAP_OUT:
                assert sim.state is State.SEATED
                assert not sim.pinned
                sim.state = State.SWAPPING_OUT
                if sim.drain is not None:
                    sim.drain_until = self.now + sim.drain
                    return sim.drain
                return self.out_of(sim)
            case Kind.STOP:
                assert sim.can_start, "what cannot be brought back is never destroyed"
                assert not sim.pinned
                if sim.state is State.PARKED:
                    assert not sim.running, "frozen answers cannot be brought back"
                    self._stopped_parked.add(action.workload)
                else:
                    assert sim.state is State.SEATED
                sim.state, sim.stopping = State.SWAPPING_OUT, True
                self.stops += 1
                return 0.0
            case Kind.SWAP_IN:
                assert sim.state is State.PARKED
                sim.state = State.SWAPPING_IN
                return self.in_of(sim)
            case Kind.START:
                assert sim.state is State.STOPPED
                sim.state = State.SWAPPING_IN
                return self.start

    def _end_of(self, action: Action) -> tuple[str, str]:
        drains = action.kind is Kind.SWAP_OUT and self.workloads[action.workload].drain is not None
        if action.kind is Kind.STOP or drains:
            return ("tick", "")
        return ("parked" if action.kind is Kind.SWAP_OUT else "seated", action.workload)

    def _decide(self) -> Decision:
        decision = decide(self.now, self.snapshot())
        self.blocked.update(decision.blocked)
        return decision

    def _work(self, seconds: float) -> None:
        for name, sim in self.workloads.items():
            if sim.runs and sim.running:
                for one in sim.running:
                    one.left -= seconds
                ended = [one for one in sim.running if one.left <= 1e-9]
                if ended:
                    sim.running = [one for one in sim.running if one.left > 1e-9]
                    self.served += [name] * len(ended)
                    sim.last_used = self.now + seconds

    def _admit(self) -> None:
        for sim in self.workloads.values():
            if sim.state is State.SEATED and sim.waiting:
                for one in sim.waiting:
                    self._waited(sim, one)
                sim.running += sim.waiting
                sim.waiting = []

    def _waited(self, sim: Sim, one: Request) -> None:
        wait = self.now - one.since
        name = next(name for name, other in self.workloads.items() if other is sim)
        self.longest_wait = max(self.longest_wait, wait)
        self.waits[name] = max(self.waits.get(name, 0.0), wait)

    def check_use(self, action: Action) -> None:
        """Nobody is frozen in the middle for one that its answers then overtake: it would leave its seat in vain."""
        name = action.workload
        if action.makes_room_for is not None:
            self.left_for[name] = action.makes_room_for
        elif action.kind in (Kind.SWAP_IN, Kind.START):
            target = self.left_for.pop(name, None)
            if target is not None and not self.workloads[name].waiting:
                assert self._turn(target) <= self._turn(name), f"{name} left its seat for {target} in vain"
            self.left_for = {one: other for one, other in self.left_for.items() if other != name}

    def _turn(self, name: str) -> float:
        sim = self.workloads[name]
        assert sim.urgent is not None
        return turn(sim.urgent.since, sim.priority + sim.urgent.priority)

    def check_capacity(self) -> None:
        views = [self.view(name) for name in self.workloads]
        for index, size in self.capacity.items():
            held = sum(
                max(view.holds.get(index, 0), (view.need or {}).get(index, 0) * (view.state is State.SWAPPING_IN))
                for view in views
            )
            assert held <= size, (index, held, size)
        if self.host is not None:
            parked = (State.PARKED, State.SWAPPING_OUT)
            assert sum(view.host_bytes for view in views if view.state in parked) <= self.host
