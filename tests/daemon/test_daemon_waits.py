"""Expected waits, Retry-After and the sentence with them: who holds the seat, and until when at least."""

from __future__ import annotations

import dataclasses

import pytest
from daemon_world import World

from hotseat.daemon import messages as m
from hotseat.daemon.book import JobKind
from hotseat.daemon.showing import why_and_hint
from hotseat.errors import Failed
from hotseat.words import Direction, PhaseTime, State, SwapReport

TWO = "workloads:\n  a: {port: 1}\n  b: {port: 2}\n"


def one(defaults: str = "max_wait: 100s", *, each: str = "", seated: str = "a") -> World:
    """a (8 of 10 units) sits and b (6) is parked, with these settings for both; nothing else."""
    lines = "".join(f"  {name}: {{port: {port}{each and ', ' + each}}}\n" for port, name in enumerate("ab", 1))
    text = f"defaults: {{min_stay: 5s, linger: 1s, {defaults}}}\nworkloads:\n{lines}"
    return World(text, seated=seated)


def known(world: World, *, out: float = 3.0, back: float = 2.0) -> World:
    """All swaps were measured."""
    for record in world.core.records.values():
        record.learned.seconds.update({JobKind.SWAP_OUT: out, JobKind.SWAP_IN: back})
    return world


def busy(world: World, name: str = "a") -> None:
    """It has a request in flight."""
    ticket = world.ask(name)
    world.send(m.Probed(workload=name, number=world.probes.pop(name)))
    assert world.told(ticket) == 0.0


def expected(world: World, name: str) -> float | None:
    return world.core.expected_wait(world.core.records[name], world.now)


def test_what_is_left_of_the_holders_stay_counts() -> None:
    world = known(one())
    busy(world)
    assert expected(world, "b") == pytest.approx(5.0 + 3.0 + 2.0), "a's stay, its way out, b's way in"
    world.tick(2.0)
    assert expected(world, "b") == pytest.approx(3.0 + 3.0 + 2.0)
    world.tick(10.0)
    assert expected(world, "b") == pytest.approx(3.0 + 2.0), "it may leave at once"


def test_an_idle_holder_stays_no_longer_than_it_lingers() -> None:
    world = known(one())
    world.send(m.Left(ticket=world.ask("a")))
    assert expected(world, "b") == pytest.approx(3.0 + 2.0)


def test_priority_is_a_head_start_here_too() -> None:
    world = known(World("workloads:\n  a: {port: 1, min_stay: 5s, priority: 4}\n  b: {port: 2}\n"))
    busy(world)
    assert expected(world, "b") == pytest.approx(5.0 + 4.0 + 3.0 + 2.0)


def test_a_full_queue_names_the_holder_and_its_time_is_the_expected_wait() -> None:
    world = known(one("max_queue: 1"))
    busy(world)
    world.ask("b")
    world.tick(1.5)
    error = world.told(world.ask("b"))
    assert error.message == "1 requests wait for b already: a holds device 0 and stays for at least 3.5 s"
    assert error.details["retry_after"] == expected(world, "b") == pytest.approx(3.5 + 3.0 + 2.0)


def test_who_waited_too_long_is_told_for_whom() -> None:
    world = known(one("max_wait: 2s"))
    busy(world)
    ticket = world.ask("b")
    world.tick(2.0)
    error = world.told(ticket)
    assert error.message == (
        "b could not be seated within 2 s: it is parked; a holds device 0 and stays for at least 3.0 s"
    )
    assert error.details["retry_after"] == pytest.approx(3.0 + 3.0 + 2.0) == expected(world, "b")


def test_a_way_out_under_way_counts_for_what_is_left_of_it() -> None:
    world = known(one("max_queue: 1"))
    world.ask("b")
    assert world.jobs == {"a": JobKind.SWAP_OUT}
    world.tick(1.0)
    error = world.told(world.ask("b"))
    assert "a is on its way out of device 0" in error.message
    assert error.details["retry_after"] == expected(world, "b") == pytest.approx(2.0 + 2.0)


def test_a_way_in_under_way_counts_with_the_stay_after_it() -> None:
    world = known(one("max_queue: 1", seated=""))
    world.ask("a")
    assert world.jobs == {"a": JobKind.SWAP_IN}
    world.tick(0.5)
    world.ask("b")
    error = world.told(world.ask("b"))
    assert "a is on its way in to device 0 and stays for at least 6.5 s" in error.message, (
        "1.5 s of the way, 5 s of stay"
    )


