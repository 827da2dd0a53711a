"""The bound on waits: worked out by hand, never above what the best of all schedules waits, nor any policy."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import COSTS, fleet, member, scenes, trace

from hotseat.simulate import Fleet, Trace, simulate
from hotseat.simulate.bound_waits import least_wait
from hotseat.simulate.bound_windows import Guest, Windows
from hotseat.simulate.policies import BASELINES, HOTSEAT

TWO = fleet(member("m0", {0: 10}), member("m1", {0: 10}))
"""Only one of them fits: 0.7 s in, 1.1 s out, or 0.3 s by a stop."""


def waits(*requests: tuple[float, int], of: Fleet = TWO, stops: bool = False) -> float:
    return least_wait(trace(*[(at, model, 1, 1) for at, model in requests], models=len(of.members)), of, stops=stops)


def test_who_comes_before_its_way_in_has_passed_waits_for_the_rest_of_it() -> None:
    assert waits((0, 0)) == pytest.approx(0.7)
    assert waits((0, 0), (0.5, 0)) == pytest.approx(0.7 + 0.2)
    assert waits((0, 0), (5, 0)) == pytest.approx(0.7), "it may have been seated before"


def test_two_that_do_not_fit_together_wait_for_a_swap_between_them() -> None:
    assert waits((0, 0), (10, 0), (10, 1)) == pytest.approx(0.7 + 1.8)
    assert waits((0, 0), (10, 0), (11, 1)) == pytest.approx(0.7 + 0.8), "m0 first, 1 s before"
    assert waits((0, 0), (10, 0), (12, 1)) == pytest.approx(0.7), "there was time for it"
    assert waits((0, 0), (10, 0), (10, 1), stops=True) == pytest.approx(0.7 + 1.0)


def test_of_three_that_fit_in_pairs_one_waits() -> None:
    three = fleet(*(member(f"m{k}", {0: 5}) for k in range(3)))
    way = three.members[0].in_seconds + three.members[0].out_seconds
    assert waits((9, 0), (20, 0), (20, 1), of=three) == pytest.approx(three.members[0].in_seconds)
    first = three.members[0].in_seconds
    assert waits((9, 0), (20, 0), (20.25, 1), (20.5, 2), of=three) == pytest.approx(first + way - 0.5)


def test_each_request_stands_in_one_set() -> None:
    assert waits((0, 0), (10, 0), (10, 0), (10, 1), (10, 1)) == pytest.approx(0.7 + 2 * 1.8)
    assert waits((0, 0), (10, 0), (10, 1), (10, 0)) == pytest.approx(0.7 + 1.8)


def test_those_that_fit_or_have_another_gpu_wait_for_nobody() -> None:
    small = fleet(member("m0", {0: 5}), member("m1", {0: 5}))
    assert waits((10, 0), (20, 0), (20, 1), of=small) == pytest.approx(small.members[0].in_seconds)
    apart = fleet(member("m0", {0: 10}), member("m1", {1: 10}), devices={0: 10, 1: 10})
    assert waits((0, 0), (10, 0), (10, 1), of=apart) == pytest.approx(0.7)


def best(requests: Trace, its: Fleet) -> float:
    """The least that all wait, of every schedule: each order of the grants, and of each each choice of who leaves."""
    asked = list(zip(requests.times, requests.models, strict=True))
    return min(_in_turn(order, its) for order in permutations(asked))


def _in_turn(order: tuple[tuple[float, int], ...], its: Fleet) -> float:
    """`free`: since when there is room where the last one left; `sits`: member -> its last grant; `back`: when each
    has left. Everything is begun as early as it can be."""
    least = math.inf
    todo: list[tuple[int, float, dict[int, float], dict[int, float], float]] = [(0, 0.0, {}, {}, 0.0)]
    while todo:
        place, total, sits, back, free = todo.pop()
        if place == len(order):
            least = min(least, total)
            continue
        at, model = order[place]
        if model in sits:
            given = max(at, sits[model])
            todo.append((place + 1, total + given - at, {**sits, model: given}, back, free))
            continue
        for count in range(len(sits) + 1):
            for leaving in combinations(sorted(sits), count):
                stay = {k: since for k, since in sits.items() if k not in leaving}
                if sum(its.members[k].nbytes for k in (*stay, model)) > its.devices[0]:
                    continue
                gone = {k: sits[k] + its.members[k].out_seconds for k in leaving}
                room = max([free, *gone.values()])
                given = max(at, max(room, back.get(model, 0.0)) + its.members[model].in_seconds)
                todo.append((place + 1, total + given - at, {**stay, model: given}, {**back, **gone}, room))
    return least


@st.composite
def small(draw: st.DrawFn) -> tuple[Trace, Fleet]:
    """At most five requests for at most three workloads of one device."""
    count = draw(st.integers(1, 3))
    members = [member(f"m{k}", {0: draw(st.integers(1, 10))}) for k in range(count)]
    times = draw(st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.7, 2.0, 3.0, 5.0]), min_size=1, max_size=5))
    rows = [(at, draw(st.integers(0, count - 1)), 1, 1) for at in sorted(times)]
    return trace(*rows, models=count), fleet(*members)


@given(scene=small())
def test_never_more_than_the_best_schedule_waits(scene: tuple[Trace, Fleet]) -> None:
    assert least_wait(*scene, stops=False) <= best(*scene) + 1e-9


def test_for_one_request_each_it_is_what_the_best_schedule_waits() -> None:
    scene = trace((0, 0, 1, 1), (0, 1, 1, 1), models=2), TWO
    assert least_wait(*scene, stops=False) == pytest.approx(best(*scene)) == pytest.approx(0.7 + 0.7 + 1.8)


@settings(deadline=None)
@given(scene=scenes(), policy=st.sampled_from([HOTSEAT, *BASELINES]))
def test_no_policy_waits_less(scene: tuple[Trace, Fleet], policy: object) -> None:
    outcome = simulate(*scene, policy)  # type: ignore[arg-type]
    waited = sum(math.inf if math.isnan(wait) else wait for wait in outcome.results.wait)  # NaN: it never had a seat
    assert least_wait(*scene) <= waited + 1e-6
    if not any(tally.stops for tally in outcome.tallies):
        assert least_wait(*scene, stops=False) <= waited + 1e-6


@given(scene=scenes(hosts=False))
def test_slower_swaps_are_waited_for_longer(scene: tuple[Trace, Fleet]) -> None:
    requests, its = scene
    slow = replace(COSTS, in_fixed=1.2, out_fixed=2.1)
    slower = replace(its, members=tuple(replace(one, costs=slow) for one in its.members))
    roomy = replace(its, devices=dict.fromkeys(its.devices, 1000))
    assert least_wait(requests, slower) >= least_wait(requests, roomy) - 1e-9


def in_windows(requests: Trace, its: Fleet) -> Windows:
    """Those of its one device, for schedules that stop nobody."""
    guests = []
    for k, one in enumerate(its.members):
        if at := [
            max(at, one.in_seconds) for at, model in zip(requests.times, requests.models, strict=True) if model == k
        ]:
            guests.append(Guest(size=one.nbytes, way_in=one.in_seconds, way_out=one.out_seconds, arrivals=at))
    return Windows(guests, its.devices[0], length=0.1, looks=10**6)


def alone(requests: Trace, its: Fleet) -> float:
    asked = zip(requests.times, requests.models, strict=True)
    return sum(max(0.0, its.members[model].in_seconds - at) for at, model in asked)


@settings(deadline=None)
@given(scene=small(), drawn=st.lists(st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0]), min_size=40, max_size=40))
def test_whatever_the_prices_no_schedule_waits_less(scene: tuple[Trace, Fleet], drawn: list[float]) -> None:
    """Weak duality, which the bound of windows rests on: good prices make it greater, bad ones never wrong."""
    windows = in_windows(*scene)
    prices = [drawn[n % len(drawn)] if n < windows.paid else 0.0 for n in range(len(windows.starts))]
    value, _ = windows.value(prices)
    assert value + alone(*scene) <= best(*scene) + 1e-9


def test_under_load_it_is_more_than_pairs_tell() -> None:
    """Ten requests a second, in turn for two that do not fit together: in pairs each second one waits 1.7 s."""
    rows = [(0.0, 0), *((10 + n / 10, n % 2) for n in range(300))]
    assert waits(*rows) > 0.7 + 1.4 * 150 * 1.7
    policy = simulate(trace(*[(at, model, 1, 1) for at, model in rows], models=2), TWO, HOTSEAT)
    assert waits(*rows) <= sum(policy.results.wait)
