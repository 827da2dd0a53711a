"""The bound on seats: worked out by hand, and never above what an exhaustive search finds."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import COSTS, fleet, member, scenes, trace

from hotseat.simulate import Fleet, Trace
from hotseat.simulate.bound import Least, least

TWO = fleet(member("m0", {0: 10}), member("m1", {0: 10}))
"""Only one of them fits. The cheapest ways: 0.7 s in (a start takes 7 s), 0.3 s out (a stop; a swap out 1.1 s)."""


def bound(*requests: tuple[float, int], of: Fleet = TWO, slack: float = 0.0) -> Least:
    rows = [(at, model, 1, 1) for at, model in requests]
    return least(trace(*rows, models=len(of.members)), of, slack=slack)


def test_what_fits_into_all_memory_of_all_time_is_kept() -> None:
    # m0 holds 10 bytes for 20 s: all that there is. The bound cannot see that m1 must sit in between.
    assert bound((0, 0), (10, 1), (20, 0)) == Least(seats_taken=2, seconds=pytest.approx(2 * 0.7))


def test_the_cheapest_are_kept_and_the_last_one_in_part() -> None:
    # 200 byte-seconds: m1's 15 s cost 150 and are kept, a quarter of m0's 20 s as well. Three quarters of a seat more.
    found = bound((0, 0), (5, 1), (20, 0), (20, 1))
    assert found.seats_taken == 3
    assert found.seconds == pytest.approx(2 * 0.7 + 0.75 * (0.7 + 0.3))


def test_seconds_keep_whose_swaps_cost_most_a_byte_second() -> None:
    # m0 comes in 7 s, so keeping it for 20 s saves more than keeping m1 for 15 s; all memory is m0's then.
    its = fleet(member("m0", {0: 10}, costs=replace(COSTS, in_fixed=8.5)), member("m1", {0: 10}))
    found = bound((0, 0), (5, 1), (20, 0), (20, 1), of=its)
    assert found.seats_taken == 3
    assert found.seconds == pytest.approx(7.0 + 0.7 + (0.7 + 0.3))


def test_who_waits_may_be_served_together() -> None:
    apart = (0, 0), (5, 1), (20, 0), (20, 1)
    assert bound(*apart, slack=4.9).seats_taken == 3
    assert bound(*apart, slack=15.0).seats_taken == 2
    assert bound(*apart, slack=math.inf).seats_taken == 2


def test_the_cheapest_way_in_counts_whatever_a_policy_takes() -> None:
    quick = fleet(member("m0", {0: 10}, costs=replace(COSTS, start=0.25)))
    assert bound((0, 0), of=quick).seconds == pytest.approx(0.25)
    slow = fleet(member("m0", {0: 10}))
    assert bound((0, 0), of=slow).seconds == pytest.approx(0.7)


def test_memory_of_another_gpu_is_of_no_use() -> None:
    requests = (0.0, 0), (0.0, 1), (20.0, 0), (20.0, 1)
    both = (member("m0", {0: 10}), member("m1", {0: 10}))
    crowded = fleet(*both, member("m2", {1: 10}), devices={0: 10, 1: 10})
    spread = fleet(*both[:1], replace(both[1], need={1: 10}), devices={0: 10, 1: 10})
    assert bound(*requests, of=crowded).seats_taken == 3
    assert bound(*requests, of=spread).seats_taken == 2


def test_models_of_one_workload_share_its_seat() -> None:
    one = Fleet(devices={0: 10}, members=(member("m0", {0: 10}),), serves=(0, 0))
    requests = trace((0, 0, 1, 1), (5, 1, 1, 1), (9, 0, 1, 1), models=2)
    assert least(requests, one, slack=0.0).seats_taken == 1


def exhaustive(requests: Trace, its: Fleet) -> int:
    """Fewest seats if nobody waits: every choice of who is kept between two of its requests, as far as it fits."""
    asked: dict[int, list[float]] = {}
    for at, model in zip(requests.times, requests.models, strict=True):
        asked.setdefault(model, []).append(at)
    spans = [(model, a, b) for model, times in asked.items() for a, b in pairwise(times) if b > a]
    edges = sorted(set(requests.times))
    moments = [*edges, *((a + b) / 2 for a, b in pairwise(edges))]
    fewest = len(asked) + len(spans)
    for kept in product((True, False), repeat=len(spans)):
        for now in moments:
            sits = {model for (model, a, b), stays in zip(spans, kept, strict=True) if stays and a <= now <= b}
            sits |= {model for model, times in asked.items() if now in times}
            needs = [its.members[model].need for model in sits]
            if any(sum(need.get(index, 0) for need in needs) > size for index, size in its.devices.items()):
                break
        else:
            fewest = min(fewest, len(asked) + kept.count(False))
    return fewest


@st.composite
def small(draw: st.DrawFn) -> tuple[Trace, Fleet]:
    """At most nine requests of one instant each, of workloads that take 1 to 10 of a device's 10."""
    count = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(1, 10), min_size=count, max_size=count))
    homes = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    its = fleet(
        *(member(f"m{k}", {home: size}) for k, (home, size) in enumerate(zip(homes, sizes, strict=True))),
        devices={0: 10, 1: 10},
    )
    times = draw(st.lists(st.integers(0, 50), min_size=1, max_size=9, unique=True))
    rows = [(float(at), draw(st.integers(0, count - 1)), 1, 1) for at in sorted(times)]
    return trace(*rows, models=count), its


@given(scene=small())
def test_never_more_than_the_best_schedule_takes(scene: tuple[Trace, Fleet]) -> None:
    found = least(*scene, slack=0.0).seats_taken
    assert len(set(scene[0].models)) <= found <= exhaustive(*scene)


@given(scene=scenes(hosts=False))
def test_with_room_for_all_or_endless_patience_each_sits_once(scene: tuple[Trace, Fleet]) -> None:
    requests, its = scene
    once = len(set(requests.models))
    assert least(requests, its, slack=math.inf).seats_taken == once
    roomy = replace(its, devices=dict.fromkeys(its.devices, 1000))
    assert least(requests, roomy, slack=0.0).seats_taken == once


@given(scene=scenes(hosts=False), more=st.integers(1, 30))
def test_a_larger_gpu_never_needs_more(scene: tuple[Trace, Fleet], more: int) -> None:
    requests, its = scene
    larger = replace(its, devices={index: size + more for index, size in its.devices.items()})
    before, after = least(requests, its, slack=0.0), least(requests, larger, slack=0.0)
    assert after.seats_taken <= before.seats_taken
    assert after.seconds <= before.seconds + 1e-9
