"""The simulated world of one island of the fleet: arrivals, decisions and engines on a virtual clock. Pure.

The policy is asked when its answer can have changed, not at every request: when a workload that is off its seat is
first asked for, when a swap has ended, at `wake_at`, and, while somebody waits, when a seated workload gets work or
has ended all it had. With `every` it is asked at every event, as the daemon does; the outcome is the same (tested).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count

from hotseat.scheduler import DeviceRoom, HostRoom, Snapshot, WorkloadView
from hotseat.simulate.engine import Engine
from hotseat.simulate.fleet import Fleet
from hotseat.simulate.policies import Policy
from hotseat.simulate.results import Meter, Results, Tally
from hotseat.simulate.swaps import Swaps
from hotseat.words import State

Happening = Callable[[Engine, float], None]

_TICK = 1 << 14
"""Requests between two reports of progress."""


class World:
    def __init__(
        self,
        *,
        fleet: Fleet,
        devices: Sequence[int],
        members: Sequence[int],
        policy: Policy,
        results: Results,
        requests: Sequence[int],
        every: bool = False,
    ) -> None:
        self.policy, self.results, self.every = policy, results, every
        self.trace, self.requests = results.trace, requests
        self.now = 0.0
        self.decisions = 0
        self.engines = [
            Engine(number, fleet.members[number], State.PARKED if policy.parks else State.STOPPED, results)
            for number in members
        ]
        self.by_name = {engine.member.name: engine for engine in self.engines}
        of_member = {engine.number: engine for engine in self.engines}
        self.of_model = [of_member.get(member) for member in fleet.serves]
        self.tallies = {engine.number: Tally() for engine in self.engines}
        self.meters = {index: Meter() for index in devices}
        self._fill_host(fleet.host)
        self._rooms = tuple(DeviceRoom(index=index, size=fleet.devices[index]) for index in devices)
        self._host = None if fleet.host is None else HostRoom(budget=fleet.host)
        self._views = [engine.view(0.0) for engine in self.engines]
        self._all_rates = fleet.host is not None
        self._watches = any(engine.member.idle_timeout is not None for engine in self.engines)
        self._wanting = 0
        self._wake_at = math.inf
        self._queue: deque[int] = deque()
        """Of a policy `in_order`: requests that wait, the eldest first."""
        self._events: list[tuple[float, int, Happening | None, Engine | None]] = []
        self._order = count()
        self._times: dict[int, list[float]] | None = None
        self.swaps = Swaps(self)

    def _fill_host(self, budget: int | None) -> None:
        """At the beginning as many are parked as the host has room for, those asked for first before others."""
        left = math.inf if budget is None else budget
        for engine in self.engines:
            if engine.state is State.PARKED and engine.member.nbytes <= left:
                engine.parked_bytes = engine.member.nbytes
                left -= engine.member.nbytes
            else:
                engine.state, engine.parked_bytes = State.STOPPED, 0

    # -- time

    def run(self, tick: Callable[[int], None]) -> None:
        """Until nothing more can happen. `tick` hears now and then how many requests have arrived since."""
        trace, events = self.trace, self._events
        times, models, of_model = trace.times, trace.models, self.of_model
        if any(engine.member.preload for engine in self.engines):
            self.decide()
        for number, request in enumerate(self.requests):
            at = times[request]
            while events and events[0][0] <= at:
                self._happen()
            self.now = at
            engine = of_model[models[request]]
            assert engine is not None
            self._arrive(engine, request)
            if not number % _TICK:
                tick(min(_TICK, len(self.requests) - number))
        while events:
            self._happen()
        for meter in self.meters.values():
            meter.turn(self.now)

    def _happen(self) -> None:
        at, _, happening, engine = heappop(self._events)
        if happening is None:
            if at != self._wake_at:
                return
            self._wake_at = math.inf
            self.now = at
            self.decide()
        else:
            assert engine is not None
            self.now = at
            happening(engine, at)

    def at(self, at: float, happening: Happening | None, engine: Engine | None = None) -> None:
        heappush(self._events, (at, next(self._order), happening, engine))

    def meter(self, engine: Engine, *, computing: int = 0, moving: int = 0) -> None:
        for index in engine.member.need:
            self.meters[index].turn(self.now, computing=computing, moving=moving)

    # -- requests

    def _arrive(self, engine: Engine, request: int) -> None:
        now = self.now
        engine.asked(now)
        if engine.state is State.SEATED and not self._queue:
            if self.every or (self._wanting and not engine.busy):
                engine.waiting.append(request)
                self.settle(engine)
            else:
                engine.admit(request, now)
                if not engine.busy:
                    self.works(engine)
            return
        engine.waiting.append(request)
        anew = not engine.wants
        if self.policy.in_order:
            self._queue.append(request)
            anew = len(self._queue) == 1
        self.note(engine)
        if (engine.wants and anew) or self.every:
            self.decide()

    def note(self, engine: Engine) -> None:
        """Counts who is off its seat, at rest, and asked for."""
        at_rest = engine.state is State.PARKED or engine.state is State.STOPPED
        wants = at_rest and (bool(engine.waiting) or engine.busy)
        self._wanting += wants - engine.wants
        engine.wants = wants
        engine.dirty = True

    def settle(self, engine: Engine) -> None:
        """The daemon's order: seats are given after it was decided who leaves. One that drains serves who waits first,
        or its seat would serve nobody."""
        if self.policy.drains:
            self._grant(engine)
        self.decide()
        self._grant(engine)

    def _grant(self, engine: Engine) -> None:
        """Everybody who waits for it has a seat, if it still sits after it was decided who leaves."""
        if engine.state is not State.SEATED or not engine.waiting:
            return
        if self.policy.in_order:
            self.advance()
            return
        for request in engine.waiting:
            engine.admit(request, self.now)
        engine.waiting.clear()
        engine.dirty = True
        if not engine.busy:
            self.works(engine)

    def advance(self) -> None:
        """The eldest requests in their order, as far as their workloads sit."""
        while self._queue:
            engine = self.of_model[self.trace.models[self._queue[0]]]
            assert engine is not None
            if engine.state is not State.SEATED:
                return
            request = self._queue.popleft()
            assert engine.waiting.pop(0) == request
            engine.admit(request, self.now)
            engine.dirty = True
            if not engine.busy:
                self.works(engine)

    def works(self, engine: Engine) -> None:
        engine.busy = engine.dirty = True
        self.meter(engine, computing=1)
        self._look_whether_idle(engine)

    def _look_whether_idle(self, engine: Engine) -> None:
        engine.look_at = engine.idle_time()
        self.at(engine.look_at, self._idle, engine)

    def _idle(self, engine: Engine, now: float) -> None:
        if engine.look_at != now or not engine.runs:
            return  # it was frozen meanwhile
        if engine.idle_time() > now:
            self._look_whether_idle(engine)
            return
        engine.busy = False
        engine.last_used = now
        engine.dirty = True
        self.meter(engine, computing=-1)
        if engine.draining:
            self.swaps.leave(engine)
        elif self._wanting or self._watches or self.every:
            self.decide()

    # -- decisions

    def decide(self) -> None:
        self.decisions += 1
        now, views = self.now, self._views
        for number, engine in enumerate(self.engines):
            if engine.dirty or engine.state is State.SEATED or self._all_rates:
                views[number] = engine.view(now)
                engine.dirty = False
        shown = self._only_the_eldest() if self.policy.in_order else tuple(views)
        decision = self.policy.choose(
            now, Snapshot(devices=self._rooms, workloads=shown, host=self._host), self._next_request
        )
        for action in decision.actions:
            self.swaps.begin(self.by_name[action.workload], action)
        if decision.wake_at is not None and decision.wake_at != self._wake_at:
            assert decision.wake_at > now, "a decision that wants to be made again at once"
            self.at(decision.wake_at, None)
        self._wake_at = math.inf if decision.wake_at is None else decision.wake_at

    def _only_the_eldest(self) -> tuple[WorkloadView, ...]:
        """Of two requests of one instant only the queue knows which came first."""
        head = self.of_model[self.trace.models[self._queue[0]]] if self._queue else None
        return tuple(
            view if engine is head or view.demand_since is None else replace(view, demand_since=None)
            for engine, view in zip(self.engines, self._views, strict=True)
        )

    def _next_request(self, name: str) -> float:
        if self._times is None:
            self._times = {engine.number: [] for engine in self.engines}
            for request in self.requests:
                engine = self.of_model[self.trace.models[request]]
                assert engine is not None
                self._times[engine.number].append(self.trace.times[request])
        engine = self.by_name[name]
        times = self._times[engine.number]
        return times[engine.seen] if engine.seen < len(times) else math.inf
