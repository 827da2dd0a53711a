"""Fleets: what swaps cost, which GPUs have to do with each other, and where a fleet comes from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import COSTS, SERVICE, fleet, fleets, member, trace

from hotseat import config
from hotseat.errors import UsageError
from hotseat.simulate import Costs, Fleet, Trace
from hotseat.simulate import from_config as loaded
from hotseat.simulate.scenario import Scenario, SplitBy, of_config, of_sizes

GIB = 1 << 30
SPLIT = SplitBy(seed=1, zipf=1.0, on=60.0, off=240.0)
NAMELESS = Trace(**{name: getattr(trace((0, 0, 1, 1), (9, 0, 2, 2), models=1), name) for name in (
    "times", "models", "prompts", "outputs")})  # fmt: skip


def sized(requests: Trace, models: int | None, *sizes: tuple[int, float], seed: int = 1) -> Scenario:
    return of_sizes(
        requests, models, sizes=sizes or ((8 * GIB, 1.0),), costs=COSTS, service=SERVICE, gpu_bytes=80 * GIB, host=None,
        min_stay=3.0, split_by={**SPLIT, "seed": seed},
    )  # fmt: skip


def configured(text: str, requests: Trace, *, gpu_bytes: int = 80 * GIB, host: int | None = None) -> Scenario:
    return of_config(
        requests, config.parse(text), costs=COSTS, service=SERVICE, gpu_bytes=gpu_bytes, host=host, split_by=SPLIT
    )


def test_the_default_costs_are_those_of_the_recorded_run() -> None:
    # benchmarks/results/2026-11-24-h200.md: 2.1 to 2.2 GB/s out, 5.3 to 6.0 GB/s in; a little slower is assumed.
    costs = Costs()
    assert costs.swap_out(40 * GIB) == pytest.approx(0.28 + 40 * GIB / 2e9)
    assert costs.swap_in(40 * GIB) == pytest.approx(0.44 + 40 * GIB / 5e9)
    assert costs.swap_in(0) == 0.44


def test_a_workload_of_several_gpus_moves_all_its_bytes() -> None:
    both = member("m0", {0: 6, 1: 4})
    assert (both.nbytes, both.out_seconds, both.in_seconds) == (10, pytest.approx(1.1), pytest.approx(0.7))


def test_gpus_that_a_workload_binds_together_are_one_island() -> None:
    its = fleet(
        member("m0", {0: 1}), member("m1", {1: 1}), member("m2", {2: 1}), member("m3", {0: 1, 2: 1}),
        devices=dict.fromkeys(range(4), 10),
    )  # fmt: skip
    assert sorted((sorted(devices), members) for devices, members in its.islands()) == [([0, 2], [0, 2, 3]), ([1], [1])]
    assert replace(its, host=5).islands() == [({0, 1, 2, 3}, [0, 1, 2, 3])]


@given(its=fleets(hosts=False))
def test_islands_share_no_gpu_and_leave_nobody_out(its: Fleet) -> None:
    islands = its.islands()
    assert sorted(number for _, members in islands for number in members) == list(range(len(its.members)))
    seen = [index for devices, _ in islands for index in devices]
    assert len(seen) == len(set(seen))
    for devices, members in islands:
        assert devices == {index for number in members for index in its.members[number].need}


# -- without a configuration


def test_models_of_the_trace_get_sizes_and_homes() -> None:
    scenario = sized(trace((0, 0, 1, 1), (70, 1, 1, 1), models=2), None)
    assert [one.name for one in scenario.members] == ["m0", "m1"]
    its = scenario.fleet(2)
    assert {one.name: dict(one.need) for one in its.members} == {"m0": {0: 8 * GIB}, "m1": {1: 8 * GIB}}
    assert its.devices == {0: 80 * GIB, 1: 80 * GIB}
    assert [one.min_stay for one in its.members] == [3.0, 3.0]
    assert "2 models that the trace names" in scenario.said[0]


def test_models_are_made_up_where_the_trace_names_none_or_a_number_is_given() -> None:
    assert [one.name for one in sized(NAMELESS, None).members] == ["model-001"]
    scenario = sized(trace((0, 0, 1, 1), (70, 1, 1, 1), models=2), 3)
    assert [one.name for one in scenario.members] == ["model-001", "model-002", "model-003"]
    assert scenario.trace.names == ("model-001", "model-002", "model-003")
    assert "split over 3 models by Zipf's law" in scenario.said[0]
    assert "seed 1" in scenario.said[0]


def test_sizes_are_drawn_by_weight_and_seed() -> None:
    both = (8 * GIB, 1e6), (40 * GIB, 1e-6)
    assert {one.nbytes for one in sized(NAMELESS, 200, *both).members} == {8 * GIB}
    even = (8 * GIB, 1.0), (40 * GIB, 1.0)
    first, again, other = ([one.nbytes for one in sized(NAMELESS, 50, *even, seed=seed).members] for seed in (1, 1, 2))
    assert first == again != other
    assert 10 < first.count(8 * GIB) < 40


def test_numbers_of_gpus_to_try() -> None:
    scenario = sized(NAMELESS, 4)
    assert list(scenario.counts(None)) == [1]
    assert list(scenario.counts((2, 4))) == [2, 3, 4]
    assert list(replace(scenario, devices={0: 1, 3: 1}).counts(None)) == [2]


# -- with one

FULL = """
host_memory: {parked: 64GiB}
devices: {0: {cap: 60GiB}}
workloads:
  one:
    port: 1
    models: [a, b]
    gpu_memory: {0: 30GiB}
    priority: 3
    min_stay: 7s
    linger: 2s
    drain: 4s
    idle_timeout: 90s
    idle: stop
    pinned: true
    preload: true
    start: false
  two: {port: 2, models: [c], gpu_memory: {0: 20GiB, 2: 10GiB}}