def test_a_drain_counts_with_its_deadline_until_one_was_measured() -> None:
    world = known(one(each="drain: 20s"))
    busy(world)
    world.tick(10.0)
    assert expected(world, "b") == pytest.approx(20.0 + 3.0 + 2.0)
    world.ask("b")
    world.send(m.Drained(workload="a", answer=lambda value, error: None))
    world.tick(4.0)
    assert expected(world, "b") == pytest.approx(16.0 + 3.0 + 2.0), "the rest of its drain"
    world.core.records["a"].learned.took("drain", 6.0)
    world.core.touch()
    assert expected(world, "b") == pytest.approx(2.0 + 3.0 + 2.0), "its answers took 6 s the last times"


def test_after_its_drain_the_way_out_begins() -> None:
    world = known(one(each="drain: 20s"))
    busy(world)
    world.tick(10.0)
    world.ask("b")
    world.send(m.Drained(workload="a", answer=lambda value, error: None))
    world.tick(9.0)
    for ticket in list(world.core.records["a"].in_flight):
        world.send(m.Left(ticket=ticket))
    world.tick(1.0)
    assert expected(world, "b") == pytest.approx(2.0 + 2.0)


def test_a_drain_is_learned_beside_the_swap_and_not_as_a_part_of_it() -> None:
    world = one(each="drain: 20s")
    world.ask("b")
    world.now += 7.0
    world.real["a"].state = State.PARKED
    report = SwapReport(
        workload="a",
        direction=Direction.OUT,
        phases=(PhaseTime(name="drain", seconds=4.0), PhaseTime(name="checkpoint", seconds=3.0)),
        gpu_bytes={},
        processes=1,
        cuda_processes=1,
        threads=1,
        started_at=0.0,
    )
    world.jobs.pop("a")
    world.send(world.devices(), m.JobEnded(workload="a", report=report, observation=world.real["a"].seen("a")))
    assert world.core.records["a"].learned.seconds == {"swap out": pytest.approx(3.0), "drain": 4.0}


def test_a_pause_after_a_failure_counts() -> None:
    world = known(one(seated=""))
    world.ask("b")
    world.tick(1.0)
    world.end_job("b", Failed("no"))
    left = world.core.records["b"].not_before - world.now
    assert left > 0
    assert expected(world, "b") == pytest.approx(left + 2.0)


def test_who_holds_it_for_good_is_named_and_no_figure_is_made_up() -> None:
    world = known(World("defaults: {max_queue: 1}\nworkloads:\n  a: {port: 1, pinned: true}\n  b: {port: 2}\n"))
    world.ask("b")
    error = world.told(world.ask("b"))
    assert "a (seated) holds device 0 and may not be asked to leave" in error.message
    assert expected(world, "b") is None


def test_without_a_measurement_the_rest_of_the_stay_still_counts() -> None:
    world = one("max_queue: 1")
    busy(world)
    world.ask("b")
    error = world.told(world.ask("b"))
    assert expected(world, "b") is None
    assert error.details["retry_after"] == pytest.approx(5.0 + 5.0 + 5.0), "and a guess at each way"


def test_a_figure_that_is_partly_a_guess_is_none() -> None:
    world = one()
    world.core.records["b"].learned.took(JobKind.SWAP_IN, 2.0)
    assert expected(world, "b") is None, "nobody knows how long a takes to leave"
    world.core.records["a"].learned.took(JobKind.SWAP_OUT, 3.0)
    world.core.touch()
    assert expected(world, "b") == pytest.approx(3.0 + 2.0)


@pytest.mark.parametrize("state", [State.PAUSED, State.QUARANTINED, State.STOPPED])
def test_no_wait_is_told_of_what_does_not_come_by_itself(state: State) -> None:
    world = known(one(each="start: false", seated=""))
    assert expected(world, "b") == 2.0
    world.real["b"].state = state
    world.send(world.devices(), world.look("b"))
    assert expected(world, "b") is None
    error = world.told(world.ask("b"))
    assert "retry_after" not in error.details


