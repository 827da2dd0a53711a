"""Who is expected soon by its rate comes in ahead of its request, into memory that nobody needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from scheduler_simulation import Sim, Simulation

from hotseat.scheduler import Decision, DeviceRoom, Snapshot, WorkloadView, decide
from hotseat.scheduler.price import LIKELY, chance, saves
from hotseat.words import State

NOW = 100.0
OFTEN = 0.05
"""A request each 20 seconds."""


def table(*views: WorkloadView, size: int = 10) -> Snapshot:
    return Snapshot(devices=(DeviceRoom(index=0, size=size),), workloads=views)


def seated(name: str, nbytes: int, **fields: Any) -> WorkloadView:
    return WorkloadView(name=name, state=State.SEATED, holds={0: nbytes}, need={0: nbytes}, **fields)


def away(name: str, nbytes: int, **fields: Any) -> WorkloadView:
    given = {"state": State.PARKED, "rate": OFTEN, "prefetch": True, **fields}
    return WorkloadView(name=name, need={0: nbytes}, **given)


def begun(decision: Decision) -> Sequence[tuple[str, str]]:
    return [(action.kind.value, action.workload) for action in decision.actions]


@pytest.mark.parametrize("state", [State.PARKED, State.STORED])
def test_it_comes_into_free_memory_and_says_why(state: State) -> None:
    decision = decide(NOW, table(seated("a", 4), away("b", 6, state=state)))
    assert begun(decision) == [("swap in", "b")]
    assert decision.actions[0].why == "is expected soon"


@pytest.mark.parametrize(
    "fields",
    [
        {"rate": 0.001},
        {"rate": 0.0},
        {"prefetch": False},
        {"not_before": NOW + 1},
        {"storing": True},
        {"state": State.STOPPED, "can_start": True},
    ],
)
def test_it_stays_away(fields: dict[str, Any]) -> None:
    assert begun(decide(NOW, table(away("b", 6, **fields)))) == []


def test_after_a_failure_it_is_tried_again_later() -> None:
    assert decide(NOW, table(away("b", 6, not_before=NOW + 1))).wake_at == NOW + 1


def test_nobody_leaves_for_it() -> None:
    assert begun(decide(NOW, table(seated("a", 5), away("b", 6)))) == []


def test_it_leaves_at_once_for_whoever_asks() -> None:
    came = seated("b", 6, rate=OFTEN, prefetch=True, seated_since=NOW, min_stay=60.0, last_used=NOW - 9, linger=0.5)
    asked = WorkloadView(name="c", state=State.PARKED, need={0: 6}, demand_since=NOW)
    assert begun(decide(NOW, table(came, asked))) == [("swap out", "b")]


def test_what_a_demand_waits_for_is_not_for_it() -> None:
    pinned, busy = seated("p", 2, pinned=True), seated("a", 4, busy=True, seated_since=NOW, min_stay=5.0)
    asked = WorkloadView(name="c", state=State.PARKED, need={0: 8}, demand_since=NOW)
    assert begun(decide(NOW, table(pinned, busy, asked, away("b", 4)))) == []
    assert begun(decide(NOW, table(seated("p", 6, pinned=True), asked, away("b", 4)))) == []


def test_the_likeliest_comes_first_and_the_next_where_there_is_room_for_it_too() -> None:
    views = (away("a", 4, rate=0.02), away("b", 4, rate=0.2), away("c", 2, rate=0.03))
    assert begun(decide(NOW, table(*views))) == [("swap in", "b"), ("swap in", "c"), ("swap in", "a")]


def test_of_two_that_fit_one_at_a_time_it_is_worth_it_only_for_the_one_that_is_asked_for_far_more() -> None:
    often, seldom = away("a", 6, rate=0.2), away("b", 6, rate=0.002)
    assert begun(decide(NOW, table(often, seldom))) == [("swap in", "a")]
    assert begun(decide(NOW, table(often, away("b", 6, rate=0.2)))) == []
    # A way out that takes long is a reason against it, a way in that takes long one for it.
    assert begun(decide(NOW, table(away("a", 6, rate=0.2, out_seconds=50.0, in_seconds=1.0), seldom))) == []


def test_who_would_have_no_room_anyway_or_has_it_beside_is_no_reason_against_it() -> None:
    views = (seated("s", 4), away("a", 5), away("large", 9, rate=5.0, prefetch=False))
    assert begun(decide(NOW, table(*views))) == [("swap in", "a")]
    assert begun(decide(NOW, table(away("a", 5), away("b", 5, rate=5.0, prefetch=False)))) == [("swap in", "a")]


def test_a_stopped_one_that_would_have_no_room_counts() -> None:
    views = (away("a", 6), away("b", 6, state=State.STOPPED, can_start=True, rate=5.0))
    assert begun(decide(NOW, table(*views))) == []


def test_what_it_saves_is_in_seconds() -> None:
    view = away("a", 6, rate=1.0, in_seconds=3.0, out_seconds=2.0)
    assert saves(view, now=NOW, others=[]) == pytest.approx(3.0)
    assert saves(view, now=NOW, others=[away("b", 6, rate=1.0)]) == pytest.approx(1.0)
    half = away("b", 6, rate=0.0115525)
    assert chance(half, NOW) == pytest.approx(LIKELY, abs=1e-4)
    assert saves(view, now=NOW, others=[half, half]) == pytest.approx(3.0 - 0.75 * 2.0, abs=1e-3)


def test_a_request_for_one_that_came_ahead_does_not_wait() -> None:
    def wait_of_b(*, prefetch: bool) -> float:
        sims = {
            "a": Sim(need={0: 8}, state=State.SEATED),
            "b": Sim(need={0: 5}, rate=OFTEN, prefetch=prefetch),
            "c": Sim(need={0: 5}),
        }
        sim = Simulation({0: 10}, sims, swap_out=2.0, swap_in=1.0, min_stay=1.0)
        sim.run([(10.0, "c", 1.0), (40.0, "b", 1.0)], until=100.0)
        return sim.waits["b"]

    assert wait_of_b(prefetch=False) == 1.0
    assert wait_of_b(prefetch=True) == 0.0
