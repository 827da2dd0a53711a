from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hotseat.metrics import catalogue as c
from hotseat.metrics.catalogue import CATALOGUE, Kind
from hotseat.metrics.history import History
from hotseat.metrics.meters import Meters, Reading


def values(meters: Meters) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = meters.exposition().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_names_are_as_prometheus_wants_them() -> None:
    assert len({metric.name for metric in CATALOGUE}) == len(CATALOGUE)
    for metric in CATALOGUE:
        assert re.fullmatch(r"hotseat_[a-z]+(_[a-z]+)*", metric.name)
        assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total")
        assert (metric.kind is Kind.HISTOGRAM) == bool(metric.buckets), metric.name
        assert metric.buckets == tuple(sorted(set(metric.buckets)))


def test_every_metric_is_exposed_with_help_and_kind_before_anything_was_counted() -> None:
    text = Meters(lambda: ()).exposition().decode()
    for metric in CATALOGUE:
        assert f"# TYPE {metric.name} {metric.kind}" in text
        assert f"# HELP {metric.name} {metric.help}" in text


def test_a_swap_is_counted_whole_and_by_phase() -> None:
    meters = Meters(lambda: ())
    phases = [("lock", "driver", 0.02), ("checkpoint", "driver", 2.0)]
    meters.swap(workload="a", direction="out", seconds=2.02, phases=phases, gpu_bytes={0: 5, 1: 7})
    now = values(meters)
    assert now["hotseat_swaps_total", (("direction", "out"), ("outcome", "done"), ("workload", "a"))] == 1
    assert now["hotseat_swap_bytes_total", (("direction", "out"), ("workload", "a"))] == 12
    whole = (("direction", "out"), ("workload", "a"))
    assert now["hotseat_swap_seconds_sum", whole] == pytest.approx(2.02)
    one = (("direction", "out"), ("part", "driver"), ("phase", "checkpoint"), ("workload", "a"))
    assert now["hotseat_swap_phase_seconds_count", one] == 1
    assert now["hotseat_swap_phase_seconds_bucket", tuple(sorted([*one, ("le", "1.0")]))] == 0
    assert now["hotseat_swap_phase_seconds_bucket", tuple(sorted([*one, ("le", "2.5")]))] == 1
    assert not any(name.endswith("_created") for name, _ in now)


def test_a_time_is_in_every_bucket_that_reaches_it() -> None:
    meters, labels = Meters(lambda: ()), (("workload", "a"),)
    for seconds in (-1.0, 0.1, 0.11, 601.0):
        meters.observe(c.SEAT_WAIT, "a", seconds=seconds)
    now = values(meters)
    buckets = [now["hotseat_seat_wait_seconds_bucket", (("le", le), *labels)] for le in ("0.001", "0.1", "0.25")]
    assert buckets == [1, 2, 3], "a clock that was set back has made no negative time"
    assert now["hotseat_seat_wait_seconds_bucket", (("le", "600.0"), *labels)] == 3
    assert now["hotseat_seat_wait_seconds_bucket", (("le", "+Inf"), *labels)] == 4
    assert now["hotseat_seat_wait_seconds_count", labels] == 4
    assert now["hotseat_seat_wait_seconds_sum", labels] == pytest.approx(601.21)


def test_gauges_are_read_when_asked_for_and_hostile_names_stay_one_label() -> None:
    name = 'a"}\n# TYPE evil counter\\'
    readings: list[Reading] = [(c.WAITING, (name,), 3), (c.BUILD, ("1",), 1)]
    meters = Meters(lambda: readings)
    assert values(meters)["hotseat_workload_waiting", (("workload", name),)] == 3
    readings[0] = (c.WAITING, (name,), 4)
    assert values(meters)["hotseat_workload_waiting", (("workload", name),)] == 4


def test_daemons_in_one_process_count_apart() -> None:
    one, other = Meters(lambda: ()), Meters(lambda: ())
    one.add(c.QUARANTINES, "a")
    assert ("hotseat_quarantines_total", (("workload", "a"),)) in values(one)
    assert ("hotseat_quarantines_total", (("workload", "a"),)) not in values(other)


def test_a_workload_that_is_gone_is_forgotten_and_others_are_not() -> None:
    meters = Meters(lambda: ())
    for name in "ab":
        meters.swap(workload=name, direction="in", seconds=1, phases=[("restore", "driver", 1)], gpu_bytes={0: 1})
        meters.add(c.REQUESTS, name, "openai", "200")
    meters.forget("a")
    left = [dict(labels) for _, labels in values(meters)]
    assert not any(labels.get("workload") == "a" for labels in left)
    assert any(labels.get("workload") == "b" for labels in left)
    assert any(labels.get("model") == "a" for labels in left), "models are not workloads"


def test_history_keeps_seconds_and_gives_rates() -> None:
    history = History(keep=3)
    assert history.rates("a") == (0, 0)
    history.count("a", tokens=30)
    history.count("a", error=True)
    first = history.tick(1.0, {"a": (2, 1), "idle": (0, 0)})
    assert first.as_json() == {
        "at": 1.0,
        "workloads": {"a": {"waiting": 2, "running": 1, "requests": 2, "errors": 1, "tokens": 30}},
    }
    history.tick(2.0, {"a": (0, 0)})
    assert history.rates("a") == (1, 15)
    assert history.rates("a", over=1) == (0, 0)
    assert history.rates("nobody") == (0, 0)
    history.tick(3.0, {})
    history.tick(4.0, {})
    assert [point.at for point in history.points] == [2.0, 3.0, 4.0]
