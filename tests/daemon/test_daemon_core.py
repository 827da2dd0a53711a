"""The core against any order of events: requests, clients that leave, commands, failures, people behind its back."""

from __future__ import annotations

from daemon_machine import AnyOrder
from daemon_world import Heard, World
from hypothesis import HealthCheck, settings

from hotseat.daemon import messages as m
from hotseat.daemon.book import JobKind
from hotseat.errors import Failed, Quarantined
from hotseat.words import State

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


def test_one_that_died_while_parked_is_started_for_who_asks_before_that_was_seen() -> None:
    world = World()
    heard = Heard()
    world.send(m.Park(workload="a", answer=heard))
    world.end_job("a")
    ticket = world.ask("b")
    assert world.jobs == {"b": JobKind.SWAP_IN}
    world.end_job("b", Failed("b does not run"), becomes=State.STOPPED)
    assert world.tickets[ticket].times == 0
    assert world.jobs == {"b": JobKind.START}
    world.end_job("b")
    assert world.tickets[ticket].values == [0.0]


def test_the_memory_of_one_that_was_not_looked_at_again_is_not_free() -> None:
    """It became another container and its first one again; a look of before tells its pids, not its state."""
    world = World()
    world.configure("workloads:\n  a: {port: 1, container: other}\n  b: {port: 1}")
    stale = world.late.pop()
    world.configure("workloads:\n  a: {port: 1}\n  b: {port: 1}")
    world.send(stale)
    world.ask("b")
    assert world.jobs == {}, "8 of a beside 6 of b are more than 10"
    world.send(world.look("a"))
    assert world.jobs == {"a": JobKind.SWAP_OUT}
