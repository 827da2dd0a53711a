"""The core against any order of events: requests, clients that leave, commands, failures, people behind its back."""

from __future__ import annotations

from typing import Any

from daemon_world import HOLDING, NEED, SIZE, Heard, World
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from hotseat.daemon import messages as m
from hotseat.daemon.book import JobKind, Ticket, row
from hotseat.errors import Busy, Failed, HotseatError, NoRoom, Quarantined, Refused, RolledBack
from hotseat.words import State


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

    @rule(kept=st.sets(names), other=st.none() | names, cap=st.sampled_from([{}, {0: 6}]), port=st.integers(1, 3))
    def somebody_edits_the_file(self, kept: set[str], other: str | None, cap: dict[int, int], port: int) -> None:
        lines = [
            f"  {name}: {{port: {port}, container: {'other' if name == other else name}}}" for name in sorted(kept)
        ]
        self.world.configure("workloads:\n" + "\n".join(lines) if lines else "", caps=cap)
        assert {name for name, record in self.world.core.records.items() if not record.leaving} == kept
        assert set(self.world.core.models) == kept

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
        if name in self.world.core.records:
            self.world.send(self.world.devices(), self.world.look(name))

    @rule(name=names)
    def a_look_begins(self, name: str) -> None:
        if name in self.world.core.records:
            self.world.late.append(self.world.look(name))

    @rule(index=st.integers(0, 5))
    def a_late_look_is_told(self, index: int) -> None:
        if index < len(self.world.late):
            looked = self.world.late.pop(index)
            current = self.world.real[looked.workload].seen(looked.workload)
            record = self.world.core.records.get(looked.workload)
            if looked.observation == current or record is None or looked.epoch != record.epoch:
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
            assert not set(record.waiting) & record.in_flight.keys()
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
