"""Figures: each is worked out again from what came of the requests."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import fleet, member, scenes, trace

from hotseat.simulate import Fleet, Outcome, Trace, simulate
from hotseat.simulate.policies import BASELINES, HOTSEAT, Policy
from hotseat.simulate.report import SLO_OF, attained, figures, quantiles

policies = st.sampled_from((HOTSEAT, *BASELINES))
Scene = tuple[Trace, Fleet]


def two_turns() -> Outcome:
    """m0 at 0 for 2 s, m1 at 1 for 1 s on one device of 10: out 1.1 s, in 0.7 s, a seat kept for 1.8 s."""
    two = fleet(member("m0", {0: 10}), member("m1", {0: 10}))
    return simulate(trace((0, 0, 0, 20), (1, 1, 0, 10), models=2), two, HOTSEAT)


def in_vain() -> Outcome:
    two = fleet(member("m0", {0: 10}, pinned=True), member("m1", {0: 10}))
    return simulate(trace((0, 0, 0, 10), (10, 1, 0, 10), (30, 0, 0, 10), models=2), two, HOTSEAT)


def test_every_figure_by_hand() -> None:
    found = figures(two_turns(), slo=2.0, models=True)
    # m0 sits at 0.7, is frozen at 2.5 with 0.2 s to go; m1 sits at 4.3 and ends at 5.3, leaves at 5.8 (linger 0.5);
    # m0 is back at 7.6 and ends at 7.8.
    assert (found.wait.p50, found.wait.max) == pytest.approx((0.7, 3.3))
    assert found.first.max == pytest.approx(3.3 + 0.1)
    assert found.end.max == pytest.approx(7.8)
    assert (found.requests, found.waiting, found.frozen) == (2, 0, 1)
    assert found.attained == 0.5
    assert (found.swaps_in, found.swaps_out, found.starts, found.stops) == (3, 2, 0, 0)
    assert found.swap_seconds == pytest.approx(3 * 0.7 + 2 * 1.1)
    assert found.seconds == pytest.approx(7.8)
    assert found.gpu_busy == pytest.approx(3.0 / 7.8)
    assert found.gpu_lost == pytest.approx(4.3 / 7.8)
    assert (found.least_seats, found.least_seconds) == (2, pytest.approx(1.4))
    assert [(one.model, one.requests, one.attained) for one in found.models] == [("m0", 1, 1.0), ("m1", 1, 0.0)]


def test_what_the_slo_is_of() -> None:
    outcome = two_turns()
    assert figures(outcome, slo=0.75, slo_of="seat").attained == 0.5
    assert figures(outcome, slo=0.75, slo_of="first-token").attained == 0.0
    assert figures(outcome, slo=3.3 + 1e-9, slo_of="seat").attained == 1.0
    assert figures(outcome).attained is None
    assert figures(outcome, models=True).models[0].attained is None
    seat = figures(outcome, slo=0.75, slo_of="seat", models=True)
    assert [one.attained for one in seat.models] == [1.0, 0.0]


def test_who_never_got_a_seat_is_not_in_time_and_not_in_the_quantiles() -> None:
    found = figures(in_vain(), slo=60.0, models=True)
    assert (found.requests, found.waiting) == (3, 1)
    assert found.attained == pytest.approx(2 / 3)
    assert found.wait.max == pytest.approx(0.7)
    assert [(one.model, one.attained) for one in found.models] == [("m0", 1.0), ("m1", 0.0)]
    assert found.least_seats == 2  # with endless patience each sits once
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["waiting"] == 1


def test_models_that_nobody_asks_for_have_no_row() -> None:
    three = fleet(*(member(f"m{k}", {0: 3}) for k in range(3)))
    found = figures(simulate(trace((0, 2, 0, 1), (1, 0, 0, 1), models=3), three, HOTSEAT), models=True)
    assert [one.model for one in found.models] == ["m0", "m2"]
    assert figures(simulate(trace((0, 2, 0, 1), models=3), three, HOTSEAT)).models == ()


def test_nobody_got_a_seat() -> None:
    whole = quantiles([math.nan, math.nan])
    assert (whole.p50, whole.p99, whole.max) == (0.0, 0.0, 0.0)
    assert quantiles([]) == whole


@given(seconds=st.lists(st.floats(0, 1e6), min_size=1, max_size=300), never=st.integers(0, 5))
def test_quantiles_are_by_nearest_rank(seconds: list[float], never: int) -> None:
    found = quantiles([*seconds, *[math.nan] * never])
    for share, value in ((0.5, found.p50), (0.9, found.p90), (0.99, found.p99), (1.0, found.max)):
        assert value in seconds
        assert sum(x <= value for x in seconds) >= share * len(seconds) - 1e-9
        assert sum(x < value for x in seconds) < share * len(seconds)


@given(scene=scenes(), policy=policies, slo=st.sampled_from([0.0, 1.0, 5.0, 100.0]), of=st.sampled_from(SLO_OF))
def test_rows_of_models_add_up_to_the_whole(scene: Scene, policy: Policy, slo: float, of: str) -> None:
    outcome = simulate(*scene, policy)
    found = figures(outcome, slo=slo, slo_of=of, models=True)
    assert sum(one.requests for one in found.models) == found.requests == len(scene[0])
    assert max(one.wait.max for one in found.models) == found.wait.max
    assert max(one.first.max for one in found.models) == found.first.max
    shares = [(one.attained or 0.0) * one.requests for one in found.models]
    assert sum(shares) == pytest.approx((found.attained or 0.0) * found.requests)
    assert found.attained == attained(outcome.results, slo, of)


@given(scene=scenes(), policy=policies)
def test_figures_keep_their_order(scene: Scene, policy: Policy) -> None:
    found = figures(simulate(*scene, policy), slo=1.0)
    for one in (found.wait, found.first, found.end):
        assert 0 <= one.p50 <= one.p90 <= one.p99 <= one.max
    assert found.wait.max <= found.first.max + 1e-9 <= found.end.max + 2e-9
    assert found.gpu_lost >= 0
    assert found.gpu_busy + found.gpu_lost <= 1 + 1e-9
    assert found.least_seats <= found.swaps_in + found.starts
    assert found.least_seconds <= found.swap_seconds + 1e-6
    assert found.swaps_in + found.starts <= found.swaps_out + found.stops + len(scene[1].members)