def test_no_wait_is_told_of_what_is_larger_than_its_device() -> None:
    world = known(one(seated=""))
    world.configure(TWO, caps={0: 5})
    assert expected(world, "b") is None
    assert "retry_after" not in world.told(world.ask("b")).details


def test_strangers_leave_when_they_like() -> None:
    world = known(one(seated=""))
    world.foreign = 9
    world.send(world.devices())
    assert expected(world, "b") is None
    assert world.core.outlook(world.now).look(world.core.records["b"]).retry_after == 2.0


def test_one_that_is_being_stopped_comes_back_by_a_cold_start() -> None:
    world = known(one(seated="b"))
    world.core.records["b"].learned.seconds.update({JobKind.STOP: 4.0, JobKind.START: 60.0})
    world.send(m.Stop(workload="b", answer=lambda value, error: None))
    world.tick(1.0)
    assert expected(world, "b") == pytest.approx(3.0 + 60.0)


def test_a_quarantined_one_that_is_restarted_comes_back_by_a_cold_start() -> None:
    world = known(one(each="on_quarantine: restart", seated=""))
    world.core.records["b"].learned.seconds.update({JobKind.STOP: 4.0, JobKind.START: 60.0})
    world.real["b"].state = State.QUARANTINED
    world.send(world.devices(), world.look("b"))
    pause = world.core.records["b"].not_before - world.now
    assert pause > 0
    assert expected(world, "b") == pytest.approx(pause + 4.0 + 60.0)


def test_who_comes_is_waited_for_once() -> None:
    world = known(one(seated=""))
    world.ask("a")
    world.tick(0.5)
    assert expected(world, "b") == pytest.approx(1.5 + 5.0 + 3.0 + 2.0), "a's way in, stay and way out; b's way in"


def test_who_came_later_is_not_waited_for() -> None:
    world = known(World("defaults: {min_stay: 5s}\nworkloads:\n  a: {port: 1}\n  b: {port: 2}\n  d: {port: 4}\n"))
    busy(world)
    world.ask("b")
    alone = expected(world, "b")
    world.ask("d")
    assert expected(world, "b") == alone
    assert expected(world, "d") == pytest.approx(5.0 + 3.0 + 2.0 + (2.0 + 5.0 + 3.0)), "a whole turn of b's"


def test_one_that_just_failed_to_leave_is_named_with_the_time_until_it_is_asked_again() -> None:
    world = known(one("max_queue: 1"))
    world.ask("b")
    world.end_job("a", Failed("it hangs"))
    error = world.told(world.ask("b"))
    assert "a holds device 0 and stays for at least 2.0 s" in error.message
    assert expected(world, "b") is None, "it may fail again"
    assert error.details["retry_after"] == pytest.approx(2.0 + 3.0 + 2.0)


def test_a_context_that_must_leave_is_a_guess_and_ones_own_is_not_in_the_way() -> None:
    text = "workloads:\n  b: {port: 2, context: keep}\n  d: {port: 4}\n"
    world = known(World(text, seated=""))
    assert expected(world, "d") == 2.0
    seen = dataclasses.replace(
        world.real["b"].seen("b"), gpu_bytes={0: 1}, kept_gpu_bytes={0: 1}, parked_gpu_bytes={0: 5}
    )
    world.send(m.Observed(workload="b", epoch=world.core.records["b"].epoch, observation=seen))
    assert expected(world, "d") is None, "what it takes a context to leave is not learned"
    assert world.core.outlook(world.now).look(world.core.records["d"]).retry_after == pytest.approx(0.5 + 2.0)
    assert expected(world, "b") == 2.0


def test_nothing_is_waited_for_on_a_free_device() -> None:
    world = known(one(seated=""))
    assert expected(world, "b") == 2.0


def test_what_is_told_in_one_moment_is_made_once_and_never_stale() -> None:
    world = known(one())
    busy(world)
    first = world.core.outlook(world.now)
    assert world.core.outlook(world.now) is first
    world.ask("b")
    assert world.core.outlook(world.now) is not first
    assert dataclasses.is_dataclass(first.look(world.core.records["b"]))


def test_the_pages_say_for_whom_a_workload_waits() -> None:
    world = known(one())
    busy(world)
    world.ask("b")
    record = world.core.records["b"]
    why, _ = why_and_hint(record, world.core.outlook(world.now).look(record), closing=False)
    assert why == "waits for its turn: a holds device 0 and stays for at least 5.0 s"
