"""An engine's own clock: answers take as long as they take, however often they are frozen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import SERVICE, member, trace

from hotseat.scheduler import RATE_SECONDS
from hotseat.simulate.engine import Engine
from hotseat.simulate.results import Meter, Results
from hotseat.words import State


def engine(*requests: tuple[float, int, int], **fields: object) -> Engine:
    """(time, prompt, output) each."""
    rows = [(at, 0, prompt, output) for at, prompt, output in requests]
    return Engine(0, member("m0", {0: 10}, **fields), State.PARKED, Results(trace(*rows, models=1)))


def test_a_first_token_is_there_after_the_prompt_and_one_step() -> None:
    one = engine((0, 200, 30))
    one.thaw(0.0)
    one.admit(0, 0.5)
    assert one.results.wait[0] == 0.5
    assert one.results.first[0] == pytest.approx(0.5 + 2.0 + 0.1)
    assert one.results.end[0] == pytest.approx(0.5 + 2.0 + 3.0)


def test_a_request_without_output_ends_with_its_prompt() -> None:
    one = engine((0, 200, 0))
    one.thaw(0.0)
    one.admit(0, 0.0)
    assert one.results.first[0] == one.results.end[0] == pytest.approx(2.0)


def test_a_first_token_that_was_given_before_the_freeze_stays_where_it_was() -> None:
    one = engine((0, 100, 10), (0, 300, 10))
    one.thaw(0.0)
    one.admit(0, 0.0)
    one.admit(1, 0.0)
    one.freeze(1.5)
    one.thaw(11.5)
    assert list(one.results.first) == pytest.approx([1.1, 13.1])
    assert list(one.results.end) == pytest.approx([12.0, 14.0])
    assert list(one.results.freezes) == [1, 1]


def test_what_ended_before_the_freeze_was_not_frozen() -> None:
    one = engine((0, 0, 10), (0, 0, 30))
    one.thaw(0.0)
    one.admit(0, 0.0)
    one.admit(1, 0.0)
    one.freeze(1.0)  # the very moment in which the first ends
    assert list(one.results.freezes) == [0, 1]
    assert one.prune(2.0) == 1


@given(
    begins=st.lists(st.floats(0, 20), min_size=1, max_size=6).map(sorted),
    outputs=st.lists(st.integers(0, 50), min_size=6, max_size=6),
    cuts=st.lists(st.tuples(st.floats(0.01, 8), st.floats(0.01, 8)), max_size=6),
)
def test_freezing_moves_the_rest_and_costs_no_work(
    begins: list[float], outputs: list[int], cuts: list[tuple[float, float]]
) -> None:
    """`begins` are on the engine's own clock, which stands still from one end of a cut to the other."""
    requests = [(0.0, 0, output) for _, output in zip(begins, outputs, strict=False)]
    free, cut = engine(*requests), engine(*requests)
    free.thaw(0.0)
    for number, at in enumerate(begins):
        free.admit(number, at)
    moments, own = [], 0.0
    for runs, _ in cuts:
        own += runs
        moments.append(own)
    world, own, pending = 0.0, 0.0, list(enumerate(begins))
    cut.thaw(0.0)

    def admit_until(end: float) -> None:
        while pending and pending[0][1] < end:
            number, at = pending.pop(0)
            cut.admit(number, world + (at - own))

    for moment, (_, stands) in zip(moments, cuts, strict=True):
        admit_until(moment)
        world, own = world + (moment - own), moment
        cut.freeze(world)
        world += stands
        cut.thaw(world)
    admit_until(float("inf"))
    for number in range(len(requests)):
        end = free.results.end[number]
        stood = sum(stands for moment, (_, stands) in zip(moments, cuts, strict=True) if moment < end - 1e-9)
        later = sum(stands for moment, (_, stands) in zip(moments, cuts, strict=True) if moment < end + 1e-9)
        assert end + stood - 1e-6 <= cut.results.end[number] <= end + later + 1e-6


