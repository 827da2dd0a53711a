"""The core against any order of events: requests, clients that leave, commands, failures, people behind its back.

A small world plays the other side: it has the true state of each workload, ends jobs well or badly, and is looked at
late.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from hotseat import config
from hotseat.daemon import messages as m
from hotseat.daemon.book import JobKind, Ticket, row
from hotseat.daemon.core import Core
from hotseat.errors import Busy, Failed, HotseatError, NoRoom, Quarantined, Refused, RolledBack
from hotseat.platforms.port import Container, Status
from hotseat.swap.port import Observation
from hotseat.words import Device, DeviceUse, ProcessRef, State

SIZE = 10
NEED = {"a": 8, "b": 6, "c": 4, "d": 10}
HOLDING = (State.SEATED, State.PAUSED)
TEXT = """
defaults: {min_stay: 5s, linger: 1s, max_wait: 100s}
workloads:
  a: {port: 1}
  b: {port: 2, drain: 10s}
  c: {port: 3, start: false}
  d: {port: 4}
"""


@dataclass
class Real:
    """One workload as it truly is."""

    state: State
    incarnation: int = 1

    def seen(self, name: str) -> Observation:
        runs = self.state is not State.STOPPED
        pid = list(NEED).index(name) * 100 + self.incarnation
        return Observation(
            state=self.state,
            container=Container(
                platform="docker",
                id=f"id-{name}",
                name=name,
                image="",
                status=Status.RUNNING if runs else Status.EXITED,
                pid=pid if runs else None,
                started_at=float(self.incarnation),
            ),
            processes=(ProcessRef(pid, 1),) if runs else (),
            cuda={},
            gpu_bytes={0: NEED[name]} if self.state in HOLDING else {},
            parked_gpu_bytes={0: NEED[name]} if self.state is State.PARKED else {},
            note="its restore failed" if self.state is State.QUARANTINED else "",
        )


@dataclass
class Heard:
    """What one who waits was told."""

    values: list[Any] = field(default_factory=list)
    errors: list[HotseatError] = field(default_factory=list)

    def __call__(self, value: Any, error: HotseatError | None) -> None:
        if error is None:
            self.values.append(value)
        else:
            self.errors.append(error)

    @property
    def times(self) -> int:
        return len(self.values) + len(self.errors)


class World:
    """The core with everything that it talks to."""

    def __init__(self) -> None:
        self.core = Core(config.parse(TEXT).workloads)
        self.now = 1000.0
        self.real = {name: Real(State.SEATED if name == "a" else State.PARKED) for name in NEED}
        self.jobs: dict[str, JobKind] = {}
        self.probes: dict[str, int] = {}
        self.late: list[m.Observed] = []
        """Looks that have begun and not been told yet."""
        self.tickets: dict[Ticket, Heard] = {}
        self.send(self.devices(), *(self.look(name) for name in NEED))

    def send(self, *messages: m.Message) -> None:
        for message in messages:
            self.core.handle(message, self.now)
        for effect in self.core.settle(self.now):
            match effect:
                case m.Tell(answer=answer, value=value, error=error):
                    self.check_grant(answer, error)
                    answer(value, error)
                case m.Launch(kind=kind, workload=name):
                    assert name not in self.jobs, f"two jobs of {name} at once"
                    self.jobs[name] = kind
                case m.Probe(workload=name, number=number):
                    self.probes[name] = number
                case m.Look(workload=name):
                    self.late.append(self.look(name))

    def check_grant(self, answer: Any, error: HotseatError | None) -> None:
        for ticket, heard in self.tickets.items():
            if heard is answer and error is None:
                record = self.core.records[ticket.workload]
                assert record.state is State.SEATED, "a seat was granted that nobody has"
                assert record.job is None, "a seat was granted that is being taken away"
                assert record.ready, "its engine was not asked"

    def look(self, name: str) -> m.Observed:
        return m.Observed(workload=name, epoch=self.core.records[name].epoch, observation=self.real[name].seen(name))

    def devices(self) -> m.Devices:
        held = {
            real.seen(name).processes[0].pid: NEED[name] for name, real in self.real.items() if real.state in HOLDING
        }
        used = sum(held.values())
        device = Device(index=0, uuid="u", name="n", total_bytes=SIZE)
        return m.Devices(
            uses=[DeviceUse(device=device, used_bytes=used, free_bytes=max(0, SIZE - used), processes=held)]
        )

    def ask(self, name: str) -> Ticket:
        heard = Heard()
        ticket = Ticket(workload=name, arrived=self.now, answer=heard)
        self.tickets[ticket] = heard
        self.send(m.Arrived(ticket=ticket))
        return ticket

    def end_job(self, name: str, error: HotseatError | None = None, becomes: State | None = None) -> None:
        kind = self.jobs.pop(name)
        real = self.real[name]
        if becomes is not None:
            real.state = becomes
        elif error is None:
            match kind:
                case JobKind.SWAP_OUT if real.state is State.SEATED:
                    real.state = State.PARKED
                case JobKind.SWAP_IN if real.state is State.PARKED:
                    real.state = State.SEATED
                case JobKind.STOP:
                    real.state = State.STOPPED
                case JobKind.START:
                    if real.state is State.STOPPED:
                        real.incarnation += 1
                    real.state = State.SEATED
                case _:
                    pass
        held = sum(NEED[name] for name, real in self.real.items() if real.state in HOLDING)
        if kind is JobKind.START and error is None and held > SIZE:
            # Never seen, so nobody knew what it takes, and others hold the rest for good: the engine gives up.
            real.state, error = State.STOPPED, Failed("the engine ended: out of memory")
        if kind not in (JobKind.SWAP_OUT, JobKind.STOP) and error is None:
            assert held <= SIZE, "more is seated than fits"
        self.send(self.devices(), m.JobEnded(workload=name, error=error, observation=real.seen(name)))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.send()

    def come_to_rest(self) -> None:
        """Everything goes well from here on, until nothing is left to happen."""
        for _ in range(500):
            for name in list(self.jobs):
                self.end_job(name)
            for name, number in list(self.probes.items()):
                del self.probes[name]
                self.send(m.Probed(workload=name, number=number))
            self.late.clear()
            self.send(self.devices(), *(self.look(name) for name in NEED))
            self.tick(1.0)
            for ticket, heard in self.tickets.items():
                if heard.values and not ticket.ended:
                    self.send(m.Left(ticket=ticket))


class AnyOrder(RuleBasedStateMachine):
    open = Bundle("open")
    names = st.sampled_from(sorted(NEED))

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.commands: list[Heard] = []

    @rule(target=open, name=names)
    def arrive(self, name: str) -> Any:
        return multiple(self.world.ask(name))

    @rule(ticket=consumes(open))
    def leave(self, ticket: Ticket) -> None:
        self.world.send(m.Left(ticket=ticket))

    @rule(name=names, kind=st.sampled_from([m.Park, m.Seat, m.Stop]))
    def command(self, name: str, kind: Any) -> None:
        heard = Heard()
        self.commands.append(heard)
        self.world.send(kind(workload=name, answer=heard))

    @rule(name=names, out=names)
    def command_swap(self, name: str, out: str) -> None:
        heard = Heard()
        self.commands.append(heard)
        self.world.send(m.Swap(workload=name, out=out, answer=heard))

    @rule(name=names)
    def job_ends_well(self, name: str) -> None:
        if name in self.world.jobs:
            self.world.end_job(name)

    @rule(name=names, error=st.sampled_from([RolledBack("r"), NoRoom("n"), Busy("b"), Refused("no"), Failed("f")]))
    def job_fails_before_its_commit(self, name: str, error: HotseatError) -> None:
        if name in self.world.jobs:
            self.world.end_job(name, type(error)(error.message))

    @rule(name=names)
    def job_ends_in_quarantine(self, name: str) -> None:
        if self.world.jobs.get(name) in (JobKind.SWAP_IN, JobKind.SWAP_OUT):
            self.world.end_job(name, Quarantined("lost"), becomes=State.QUARANTINED)

    @rule(name=names, well=st.booleans())
    def probe_ends(self, name: str, well: bool) -> None:
        if name in self.world.probes:
            number = self.world.probes.pop(name)
            error = None if well else Failed("silent")
            self.world.send(m.Probed(workload=name, number=number, error=error))

    @rule(name=names, what=st.sampled_from(["pause", "unpause", "kill", "restart"]))
    def somebody_does(self, name: str, what: str) -> None:
        """Noticed by the next look."""
        real = self.world.real[name]
        if name in self.world.jobs:
            return  # what the swap makes of that is the swap's own business, and comes with its end
        match what:
            case "pause" if real.state is State.SEATED:
                real.state = State.PAUSED
            case "unpause" if real.state is State.PAUSED:
                real.state = State.SEATED
            case "kill":
                real.state = State.STOPPED
            case "restart" if (
                sum(NEED[n] for n, r in self.world.real.items() if r.state in HOLDING and n != name) + (NEED[name])
                <= SIZE
                and not self.world.jobs
            ):
                real.incarnation += 1
                real.state = State.SEATED
            case _:
                return
        self.world.send(self.world.devices(), self.world.look(name))

    @rule(name=names)
    def a_look_begins(self, name: str) -> None:
        self.world.late.append(self.world.look(name))

    @rule(index=st.integers(0, 5))
    def a_late_look_is_told(self, index: int) -> None:
        if index < len(self.world.late):
            looked = self.world.late.pop(index)
            current = self.world.real[looked.workload].seen(looked.workload)
            if looked.observation == current or looked.epoch != self.world.core.records[looked.workload].epoch:
                self.world.send(looked)

    @rule(name=names)
    def an_engine_refuses(self, name: str) -> None:
        self.world.send(m.EngineDown(workload=name))

    @rule(seconds=st.sampled_from([0.5, 6.0, 31.0, 101.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.tick(seconds)

    @invariant()
    def everybody_is_told_at_most_once(self) -> None:
        assert all(heard.times <= 1 for heard in [*self.world.tickets.values(), *self.commands])

    @invariant()
    def the_book_is_in_order(self) -> None:
        for record in self.world.core.records.values():
            assert not record.waiting.keys() & record.in_flight.keys()
            assert not any(ticket.ended for ticket in [*record.waiting, *record.in_flight])
            for ticket in record.waiting:
                assert self.world.tickets[ticket].times == 0
            assert row(record)["state"] == record.state.value
            assert (record.job is not None) == (record.name in self.world.jobs)

    def teardown(self) -> None:
        self.world.come_to_rest()
        for ticket, heard in self.world.tickets.items():
            assert ticket.ended or heard.times == 1, f"a request for {ticket.workload} waits for ever"
        assert all(heard.times == 1 for heard in self.commands), "a command has no answer"
        for record in self.world.core.records.values():
            assert not record.waiting
            assert not record.in_flight
            assert not record.wishes
            assert record.job is None


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_a_stale_look_does_not_undo_what_a_swap_has_done() -> None:
    world = World()
    stale = world.look("a")
    heard = Heard()
    world.send(m.Park(workload="a", answer=heard))
    world.send(stale)
    world.end_job("a")
    world.send(stale)
    assert world.core.records["a"].state is State.PARKED
    assert heard.times == 1


def test_frozen_answers_are_demand_unless_a_person_parked_it() -> None:
    world = World()
    world.ask("a")
    world.send(m.Probed(workload="a", number=world.probes.pop("a")))
    world.ask("b")
    assert world.jobs == {}, "a has its minimum stay"
    world.tick(5.0)
    assert world.jobs == {"a": JobKind.SWAP_OUT}
    world.end_job("a")
    assert world.jobs == {"b": JobKind.SWAP_IN}
    world.end_job("b")
    assert world.jobs == {}
    world.tick(5.0)
    assert world.jobs == {"b": JobKind.SWAP_OUT}
    world.end_job("b")
    world.end_job("a")
    world.send(m.Park(workload="a", answer=Heard()))
    world.end_job("a")
    assert world.jobs == {"b": JobKind.SWAP_IN}, "b's turn; a is held"
    world.end_job("b")
    world.tick(60.0)
    assert world.jobs == {}
    world.ask("a")
    assert world.jobs == {"b": JobKind.SWAP_OUT}, "a new request ends the hold"


def test_the_wait_is_measured_from_the_arrival() -> None:
    world = World()
    ticket = world.ask("b")
    world.tick(5.0)
    world.end_job("a")
    world.now += 2.5
    world.end_job("b")
    assert world.tickets[ticket].values == [7.5]


def test_closing_tells_those_who_wait_and_begins_nothing() -> None:
    world = World()
    ticket = world.ask("b")
    world.send(m.Closing())
    assert world.tickets[ticket].errors[0].code == "unavailable"
    heard = Heard()
    world.send(m.Park(workload="a", answer=heard))
    assert heard.errors[0].rule == "shutting down"
    assert world.jobs == {"a": JobKind.SWAP_OUT}, "what has begun goes on"
    world.end_job("a")
    assert world.jobs == {}


def test_a_request_is_not_given_a_seat_that_a_person_takes_in_the_same_moment() -> None:
    world = World()
    ticket = world.ask("b")
    world.end_job("a", Quarantined("lost"), becomes=State.STOPPED)
    world.send(m.Seat(workload="d", answer=Heard()))
    world.end_job("b")
    assert world.jobs == {"b": JobKind.SWAP_OUT}, "d was commanded: it does not wait for b's minimum stay"
    assert world.tickets[ticket].times == 0, "b leaves again: its request goes on waiting"


def test_two_people_who_want_the_same_seat_both_get_it_in_turn() -> None:
    world = World()
    first, second = Heard(), Heard()
    world.send(m.Seat(workload="b", answer=first))
    world.send(m.Seat(workload="a", answer=second))
    world.come_to_rest()
    assert (first.times, second.times) == (1, 1)
    assert not world.jobs, "and then it is quiet"


def test_a_stop_ends_the_container_and_a_request_starts_it_again() -> None:
    world = World()
    heard = Heard()
    world.send(m.Stop(workload="a", answer=heard))
    assert world.jobs == {"a": JobKind.STOP}
    busy = Heard()
    world.send(m.Park(workload="a", answer=busy))
    assert busy.errors[0].code == "busy"
    ticket = world.ask("a")
    assert world.tickets[ticket].times == 0, "a seat that is being taken away is not given"
    world.end_job("a")
    assert heard.values == [None]
    assert world.jobs == {"a": JobKind.START}
    world.end_job("a")
    assert world.tickets[ticket].values == [0.0]