"""


def asked(*names: str) -> Trace:
    return replace(trace(*[(float(k), k, 1, 1) for k in range(len(names))], models=len(names)), names=names)


def test_every_setting_that_the_scheduler_goes_by_is_taken() -> None:
    scenario = configured(FULL, asked("b", "c", "a"))
    one, two = scenario.members
    assert one == member(
        "one", {0: 30 * GIB}, priority=3, min_stay=7.0, linger=2.0, drain=4.0, idle_timeout=90.0, idle_stops=True,
        pinned=True, preload=True, can_start=False,
    )  # fmt: skip
    assert two.need == {0: 20 * GIB, 2: 10 * GIB}
    assert (two.drain, two.idle_timeout, two.pinned, two.can_start) == (None, None, False, True)
    assert scenario.serves == (0, 1, 0)
    assert scenario.devices == {0: 60 * GIB, 2: 80 * GIB}
    assert scenario.host == 64 * GIB
    assert scenario.fleet(2).devices == scenario.devices


def test_a_limit_of_the_command_goes_before_that_of_the_file() -> None:
    assert configured(FULL, asked("a"), host=5 * GIB).host == 5 * GIB


def test_a_trace_without_models_is_split_over_the_workloads() -> None:
    scenario = configured(FULL, NAMELESS)
    assert scenario.trace.names == ("one", "two")
    assert scenario.serves == (0, 1)


def test_other_numbers_of_gpus_place_workloads_anew_if_each_sits_on_one() -> None:
    text = "workloads: {one: {port: 1, models: [a], gpu_memory: 6GiB}, two: {port: 2, models: [b], gpu_memory: 6GiB}}"
    its = configured(text, asked("a", "b")).fleet(2)
    assert [dict(one.need) for one in its.members] == [{0: 6 * GIB}, {1: 6 * GIB}]
    with pytest.raises(UsageError) as error:
        configured(FULL, asked("a")).fleet(3)
    assert "two sits on several GPUs" in error.value.message


@pytest.mark.parametrize(
    ("text", "names", "gpu_bytes", "said"),
    [
        ("workloads: {}", ["a"], 80, "no workloads"),
        ("workloads: {one: {port: 1}, two: {port: 2}}", ["a"], 80, "no gpu_memory in the configuration: one, two"),
        (FULL, ["x", "a", "y"], 80, "no workload serves 'x', which the trace asks for (and 1 more)"),
        (FULL, ["x"], 80, "no workload serves 'x', which the trace asks for"),
        (FULL, ["a"], 15, "one needs 30.0 GiB of device 0, which offers 15.0 GiB"),
    ],
)
def test_what_cannot_be_simulated_is_told(text: str, names: list[str], gpu_bytes: int, said: str) -> None:
    with pytest.raises(UsageError) as error:
        configured(text, asked(*names), gpu_bytes=gpu_bytes * GIB)
    assert error.value.message == said or said in error.value.message
    assert error.value.hint


@given(cap=st.integers(20, 100), size=st.integers(20, 100))
def test_a_gpu_offers_its_cap_and_never_more_than_it_has(cap: int, size: int) -> None:
    parsed = config.parse(f"{{devices: {{0: {{cap: {cap}GiB}}}}, workloads: {{one: {{port: 1, gpu_memory: 20GiB}}}}}}")
    members, _ = loaded.members(parsed, costs=COSTS, service=SERVICE)
    assert loaded.devices(parsed, members, gpu_bytes=size * GIB) == {0: min(cap, size) * GIB}