def test_more_than_it_answers_at_once_wait_in_the_engine_in_their_order() -> None:
    one = engine((0, 0, 10), (0, 0, 40), (0, 0, 10), (0, 0, 10))
    one.thaw(0.0)
    for number in range(4):
        one.admit(number, 0.0)
    assert SERVICE.at_once == 2
    assert list(one.results.end) == pytest.approx([1.0, 4.0, 2.0, 3.0])
    assert list(one.results.wait) == [0.0] * 4  # the seat was given; the first token came later
    assert one.idle_time() == pytest.approx(4.0)


def test_the_rate_of_requests_fades_and_counts_each() -> None:
    one = engine((0, 0, 1))
    assert one.rate.of(1e9) == 0.0
    for second in range(4000):
        one.asked(float(second))
    assert one.rate.of(3999.0) == pytest.approx(1.0, rel=0.01)
    assert one.rate.of(3999.0 + RATE_SECONDS) == pytest.approx(one.rate.of(3999.0) / 2.718281828, rel=1e-6)


# -- as the scheduler sees it


def test_parked_it_holds_host_memory_and_seated_the_device_s() -> None:
    one = engine((0, 0, 10))
    one.parked_bytes = 10
    assert (one.view(0.0).holds, one.view(0.0).host_bytes) == ({}, 10)
    one.state, one.parked_bytes = State.SEATED, 0
    assert (one.view(0.0).holds, one.view(0.0).host_bytes) == ({0: 10}, 10)
    one.state = State.SWAPPING_OUT
    assert one.view(0.0).holds == {0: 10}
    one.stopping, one.parked_bytes = True, 10  # it is parked and being stopped: nothing of it is on the device
    assert (one.view(0.0).holds, one.view(0.0).stopping) == ({}, True)


def test_frozen_answers_are_a_demand_from_when_they_were_frozen() -> None:
    one = engine((0, 0, 100), (9, 0, 1))
    one.thaw(0.0)
    one.admit(0, 0.0)
    one.state = State.SEATED
    assert one.view(1.0).demand_since is None
    assert (one.view(1.0).busy, one.view(1.0).running, one.view(1.0).waiting) == (True, 1, 0)
    one.freeze(2.0)
    one.state, one.frozen_since = State.PARKED, 3.1
    assert one.view(4.0).demand_since == 3.1
    one.waiting.append(1)
    assert (one.view(9.0).demand_since, one.view(9.0).waiting) == (3.1, 1)


def test_who_waits_is_a_demand_since_it_came() -> None:
    one = engine((0, 0, 1), (5, 0, 1))
    assert (one.view(0.0).demand_since, one.view(0.0).busy) == (None, False)
    one.waiting.append(1)
    assert (one.view(7.0).demand_since, one.view(7.0).busy) == (5.0, True)


def test_it_is_loaded_in_advance_only_until_it_has_sat() -> None:
    one = engine((0, 0, 1), preload=True)
    assert one.view(0.0).preload
    one.has_sat = True
    assert not one.view(0.0).preload


@given(
    turns=st.lists(
        st.tuples(st.floats(0.0, 10), st.sampled_from(["work", "rest", "move", "stop"])), min_size=1, max_size=30
    )
)
def test_a_meter_divides_time_into_busy_lost_and_idle(turns: list[tuple[float, str]]) -> None:
    meter, now, computing, moving = Meter(), 0.0, 0, 0
    busy = lost = 0.0
    for seconds, what in turns:
        busy += seconds if computing else 0.0
        lost += seconds if moving and not computing else 0.0
        now += seconds
        change = {"work": (1, 0), "rest": (-min(1, computing), 0), "move": (0, 1), "stop": (0, -min(1, moving))}[what]
        computing, moving = computing + change[0], moving + change[1]
        meter.turn(now, computing=change[0], moving=change[1])
    assert (meter.computing, meter.moving) == (computing, moving)
    assert (meter.busy, meter.lost) == (pytest.approx(busy), pytest.approx(lost))
    assert meter.busy + meter.lost <= now + 1e-6
