"""What holds for every trace, every fleet and every policy; and a few worlds small enough to work out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import COSTS, SERVICE, fleet, member, scenes, trace

from hotseat.config import Workload
from hotseat.daemon import book
from hotseat.scheduler import Decision, Snapshot, decide
from hotseat.simulate import Fleet, Outcome, Trace, simulate
from hotseat.simulate.bound import least
from hotseat.simulate.engine import Engine
from hotseat.simulate.policies import BASELINES, HOTSEAT, Policy
from hotseat.simulate.results import Results
from hotseat.words import State

ALL = (HOTSEAT, *BASELINES)
policies = st.sampled_from(ALL)
Scene = tuple[Trace, Fleet]


def watched(policy: Policy) -> Policy:
    """The same policy, every snapshot of which is checked: nothing ever holds more than there is."""

    def choose(now: float, snapshot: Snapshot, future: object) -> Decision:
        for device in snapshot.devices:
            coming = (view for view in snapshot.workloads if view.state is State.SWAPPING_IN)
            held = sum(view.holds.get(device.index, 0) for view in snapshot.workloads)
            assert held + sum((view.need or {}).get(device.index, 0) for view in coming) <= device.size
        if snapshot.host is not None:
            off = (State.PARKED, State.SWAPPING_OUT, State.SWAPPING_IN)
            assert sum(view.host_bytes for view in snapshot.workloads if view.state in off) <= snapshot.host.budget
        return policy.choose(now, snapshot, future)  # type: ignore[arg-type]

    return replace(policy, choose=choose)


@given(scene=scenes(), policy=policies)
def test_every_request_ends_and_nothing_is_ever_over_capacity(scene: Scene, policy: Policy) -> None:
    outcome = simulate(*scene, watched(policy))
    results = outcome.results
    for request in range(len(scene[0])):
        service = SERVICE.prefill, SERVICE.decode
        least_time = scene[0].prompts[request] / service[0] + scene[0].outputs[request] / service[1]
        assert 0 <= results.wait[request] <= results.first[request] + 1e-9
        assert results.first[request] <= results.end[request] + 1e-9
        assert results.end[request] >= results.wait[request] + least_time - 1e-6


@given(scene=scenes(), policy=policies)
def test_the_time_of_each_gpu_adds_up_and_its_work_is_in_it(scene: Scene, policy: Policy) -> None:
    its, requests = scene[1], scene[0]
    outcome = simulate(requests, its, policy)
    for index, meter in outcome.meters.items():
        assert (meter.computing, meter.moving) == (0, 0)
        assert -1e-9 <= meter.busy + meter.lost <= outcome.seconds + 1e-6
        here = [k for k, one in enumerate(its.members) if index in one.need]
        for number in here:
            work = [
                requests.prompts[i] / SERVICE.prefill + requests.outputs[i] / SERVICE.decode
                for i, model in enumerate(requests.models)
                if model == number
            ]
            assert meter.busy >= sum(work) / SERVICE.at_once - 1e-6
    for one, tally in zip(its.members, outcome.tallies, strict=True):
        swaps = tally.swaps_out * one.out_seconds + tally.swaps_in * one.in_seconds
        assert tally.seconds == pytest.approx(swaps + tally.starts * COSTS.start + tally.stops * COSTS.stop)


@given(scene=scenes(), policy=policies)
def test_the_same_again_is_the_same(scene: Scene, policy: Policy) -> None:
    assert figures_of(simulate(*scene, policy)) == figures_of(simulate(*scene, policy))


@given(scene=scenes())
def test_asking_the_scheduler_only_where_it_matters_changes_nothing(scene: Scene) -> None:
    few, many = simulate(*scene, HOTSEAT), simulate(*scene, HOTSEAT, every=True)
    assert figures_of(few) == figures_of(many)
    assert few.decisions <= many.decisions


@given(scene=scenes(hosts=False))
def test_islands_are_decided_as_the_whole(scene: Scene) -> None:
    requests, its = scene
    whole = replace(its, host=10**9)  # a budget that is no limit: one table for all
    assert len(whole.islands()) == 1
    assert figures_of(simulate(requests, its, HOTSEAT)) == figures_of(simulate(requests, whole, HOTSEAT))


@given(scene=scenes(), policy=policies)
def test_no_policy_beats_the_bound_of_its_own_longest_wait(scene: Scene, policy: Policy) -> None:
    outcome = simulate(*scene, policy)
    bound = least(*scene, slack=max(outcome.results.wait) + 1e-9)
    assert bound.seats_taken <= outcome.seats_taken
    assert bound.seconds <= sum(tally.seconds for tally in outcome.tallies) + 1e-6


@given(scene=scenes(), more=st.floats(0, 100))
def test_who_may_wait_longer_needs_no_more_seats(scene: Scene, more: float) -> None:
    assert least(*scene, slack=more).seats_taken <= least(*scene, slack=0.0).seats_taken


@given(scene=scenes(hosts=False))
def test_one_more_gpu_changes_nothing_for_those_who_do_not_sit_on_it(scene: Scene) -> None:
    requests, its = scene
    more = replace(its, devices={**its.devices, 9: 10})
    assert figures_of(simulate(requests, more, HOTSEAT)) == figures_of(simulate(requests, its, HOTSEAT))


@given(scene=scenes(hosts=False), policy=policies)
@settings(max_examples=40)
def test_where_everything_fits_each_is_seated_once(scene: Scene, policy: Policy) -> None:
    requests, its = scene
    roomy = replace(
        its,
        devices=dict.fromkeys(its.devices, 1000),
        members=tuple(replace(one, idle_timeout=None, preload=False) for one in its.members),
    )
    outcome = simulate(requests, roomy, policy)
    assert outcome.seats_taken == len(set(requests.models))
    assert sum(tally.swaps_out + tally.stops for tally in outcome.tallies) == 0
    assert not any(outcome.results.freezes)


def figures_of(outcome: Outcome) -> object:
    results = outcome.results
    tallies = [(t.swaps_out, t.swaps_in, t.starts, t.stops) for t in outcome.tallies]
    times = [round(x, 6) for column in (results.wait, results.first, results.end) for x in column]
    return times, tallies, list(results.freezes)


# -- by hand: a device of 10, models of 10; out 0.1 + 10 / 10 = 1.1 s, in 0.2 + 10 / 20 = 0.7 s


def test_the_first_waits_for_its_swap_in_and_those_after_it_for_nothing() -> None:
    outcome = simulate(trace((0, 0, 100, 10), (5, 0, 100, 10), models=1), fleet(member("m0", {0: 10})), HOTSEAT)
    assert list(outcome.results.wait) == pytest.approx([0.7, 0.0])
    assert list(outcome.results.first) == pytest.approx([0.7 + 1.0 + 0.1, 1.1])
    assert list(outcome.results.end) == pytest.approx([2.7, 2.0])


def test_a_frozen_answer_goes_on_where_it_stopped() -> None:
    two = fleet(member("m0", {0: 10}), member("m1", {0: 10}))
    outcome = simulate(trace((0, 0, 0, 100), (1, 1, 0, 1), models=2), two, HOTSEAT)
    # m0 sits from 0.7 and may leave at 0.7 + 1.8, what its swaps take; m1 comes at 2.5 + 1.1 + 0.7 = 4.3 and ends at
    # 4.4, lingers to 4.9; m0 is back at 4.9 + 1.1 + 0.7 = 6.7 and has 8.2 of its 10 seconds left.
    assert list(outcome.results.freezes) == [1, 0]
    assert outcome.results.wait[1] == pytest.approx(3.3)
    assert outcome.results.end[0] == pytest.approx(14.9)


def test_a_full_engine_takes_the_next_when_an_answer_has_ended() -> None:
    outcome = simulate(trace(*[(0.0, 0, 0, 10)] * 3, models=1), fleet(member("m0", {0: 10})), HOTSEAT)
    assert list(outcome.results.end) == pytest.approx([1.7, 1.7, 2.7])
    assert list(outcome.results.wait) == pytest.approx([0.7] * 3)


def test_drain_lets_an_answer_end_and_freezes_it_at_its_deadline() -> None:
    def second_waits(drain: float) -> float:
        two = fleet(member("m0", {0: 10}, drain=drain), member("m1", {0: 10}))
        return simulate(trace((0, 0, 0, 40), (1, 1, 0, 1), models=2), two, HOTSEAT).results.wait[1]

    assert second_waits(9.0) == pytest.approx(4.7 - 1 + 1.8)  # the answer ends at 0.7 + 4
    assert second_waits(1.0) == pytest.approx(2.5 + 1.0 - 1 + 1.8)  # asked at 2.5, frozen a second later


def test_fifo_serves_nobody_before_the_one_who_came_first() -> None:
    two = fleet(member("m0", {0: 10}), member("m1", {0: 10}))
    requests = trace((0, 0, 0, 1), (0.5, 1, 0, 1), (0.6, 0, 0, 1), models=2)
    fifo, lru = (simulate(requests, two, next(p for p in BASELINES if p.name == name)) for name in ("fifo", "lru"))
    assert fifo.results.end[2] + 0.6 > fifo.results.end[1] + 0.5
    assert lru.results.end[2] + 0.6 < lru.results.end[1] + 0.5


def test_fifo_comes_to_an_end_where_two_came_in_one_instant() -> None:
    two = fleet(member("m0", {0: 10}), member("m1", {0: 10}))
    fifo = next(policy for policy in BASELINES if policy.name == "fifo")
    outcome = simulate(trace((0, 0, 0, 1), (5, 1, 0, 1), (5, 0, 0, 1), models=2), two, fifo)
    assert outcome.seats_taken == 3
    assert outcome.results.end[1] < outcome.results.end[2]


def test_the_clairvoyant_keeps_who_is_wanted_next() -> None:
    three = fleet(*(member(f"m{k}", {0: 5}) for k in range(3)))
    requests = trace((0, 0, 0, 1), (10, 1, 0, 1), (20, 2, 0, 1), (30, 0, 0, 1), models=3)
    by_name = {policy.name: simulate(requests, three, policy).seats_taken for policy in BASELINES}
    assert (by_name["lru"], by_name["clairvoyant"]) == (4, 3)


def test_who_finds_no_room_on_the_host_is_stopped_and_started_again() -> None:
    two = fleet(member("m0", {0: 10}), member("m1", {0: 10}), host=10)
    outcome = simulate(trace((0, 0, 0, 1), (10, 1, 0, 1), (30, 0, 0, 1), models=2), two, HOTSEAT)
    assert sum(tally.starts for tally in outcome.tallies) >= 1
    assert max(outcome.results.wait) >= COSTS.start


def test_who_may_not_be_started_waits_in_vain_and_is_counted() -> None:
    two = fleet(member("m0", {0: 10}, pinned=True), member("m1", {0: 10}))
    outcome = simulate(trace((0, 0, 0, 1), (10, 1, 0, 1), models=2), two, HOTSEAT)
    assert outcome.results.wait[1] != outcome.results.wait[1]


@pytest.mark.parametrize("configured", [0.0, 1.0, 1.8, 5.0])
def test_a_seat_is_kept_as_long_as_by_a_daemon_that_has_measured_the_same_swaps(configured: float) -> None:
    one = member("m0", {0: 10}, min_stay=configured)
    spec = Workload.model_validate({"port": 1, "min_stay": f"{configured}s"})
    record = book.Record(name="m0", spec=spec)
    record.learned.took(book.JobKind.SWAP_OUT, one.out_seconds)
    record.learned.took(book.JobKind.SWAP_IN, one.in_seconds)
    view = Engine(0, one, State.PARKED, Results(trace((0, 0, 0, 1), models=1))).view(0.0)
    assert view.min_stay == record.min_stay == pytest.approx(max(configured, 1.1 + 0.7))


def test_it_is_the_daemon_s_own_scheduler() -> None:
    snapshot = Snapshot(devices=(), workloads=())
    assert HOTSEAT.choose(0.0, snapshot, lambda _name: 0.0) == decide(0.0, snapshot)
