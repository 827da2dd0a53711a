"""What is learned: averages, rates that decay, and that all of it is there again after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from daemon_house import MakeHouse, until
from hypothesis import given
from hypothesis import strategies as st

from hotseat.daemon.hostroom import HostBudget
from hotseat.daemon.learned import Learned
from hotseat.daemon.learned_store import LearnedStore
from hotseat.daemon.tickets import Queue, Ticket
from hotseat.scheduler import RATE_SECONDS, HostRoom, Rate
from hotseat.swap.journal import Journal


def test_costs_are_moving_averages() -> None:
    learned = Learned()
    learned.took("swap in", 10.0)
    assert learned.seconds == {"swap in": 10.0}
    learned.took("swap in", 20.0)
    assert learned.seconds["swap in"] == pytest.approx(13.0)
    for _ in range(30):
        learned.took("swap in", 2.0)
    assert learned.seconds["swap in"] == pytest.approx(2.0, abs=0.01)


def test_memory_is_the_most_that_one_incarnation_held() -> None:
    learned = Learned()
    learned.holds("docker:1", {0: 5, 1: 1}, anew=False)
    learned.holds("docker:1", {0: 3, 1: 4}, anew=False)
    assert learned.memory == {0: 5, 1: 4}
    learned.holds("docker:1", {0: 2}, anew=True)
    assert learned.memory == {0: 2}
    learned.holds("docker:2", {1: 1}, anew=False)
    assert (learned.container, learned.memory) == ("docker:2", {1: 1})


def test_a_rate_comes_near_the_true_one_and_falls_when_requests_stop() -> None:
    rate = Rate()
    for second in range(0, 3000, 2):
        rate.count(float(second))
    assert rate.of(3000.0) == pytest.approx(0.5, rel=0.02)
    assert rate.of(3000.0 + RATE_SECONDS) == pytest.approx(0.5 / 2.718, rel=0.03)
    assert rate.of(2000.0) <= rate.value, "a clock that goes back makes nothing of it"


def test_it_is_read_back_and_rates_have_decayed_meanwhile(tmp_path: Path) -> None:
    journal = Journal(directory=tmp_path)
    store = LearnedStore(journal, clock=lambda: 50.0, wall=lambda: 1000.0)
    known = Learned(container="docker:1", memory={0: 5}, seconds={"swap in": 1.5}, rate=Rate(value=2.0, at=50.0))
    store.save({"a": known, "b": Learned()})
    store.save({"b": Learned(seconds={"start": 9.0})})
    journal.close()

    journal = Journal(directory=tmp_path)
    again = LearnedStore(journal, clock=lambda: 7.0, wall=lambda: 1000.0 + RATE_SECONDS).load()
    assert (again["a"].container, again["a"].memory, again["a"].seconds) == ("docker:1", {0: 5}, {"swap in": 1.5})
    assert again["a"].rate.of(7.0) == pytest.approx(2.0 / 2.718, rel=0.01)
    assert again["b"].seconds == {"start": 9.0}
    assert again["b"].memory is None
    journal.close()


def test_a_row_that_makes_no_sense_is_measured_again(tmp_path: Path) -> None:
    journal = Journal(directory=tmp_path)
    with journal.transaction() as db:
        for name, memory, seconds, rate in (("a", "[", "{}", 0), ("b", None, "3", 0), ("c", None, "{}", "inf")):
            db.execute("INSERT INTO learned VALUES (?, '', ?, ?, ?, 0)", (name, memory, seconds, rate))
    assert LearnedStore(journal, clock=lambda: 0.0).load() == {}
    journal.close()


async def test_a_daemon_knows_after_a_restart_what_it_measured_before(make_house: MakeHouse) -> None:
    house = await make_house(parked="b", min_stay="100ms")
    house.journal = Journal(directory=house.directory / "kept")
    await house.up()
    assert await house.answer("b") == 200
    await house.down()
    kept = LearnedStore(house.journal, clock=lambda: 0.0).load()
    assert set(kept["a"].seconds) == {"swap out"}
    assert set(kept["b"].seconds) == {"swap in"}
    assert kept["b"].memory == {0: 8}
    assert kept["b"].rate.value > 0
    await house.up()
    async with house.client() as client:
        await until(lambda: house.states()["b"] == "seated")
        await client.park("b")
    assert house.serving is not None
    assert house.http is not None
    async with house.http.get(f"{house.serving.gateway}/v1/models") as response:
        models = {model["id"]: model["hotseat"] for model in (await response.json())["data"]}
    assert models["b"]["expected_wait_s"] is not None, "from the swap in before the restart"
    await house.down()
    house.journal.close()


async def test_a_daemon_drops_at_its_start_what_is_long_gone(make_house: MakeHouse) -> None:
    house = await make_house(names="a")
    house.journal = Journal(directory=house.directory / "kept")
    old = LearnedStore(house.journal, clock=lambda: 0.0, wall=lambda: 1000.0)
    old.save({name: Learned(container=name) for name in ("a", "gone")})
    await house.up()
    await until(lambda: set(old.load()) == {"a"})
    await house.down()
    house.journal.close()


# -- the queue


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(-3, 3)), max_size=12), st.data())
def test_a_queue_keeps_its_turns(arrivals: list[tuple[float, int]], data: st.DataObject) -> None:
    queue = Queue()
    tickets: list[Ticket] = []
    for arrived, priority in sorted(arrivals):
        ticket = Ticket("a", arrived, lambda value, error: None, priority)
        before = min((one.turn for one in tickets), default=None)
        assert queue.add(ticket) == (before is None or ticket.turn < before)
        tickets.append(ticket)
        if data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(tickets))
            tickets.remove(gone)
            queue.discard(gone)
            queue.discard(gone)
        assert list(queue) == tickets
        assert queue.urgent is min(tickets, key=lambda one: one.turn, default=None)
    late = queue.take_late(5.0)
    assert late == [one for one in tickets if one.arrived <= 5.0]
    rest = queue.take_all()
    assert rest == sorted((one for one in tickets if one.arrived > 5.0), key=lambda one: one.turn)
    assert len(queue) == 0
    assert queue.urgent is None


# -- the host's budget


def test_a_budget_may_fall_while_bytes_move_and_rise_when_they_rest() -> None:
    budget = HostBudget(parked=None, reserve=10)
    assert budget.room is None
    budget.measured(available=110, parked=20, moving=0)
    assert budget.room == HostRoom(budget=120)
    budget.measured(available=80, parked=20, moving=30)
    assert budget.room == HostRoom(budget=120), "the 30 that are missing are what moves there"
    budget.measured(available=40, parked=20, moving=30)
    assert budget.room == HostRoom(budget=80), "more is missing than what moves"
    budget.measured(available=80, parked=50, moving=0)
    assert budget.room == HostRoom(budget=120)
    assert HostBudget(parked=50, reserve=0).room == HostRoom(budget=50)
