"""Each setting of a workload changes the simulated world as it does the daemon's; worked out by hand.

A device of 10, workloads of 10: out 1.1 s, in 0.7 s, a cold start 7 s; 10 tokens of output a second.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import fleet, member, trace

from hotseat.scheduler import Decision, Snapshot, decide
from hotseat.simulate import Outcome, simulate
from hotseat.simulate.policies import HOTSEAT
from hotseat.simulate.split import split
from hotseat.simulate.trace import in_order


def run(*requests: tuple[float, int, int], of: list[dict[str, Any]], size: int = 10) -> Outcome:
    """(time, model, output) each; settings of each workload."""
    members = [member(f"m{k}", {0: 10}, **fields) for k, fields in enumerate(of)]
    rows = [(at, model, 0, output) for at, model, output in requests]
    return simulate(trace(*rows, models=len(of)), fleet(*members, devices={0: size}), HOTSEAT)


def waits(*requests: tuple[float, int, int], of: list[dict[str, Any]], size: int = 10) -> Any:
    return pytest.approx(list(run(*requests, of=of, size=size).results.wait))


@pytest.mark.parametrize(
    ("min_stay", "leaves"),
    [("less than the swaps take", 0.7 + 1.8), ("more", 0.7 + 5.0)],
)
def test_who_works_keeps_its_seat_for_min_stay_or_what_its_swaps_take(min_stay: str, leaves: float) -> None:
    configured = 5.0 if min_stay == "more" else 1.0
    assert waits((0, 0, 100), (1, 1, 1), of=[{"min_stay": configured}, {}]) == [0.7, leaves + 1.8 - 1]


@pytest.mark.parametrize(("linger", "leaves"), [(0.0, 0.9), (0.5, 1.3), (60.0, 2.5)])
def test_who_has_answered_lingers_but_no_longer_than_its_stay(linger: float, leaves: float) -> None:
    # the answer ends at 0.8, m1 asks at 0.9
    assert waits((0, 0, 1), (0.9, 1, 1), of=[{"linger": linger}, {}]) == [0.7, leaves + 1.8 - 0.9]


def test_the_more_important_goes_first_and_one_that_came_much_earlier_does_not_wait_for_it() -> None:
    three = (0.0, 0, 100), (1.0, 1, 1), (1.5, 2, 1)
    _, second, third = run(*three, of=[{}, {}, {}]).results.wait
    assert second + 1.0 < third + 1.5
    _, second, third = run(*three, of=[{}, {}, {"priority": 3}]).results.wait
    assert third + 1.5 < second + 1.0
    _, second, third = run((0.0, 0, 100), (1.0, 1, 1), (2.0, 2, 1), of=[{}, {}, {"priority": 1}]).results.wait
    assert second + 1.0 < third + 2.0


def test_who_is_pinned_is_not_sent_away_however_long_it_is_idle() -> None:
    outcome = run((0, 0, 1), (50, 1, 1), of=[{"pinned": True}, {}])
    assert (outcome.tallies[0].swaps_out, outcome.tallies[1].seats_taken) == (0, 0)


def test_who_is_idle_for_its_timeout_gives_up_its_seat_unasked() -> None:
    lone = (0.0, 0, 1), (100.0, 0, 1)
    kept = run(*lone, of=[{}])
    assert (list(kept.results.wait), kept.tallies[0].swaps_out) == (pytest.approx([0.7, 0.0]), 0)
    parked = run(*lone, of=[{"idle_timeout": 3.0}])
    assert (list(parked.results.wait), parked.tallies[0].swaps_out) == (pytest.approx([0.7, 0.7]), 2)
    assert parked.seconds == pytest.approx(100.0 + 0.7 + 0.1 + 3.0 + 1.1)
    stopped = run(*lone, of=[{"idle_timeout": 3.0, "idle_stops": True}])
    assert (list(stopped.results.wait), stopped.tallies[0].stops) == (pytest.approx([0.7, 7.0]), 2)


def test_who_is_loaded_in_advance_lets_nobody_wait() -> None:
    requests = (0.0, 0, 1), (5.0, 1, 1)
    assert waits(*requests, of=[{}, {}], size=20) == [0.7, 0.7]
    assert waits(*requests, of=[{}, {"preload": True}], size=20) == [0.7, 0.0]


def test_a_drain_lets_answers_end_and_freezes_none() -> None:
    requests = (0.0, 0, 40), (1.0, 1, 1)
    frozen, drained = run(*requests, of=[{}, {}]), run(*requests, of=[{"drain": 60.0}, {}])
    assert list(frozen.results.freezes) == [1, 0]
    assert list(drained.results.freezes) == [0, 0]
    assert drained.results.end[0] == pytest.approx(4.7)
    assert drained.results.wait[1] == pytest.approx(4.7 + 1.8 - 1)


def test_a_drain_ends_at_its_deadline() -> None:
    outcome = run((0, 0, 100), (1, 1, 1), of=[{"drain": 3.0}, {}])
    # m0 is asked at 2.5 and frozen at 5.5, 4.8 s into its answer; m1 sits from 7.3 to 7.4, and lingers for 0.5 s
    assert list(outcome.results.freezes) == [1, 0]
    assert outcome.results.wait[1] == pytest.approx(5.5 + 1.8 - 1)
    assert outcome.results.end[0] == pytest.approx(7.9 + 1.8 + 10 - 4.8)
    assert (outcome.tallies[0].swaps_out, outcome.tallies[1].swaps_out) == (1, 1)


@pytest.mark.parametrize(("drain", "limit"), [(1.0, 1.0), (None, 60.0)])
def test_who_does_not_end_in_time_for_a_stop_is_asked_again_after_2_4_8_seconds(
    drain: float | None, limit: float
) -> None:
    kept: dict[float, float] = {}

    def choose(now: float, snapshot: Snapshot, _future: object) -> Decision:
        kept.update({view.keep_until: now for view in snapshot.workloads if view.keep_until not in kept})
        return decide(now, snapshot)

    # the host has no room for either of them, so they are stopped and started
    two = fleet(member("m0", {0: 10}, drain=drain), member("m1", {0: 10}), host=1)
    requests = trace((0, 0, 0, 1000), (1, 1, 0, 1), models=2)
    outcome = simulate(requests, two, replace(HOTSEAT, choose=choose))
    # m0 sits at 7 and is asked at 8.8; its answer ends at 107
    seconds, asked, expected = iter([2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]), 8.8, []
    while asked + limit < 107.0:
        expected.append((asked + limit, asked + limit + next(seconds)))
        asked = expected[-1][1]
    assert [at for until, at in kept.items() if until] == pytest.approx([at for at, _ in expected])
    assert [until for until in kept if until] == pytest.approx([until for _, until in expected])
    assert not any(outcome.results.freezes)
    assert outcome.results.wait[1] == pytest.approx(max(asked, 107.0) + 0.3 + 7.0 - 1)


def test_two_that_fit_sit_together() -> None:
    assert waits((0, 0, 100), (1, 1, 100), of=[{}, {}], size=20) == [0.7, 0.7]
    assert run((0, 0, 100), (1, 1, 100), of=[{}, {}], size=20).meters[0].busy == pytest.approx(11.7 - 0.7)


# -- traces


@given(rows=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3), st.integers(0, 9), st.integers(0, 9))))
def test_lines_in_any_order_are_the_same_requests(rows: list[tuple[int, int, int, int]]) -> None:
    times, models, prompts, outputs = (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 4
    columns = array("d", times), array("i", models), array("i", prompts), array("i", outputs)
    found = in_order(*columns, ["a", "b", "c", "d"])
    begun = min(times, default=0)
    expected = [(at - begun, *rest) for at, *rest in sorted(rows, key=lambda row: row[0])]
    assert list(zip(found.times, found.models, found.prompts, found.outputs, strict=True)) == expected
    assert found.span == max(times, default=0) - begun
    faster = found.faster(4.0)
    assert list(faster.times) == [at / 4 for at in found.times]
    assert (faster.models, faster.prompts, faster.outputs) == (found.models, found.prompts, found.outputs)


@given(seed=st.integers(0, 1000), zipf=st.floats(0, 3), models=st.integers(1, 20), off=st.sampled_from([0.0, 240.0]))
def test_a_split_gives_each_request_a_model_and_changes_nothing_else(
    seed: int, zipf: float, models: int, off: float
) -> None:
    requests = trace(*[(float(k), 0, k, k + 1) for k in range(50)], models=1)
    names = [f"n{k}" for k in range(models)]
    found = split(requests, names, seed=seed, zipf=zipf, off=off)
    assert (found.times, found.prompts, found.outputs) == (requests.times, requests.prompts, requests.outputs)
    assert all(0 <= model < models for model in found.models)
    assert found.names == tuple(names)


def test_bursts_make_neighbours_alike() -> None:
    """Two requests of one second go to one model more often where models are on and off by turns."""
    requests = trace(*[(k / 4, 0, 1, 1) for k in range(40_000)], models=1)
    names = [f"n{k}" for k in range(20)]

    def alike(off: float) -> float:
        models = split(requests, names, seed=3, zipf=0.0, off=off).models
        return sum(models[k] == models[k + 1] for k in range(len(models) - 1)) / len(models)

    assert alike(0.0) == pytest.approx(1 / 20, abs=0.01)
    assert alike(240.0) > 3 * alike(0.0)
    assert alike(2400.0) > alike(240.0)
