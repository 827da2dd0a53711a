"""What a workload's settings and the host's memory make the core do: who is stopped, restarted, warmed up, refused."""

from __future__ import annotations

import pytest
from daemon_machine import AnyOrder
from daemon_world import NEED, Heard, World
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from hotseat.config import HostMemory
from hotseat.daemon import messages as m
from hotseat.daemon.book import JobKind, Ticket
from hotseat.errors import NoRoom, Quarantined
from hotseat.words import State

POLICY = """
defaults: {min_stay: 5s, linger: 1s, max_wait: 100s, max_queue: 3}
workloads:
  a: {port: 1, idle_timeout: 20s, priority: 5}
  b: {port: 2, drain: 10s, on_quarantine: restart, context: keep}
  c: {port: 3, start: false, preload: true}
  d: {port: 4, idle_timeout: 10s, idle: stop, on_quarantine: restart}
"""


class AnyPolicy(AnyOrder):
    """The same with every setting that the scheduler knows, and with memory that comes and goes."""

    def make(self) -> World:
        return World(POLICY, interposed="b", contexts={"b": 2}, host=HostMemory(parked=20, reserve=0))

    @rule(name=AnyOrder.names, seconds=st.sampled_from([0.0, 5.0, 30.0]))
    def somebody_hints(self, name: str, seconds: float) -> None:
        heard = Heard()
        self.commands.append(heard)
        self.world.send(m.Prewarm(workload=name, seconds=seconds, answer=heard))

    @rule(available=st.sampled_from([0, 3, 10, 100]))
    def host_memory_changes(self, available: int) -> None:
        self.world.send(m.HostMemory(available=available))

    @rule(foreign=st.sampled_from([0, 0, 3, 10]))
    def strangers_use_the_device(self, foreign: int) -> None:
        self.world.foreign = foreign
        self.world.send(self.world.devices())

    @rule(name=AnyOrder.names)
    def parking_finds_no_host_memory(self, name: str) -> None:
        if self.world.jobs.get(name) is JobKind.SWAP_OUT:
            self.world.end_job(name, NoRoom("the container's limit", rule="host memory"))

    @rule()
    def the_daemon_preloads(self) -> None:
        self.world.send(m.Preload())

    def teardown(self) -> None:
        self.world.foreign = 0
        self.world.send(m.HostMemory(available=100))
        super().teardown()


TestAnyPolicy = AnyPolicy.TestCase
TestAnyPolicy.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def one(
    defaults: str = "max_wait: 100s", *, each: str = "", seated: str = "a", host: HostMemory | None = None
) -> World:
    """a (8 of 10 units) sits and b (6) is parked, with these settings for both; nothing else."""
    lines = "".join(f"  {name}: {{port: {port}{each and ', ' + each}}}\n" for port, name in enumerate("ab", 1))
    text = f"defaults: {{min_stay: 5s, linger: 1s, {defaults}}}\nworkloads:\n{lines}"
    return World(text, seated=seated, host=host)


def test_a_full_queue_is_told_so_at_once_with_a_time_to_try_again() -> None:
    world = one("max_queue: 2")
    first, second, third = (world.ask("b") for _ in range(3))
    error = world.told(third)
    assert (error.code, error.http_status, error.rule) == ("too_many", 429, "max_queue")
    assert error.details["retry_after"] > 0
    assert world.told(first) is world.told(second) is None
    world.send(m.Left(ticket=first))
    assert world.told(world.ask("b")) is None, "there is room in the queue again"


def test_the_urgent_get_the_seat_first_but_only_by_their_head_start() -> None:
    world = one()
    given: list[str] = []
    for name, priority, later in (("old", 0, 0.0), ("late", 3, 4.0), ("urgent", 5, 1.0)):
        world.now += later
        ticket = Ticket("b", world.now, lambda value, error, name=name: given.append(name), priority)
        world.tickets[ticket] = Heard()
        world.send(m.Arrived(ticket=ticket))
    world.tick(5.0)
    world.end_job("a")
    world.end_job("b")
    assert given == ["old", "urgent", "late"], "turns 0, 0 and 1: late came 4 s after old with a head start of 3"


def test_a_request_of_an_important_caller_moves_its_workload_forward() -> None:
    world = World()
    world.ask("b")
    world.now += 1.0
    world.ask("d", priority=3)
    world.tick(5.0)
    world.end_job("a")
    assert world.jobs == {"d": JobKind.SWAP_IN}


def test_a_request_for_a_seated_workload_costs_no_round() -> None:
    world = one()
    world.send(m.Probed(workload="a", number=world.ask_for_probe("a")))
    assert not world.core.due(world.now)
    ticket = world.ask("a", short=True)
    assert world.told(ticket) == 0.0
    world.core.leave(ticket, world.now)
    assert not world.core.due(world.now), "nobody else wants anything"


def test_the_short_way_is_closed_while_somebody_waits_or_the_seat_is_taken_away() -> None:
    world = one()
    world.send(m.Probed(workload="a", number=world.ask_for_probe("a")))
    world.ask("b")
    world.tick(5.0)
    assert world.jobs == {"a": JobKind.SWAP_OUT}
    assert world.told(world.ask("a", short=True)) is None


