"""Host memory, idle time-outs, hints and preloads: examples of what happens beside demand."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_simulation import Sim, Simulation

from hotseat.scheduler import Decision, DeviceRoom, HostRoom, Snapshot, WorkloadView, decide
from hotseat.scheduler.price import chance, price
from hotseat.words import State

NOW = 100.0


def table(*views: WorkloadView, size: int = 10, host: int | None = None) -> Snapshot:
    room = None if host is None else HostRoom(budget=host)
    return Snapshot(devices=(DeviceRoom(index=0, size=size),), workloads=views, host=room)


def seated(name: str, nbytes: int, **fields: Any) -> WorkloadView:
    given = {"can_start": True, "host_bytes": nbytes, **fields}
    return WorkloadView(name=name, state=State.SEATED, holds={0: nbytes}, need={0: nbytes}, **given)


def parked(name: str, nbytes: int, *, since: float | None = None, **fields: Any) -> WorkloadView:
    given = {"can_start": True, "host_bytes": nbytes, **fields}
    return WorkloadView(name=name, state=State.PARKED, need={0: nbytes}, demand_since=since, **given)


def begun(decision: Decision) -> Sequence[tuple[str, str]]:
    return [(action.kind.value, action.workload) for action in decision.actions]


# -- who costs least


def test_cheap_to_move_and_cheap_to_bring_back_goes_first() -> None:
    cheap = seated("a", 5, last_used=90, out_seconds=1.0, in_seconds=1.0, rate=1.0)
    dear = seated("b", 5, last_used=10, out_seconds=4.0, in_seconds=8.0, rate=1.0)
    assert begun(decide(NOW, table(cheap, dear, parked("c", 5, since=NOW)))) == [("swap out", "a")]


def test_the_rarely_asked_for_goes_before_the_often_asked_for() -> None:
    often = seated("a", 5, last_used=10, rate=0.5)
    rarely = seated("b", 5, last_used=90, rate=0.0001)
    assert begun(decide(NOW, table(often, rarely, parked("c", 5, since=NOW)))) == [("swap out", "b")]


def test_of_two_with_work_the_less_important_goes_whatever_it_costs() -> None:
    high = seated("a", 5, busy=True, priority=3, out_seconds=0.1)
    low = seated("b", 5, busy=True, priority=1, out_seconds=50.0)
    target = parked("c", 5, since=NOW, priority=3)
    assert begun(decide(NOW, table(high, low, target))) == [("swap out", "b")]


def test_the_price_is_in_seconds() -> None:
    view = seated("a", 5, busy=True, priority=2, out_seconds=3.0, in_seconds=4.0, last_used=7.0)
    assert price(view, now=NOW, leaves_at=NOW + 1) == (1, 2, 1 + 3 + 4 + 2, 7.0, "a")
    assert chance(seated("a", 5), NOW) == 0.0
    assert chance(seated("a", 5, warm_until=NOW + 1), NOW) == 1.0


# -- turns


def test_a_point_of_priority_is_a_second_of_waiting() -> None:
    first = parked("a", 10, since=50.0)
    overtakes = parked("b", 10, since=59.0, priority=10)
    too_late = parked("b", 10, since=61.0, priority=10)
    assert begun(decide(NOW, table(first, overtakes))) == [("swap in", "b")]
    assert begun(decide(NOW, table(first, too_late))) == [("swap in", "a")]


def test_the_more_important_keeps_its_seat_a_second_longer_for_each_point() -> None:
    view = seated("a", 10, busy=True, priority=4, seated_since=NOW - 6, min_stay=5)
    assert decide(NOW, table(view, parked("b", 10, since=1.0))).wake_at == NOW + 3
    assert begun(decide(NOW, table(view, parked("b", 10, since=1.0, priority=4)))) == [("swap out", "a")]


# -- host memory


def test_what_the_host_has_room_for_is_parked() -> None:
    assert begun(decide(NOW, table(seated("a", 6), parked("b", 8, since=NOW), host=14))) == [("swap out", "a")]


def test_what_it_has_no_room_for_is_stopped() -> None:
    assert begun(decide(NOW, table(seated("a", 6), parked("b", 8, since=NOW), host=13))) == [("stop", "a")]


def test_or_another_that_is_parked_if_that_loses_less() -> None:
    dear = seated("a", 6, rate=1.0)
    idle = parked("old", 6)
    decision = decide(NOW, table(dear, idle, parked("b", 8, since=NOW), host=14))
    assert begun(decision) == [("stop", "old")], "and a goes once the host has the room"
    gone = WorkloadView(name="old", state=State.SWAPPING_OUT, need={0: 6}, host_bytes=6, stopping=True)
    assert begun(decide(NOW, table(dear, gone, parked("b", 8, since=NOW), host=14))) == [], "nobody is stopped twice"
    stopped = WorkloadView(name="old", state=State.STOPPED, need={0: 6}, can_start=True)
    assert begun(decide(NOW, table(dear, stopped, parked("b", 8, since=NOW), host=14))) == [("swap out", "a")]


@pytest.mark.parametrize(
    "protected",
    [{"can_start": False}, {"pinned": True}, {"busy": True}, {"warm_until": NOW + 5}],
    ids=["cannot be started", "pinned", "holds frozen answers", "hinted"],
)
def test_who_must_not_be_stopped(protected: dict[str, Any]) -> None:
    stays = parked("old", 6, **protected)
    only_parks = seated("a", 6, can_start=False)
    decision = decide(NOW, table(only_parks, stays, parked("b", 8, since=NOW), host=14))
    assert begun(decision) == []
    blocked = decision.blocked["b"]
    assert not blocked.forever
    assert "host memory" in blocked.reason
    assert "old (parked)" in blocked.reason


def test_a_container_that_is_too_small_for_its_own_parking_is_stopped_whatever_the_host_has() -> None:
    decision = decide(NOW, table(seated("a", 6, parkable=False), parked("b", 8, since=NOW)))
    assert begun(decision) == [("stop", "a")]
    cannot = decide(NOW, table(seated("a", 6, parkable=False, can_start=False), parked("b", 8, since=NOW)))
    assert begun(cannot) == []
    assert "host memory" in cannot.blocked["b"].reason


def test_one_with_answers_in_flight_is_stopped_last() -> None:
    working = seated("a", 5, busy=True)
    idle = seated("z", 5, rate=1.0)
    decision = decide(NOW, table(working, idle, parked("b", 10, since=NOW), host=15))
    assert begun(decision) == [("stop", "z"), ("swap out", "a")]


# -- idle time-outs


def test_the_idle_leave_after_their_time_out_and_not_before() -> None:
    view = seated("a", 5, last_used=NOW - 30, idle_timeout=30.0)
    assert begun(decide(NOW, table(view))) == [("swap out", "a")]
    assert decide(NOW - 1, table(view)) == Decision(wake_at=NOW)
    assert begun(decide(NOW, table(seated("a", 5, last_used=NOW - 30, idle_timeout=30.0, idle_stops=True)))) == [
        ("stop", "a")
    ]


def test_the_time_out_counts_from_the_seat_where_no_request_came() -> None:
    assert decide(NOW, table(seated("a", 5, seated_since=NOW - 1, idle_timeout=30.0))).wake_at == NOW + 29


@pytest.mark.parametrize("field", [{"busy": True}, {"pinned": True}])
def test_busy_and_pinned_ones_are_not_idle(field: dict[str, Any]) -> None:
    assert decide(NOW, table(seated("a", 5, idle_timeout=1.0, **field))) == Decision()


def test_a_hint_is_waited_for_and_a_full_host_keeps_it_seated() -> None:
    assert decide(NOW, table(seated("a", 5, idle_timeout=1.0, warm_until=NOW + 9))).wake_at == NOW + 9
    assert decide(NOW, table(seated("a", 5, idle_timeout=1.0), host=4)) == Decision()


def test_what_cannot_be_started_again_is_parked_where_it_was_to_be_stopped() -> None:
    view = seated("a", 5, idle_timeout=1.0, idle_stops=True, can_start=False)
    assert begun(decide(NOW, table(view))) == [("swap out", "a")]


# -- hints and preloads


def test_a_hint_seats_it_where_there_is_room_and_in_place_of_the_unwanted() -> None:
    hinted = parked("b", 8, warm_until=NOW + 60)
    assert begun(decide(NOW, table(hinted))) == [("swap in", "b")]
    assert begun(decide(NOW, table(seated("a", 8), hinted))) == [("swap out", "a")]


@pytest.mark.parametrize(
    "wanted",
    [{"busy": True}, {"warm_until": NOW + 1}, {"pinned": True}, {"last_used": NOW, "linger": 5.0, "min_stay": 9}],
)
def test_a_hint_sends_off_nobody_who_is_wanted(wanted: dict[str, Any]) -> None:
    view = seated("a", 8, **{"seated_since": NOW, **wanted})
    assert begun(decide(NOW, table(view, parked("b", 8, warm_until=NOW + 60)))) == []


def test_a_hint_expires() -> None:
    assert decide(NOW, table(seated("a", 8), parked("b", 8, warm_until=NOW))) == Decision()


def test_demand_comes_before_hints_and_gets_the_hinted_seat_at_once() -> None:
    both = decide(NOW, table(parked("a", 8, since=NOW), parked("b", 8, warm_until=NOW + 60)))
    assert begun(both) == [("swap in", "a")]
    sits = seated("b", 8, warm_until=NOW + 60, seated_since=NOW - 1, min_stay=30)
    assert begun(decide(NOW, table(sits, parked("a", 8, since=NOW)))) == [("swap out", "b")]


def test_a_hint_does_not_take_the_room_that_is_promised() -> None:
    stays = seated("a", 6, busy=True, seated_since=NOW, min_stay=5)
    decision = decide(NOW, table(stays, parked("b", 8, since=NOW), parked("c", 4, warm_until=NOW + 60)))
    assert begun(decision) == []


def test_a_hint_stops_nobody() -> None:
    assert begun(decide(NOW, table(seated("a", 8), parked("b", 8, warm_until=NOW + 60), host=8))) == []


def test_a_preload_takes_free_room_only() -> None:
    assert begun(decide(NOW, table(parked("b", 8, preload=True)))) == [("swap in", "b")]
    assert begun(decide(NOW, table(seated("a", 8), parked("b", 8, preload=True)))) == []


# -- over time


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(2, 10), min_size=2, max_size=5),
    st.lists(st.tuples(st.floats(0, 60), st.integers(0, 4), st.floats(0.1, 20)), max_size=20),
    st.integers(0, 30),
    st.sampled_from([None, 3.0]),
    st.lists(st.tuples(st.integers(0, 4), st.floats(1, 80)), max_size=2),
)
def test_whatever_the_host_has_everybody_is_served_and_nothing_is_lost(
    needs: list[int],
    requests: list[tuple[float, int, float]],
    spare: int,
    idle: float | None,
    hints: list[tuple[int, float]],
) -> None:
    """All can be started again, so a full host costs cold starts, never a request; the simulation checks the budget,
    and that no frozen answer is destroyed. Hints and idle time-outs change nothing of it."""
    sims = {name: Sim(need={0: need}, idle_timeout=idle) for name, need in zip("abcde", needs, strict=False)}
    names = list(sims)
    for who, until in hints:
        sims[names[who % len(names)]].warm_until = until
    # All of them are parked at the beginning, and room for the largest is left for whoever makes room.
    host = sum(needs) + spare
    sim = Simulation({0: 10}, sims, swap_out=2, swap_in=1, min_stay=5, start=20, stop=1, host=host)
    arrivals = [(at, names[who % len(names)], work) for at, who, work in requests]
    sim.run(arrivals, until=1e6)
    assert sorted(sim.served) == sorted(name for _, name, _ in arrivals)


def test_a_host_without_room_takes_turns_by_cold_starts() -> None:
    sims = {"a": Sim(need={0: 10}, state=State.SEATED), "b": Sim(need={0: 10}, state=State.STOPPED)}
    sim = Simulation({0: 10}, sims, swap_out=2, swap_in=1, min_stay=5, start=20, stop=1, host=0)
    sim.run([(0.0, "a", 30.0), (1.0, "b", 5.0), (60.0, "a", 1.0)], until=1e5)
    assert sorted(sim.served) == ["a", "a", "b"]
    assert sim.stops == 2, "a ended its answer first, then b made room in its turn"
