"""Expected waits are kept: where everything takes as long as it always did, the seat comes when it was told."""

from __future__ import annotations

import math

import pytest
from daemon_world import NEED, SIZE, World
from hypothesis import given, note
from hypothesis import strategies as st

from hotseat.daemon import messages as m
from hotseat.daemon.book import DRAIN, JobKind, Ticket
from hotseat.words import Direction, PhaseTime, State, SwapReport

SEATED = ["", "a", "b", "c", "d", "bc"]
TIMES = st.floats(0.1, 12.0)


class Steady(World):
    """Each way takes what was measured of it, an answer never ends by itself, and an engine answers at once."""

    def table(self) -> str:
        """For whoever reads of a failure."""
        return "\n".join(
            f"{self.now} {r.name} {r.state} {r.learned.seconds} drain {r.spec.drain} stay {r.min_stay} linger "
            f"{r.spec.linger} priority {r.spec.priority} since {r.seated_since} last {r.last_used} "
            f"waiting {len(r.waiting)} in flight {len(r.in_flight)} job {r.job}"
            for r in self.core.records.values()
        )

    def run_until_told(self, ticket: Ticket) -> float:
        """Until it is given its seat; the seconds that took."""
        asked = self.now
        for _ in range(200):
            if self.told(ticket) is not None:
                return self.now - asked
            self._begin_drains()
            ends = {name: self._end_of(name) for name in self.jobs}
            at = min([*ends.values(), self.core.wake_at])
            assert at < math.inf, "nothing will happen any more"
            self.now = max(self.now, at)
            for name in [name for name, end in ends.items() if end <= self.now]:
                self._ended(name)
            self.answer_probes()
            self.send()
        raise AssertionError("no seat after 200 steps")

    def answer_probes(self) -> None:
        while self.probes:
            name, number = self.probes.popitem()
            self.send(m.Probed(workload=name, number=number))

    def _begin_drains(self) -> None:
        for name, kind in self.jobs.items():
            record = self.core.records[name]
            if kind is JobKind.SWAP_OUT and record.spec.drain is not None and record.in_flight and not record.drained:
                self.send(m.Drained(workload=name, answer=lambda value, error: None))

    def _drain_of(self, name: str) -> float:
        record = self.core.records[name]
        return record.spec.drain or 0.0 if record.in_flight and self.jobs[name] is JobKind.SWAP_OUT else 0.0

    def _end_of(self, name: str) -> float:
        record = self.core.records[name]
        assert record.job is not None
        return record.job.begun + self._drain_of(name) + record.learned.seconds[self.jobs[name]]

    def _ended(self, name: str) -> None:
        drain, kind = self._drain_of(name), self.jobs.pop(name)
        out = kind is JobKind.SWAP_OUT
        self.real[name].state = State.PARKED if out else State.SEATED
        assert sum(NEED[one] for one, real in self.real.items() if real.state is State.SEATED) <= SIZE
        report = SwapReport(
            workload=name,
            direction=Direction.OUT if out else Direction.IN,
            phases=(PhaseTime(name=DRAIN, seconds=drain), PhaseTime(name="checkpoint", seconds=1.0)),
            gpu_bytes={},
            processes=1,
            cuda_processes=1,
            threads=1,
            started_at=0.0,
        )
        seen = self.real[name].seen(name)
        self.send(self.devices(), m.JobEnded(workload=name, report=report, observation=seen))


@st.composite
def worlds(draw: st.DrawFn, priorities: st.SearchStrategy[int]) -> Steady:
    """Some sit, idle or with answers under way, for as long as it came; every way of everybody was measured."""
    lines = []
    for port, name in enumerate(NEED, 1):
        drain = draw(st.sampled_from(["off", "3s", "11s"]))
        stay, linger, priority = draw(st.integers(0, 10)), draw(st.integers(0, 4)), draw(priorities)
        lines.append(
            f"  {name}: {{port: {port}, drain: {drain}, min_stay: {stay}s, linger: {linger}s, priority: {priority}}}\n"
        )
    seated = draw(st.sampled_from(SEATED))
    world = Steady(f"defaults: {{max_wait: 1h}}\nworkloads:\n{''.join(lines)}", seated=seated)
    for record in world.core.records.values():
        record.learned.seconds.update({JobKind.SWAP_OUT: draw(TIMES), JobKind.SWAP_IN: draw(TIMES)})
    for name in draw(st.lists(st.sampled_from(seated), unique=True)) if seated else ():
        ticket = world.ask(name)
        world.answer_probes()
        if draw(st.booleans()):
            world.send(m.Left(ticket=ticket))
        world.tick(draw(st.floats(0, 8)))
    return world


@given(worlds(st.integers(-2, 4)), st.data())
def test_a_seat_comes_when_it_was_told(world: Steady, data: st.DataObject) -> None:
    parked = [name for name, record in world.core.records.items() if record.state is State.PARKED]
    name = data.draw(st.sampled_from(parked))
    note(world.table())
    told = world.core.expected_wait(world.core.records[name], world.now)
    assert told is not None
    assert world.run_until_told(world.ask(name)) == pytest.approx(told, abs=1e-6)


@given(worlds(st.just(0)), st.data())
def test_whoever_comes_behind_others_is_told_no_less_than_it_takes(world: Steady, data: st.DataObject) -> None:
    """Those before it may sit together, or beside it: then its seat comes sooner. All are of one priority: one that is
    frozen meanwhile may overtake the less important."""
    parked = [name for name, record in world.core.records.items() if record.state is State.PARKED]
    first, second = data.draw(st.permutations(parked))[:2]
    world.ask(first)
    note(world.table())
    told = world.core.expected_wait(world.core.records[second], world.now)
    assert told is not None
    assert world.run_until_told(world.ask(second)) <= told + 1e-6