def test_the_last_answer_lets_the_next_in_after_the_linger() -> None:
    world = one()
    world.send(m.Probed(workload="a", number=world.ask_for_probe("a")))
    ticket = world.ask("a", short=True)
    world.now += 0.5
    world.ask("b")
    world.now += 0.5
    world.core.leave(ticket, world.now)
    assert world.core.wake_at == world.now + 1.0, "a look when the linger is over, not at min_stay"
    world.tick(1.0)
    assert world.jobs == {"a": JobKind.SWAP_OUT}


def test_an_idle_workload_gives_up_its_seat() -> None:
    world = one("idle_timeout: 20s, idle: stop")
    world.send(m.Probed(workload="a", number=world.ask_for_probe("a")))
    ticket = world.ask("a", short=True)
    world.tick(60.0)
    assert world.jobs == {}, "it has work"
    world.core.leave(ticket, world.now)
    world.tick(19.0)
    assert world.jobs == {}
    world.tick(1.0)
    assert world.jobs == {"a": JobKind.STOP}


def test_host_memory_that_runs_short_stops_instead_of_parking() -> None:
    world = one(host=HostMemory(parked=10, reserve=0))
    world.ask("b")
    world.tick(5.0)
    assert world.jobs == {"a": JobKind.STOP}, "6 of b and 8 of a are more than 10"
    heard = Heard()
    other = one(each="start: false", host=HostMemory(parked=10, reserve=0))
    other.send(m.Park(workload="a", answer=heard))
    assert (heard.errors[0].code, heard.errors[0].rule) == ("no_room", "host memory")
    ticket = other.ask("b")
    other.tick(5.0)
    assert other.jobs == {}
    other.tick(5.0)
    assert "host memory" in other.told(ticket).message


def test_what_the_host_reports_is_the_budget_where_none_is_set() -> None:
    world = one(host=HostMemory(parked=None, reserve=2))
    assert world.core.host.room is None
    world.send(m.HostMemory(available=9))
    assert world.core.host.room is not None
    assert world.core.host.room.budget == 9 - 2 + sum(NEED[name] for name in "b")


def test_a_parking_that_found_no_memory_is_a_stop_the_next_time() -> None:
    world = one()
    world.ask("b")
    world.tick(5.0)
    world.end_job("a", NoRoom("at the container's limit", rule="host memory"))
    world.tick(31.0)
    assert world.jobs == {"a": JobKind.STOP}


def test_a_hint_brings_it_in_and_demand_ends_the_hint() -> None:
    world = one()
    heard = Heard()
    world.tick(10.0)
    world.send(m.Prewarm(workload="b", seconds=60, answer=heard))
    assert heard.values == [{"workload": "b", "state": "parked", "seconds": 60}]
    assert world.jobs == {"a": JobKind.SWAP_OUT}
    world.end_job("a")
    world.end_job("b")
    world.ask("a")
    assert world.jobs == {"b": JobKind.SWAP_OUT}, "at once, whatever its minimum stay"
    assert world.core.records["b"].warm_until == 0.0


def test_a_preload_that_is_parked_takes_a_free_seat_and_only_at_the_start() -> None:
    world = one(each="preload: true", seated="")
    world.send(m.Preload())
    assert world.jobs == {"a": JobKind.SWAP_IN}, "b does not fit beside it"
    world.end_job("a")
    world.send(m.Park(workload="a", answer=Heard()))
    world.end_job("a")
    world.tick(60.0)
    assert "a" not in world.jobs, "who parked it meant it"


def test_a_quarantine_is_ended_by_a_restart_and_those_who_wait_are_served() -> None:
    world = one("on_quarantine: restart")
    ticket = world.ask("b")
    world.tick(5.0)
    world.end_job("a")
    world.end_job("b", Quarantined("its restore failed"), becomes=State.QUARANTINED)
    error = world.told(ticket)
    assert error.code == "quarantined", "this request was told the truth"
    waits = world.ask("b")
    world.tick(1.0)
    assert world.jobs == {"b": JobKind.STOP}
    world.end_job("b")
    assert world.jobs == {"b": JobKind.START}
    world.end_job("b")
    assert world.told(waits) == pytest.approx(1.0)


def test_the_pauses_before_restarts_grow() -> None:
    world = one("on_quarantine: restart", seated="")
    record = world.core.records["b"]
    pauses = []
    for _ in range(4):
        world.send(m.Seat(workload="b", answer=Heard()))
        world.end_job("b", Quarantined("its restore failed"), becomes=State.QUARANTINED)
        pauses.append(record.not_before - world.now)
        world.tick(pauses[-1])
        world.end_job("b")  # the stop
        world.end_job("b")  # the start
        world.send(m.Park(workload="b", answer=Heard()))
        world.end_job("b")
    assert pauses == [1.0, 2.0, 4.0, 8.0]


def test_the_expected_wait_is_measured() -> None:
    world = one()
    record = world.core.records["b"]
    assert world.core.expected_wait(record, world.now) is None, "not measured yet"
    world.ask("b")
    world.now += 3.0
    world.end_job("a")
    world.now += 2.0
    world.end_job("b")
    assert world.core.expected_wait(record, world.now) == 0.0
    assert world.kept[-2:] == ["a", "b"], "written down at the end of each job"
    world.send(m.Park(workload="b", answer=Heard()))
    world.now += 1.0
    world.end_job("b")
    assert world.core.expected_wait(record, world.now) == pytest.approx(2.0), "the device is free"
