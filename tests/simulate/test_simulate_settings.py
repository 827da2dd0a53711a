"""Options as people write them, and how figures are shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.cli.main import run
from hotseat.cli.simulated import seconds
from hotseat.cli.simulating import MOST_GPUS, parse
from hotseat.simulate.policies import BASELINES

SAMPLE = str(Path(__file__).with_name("sample.csv"))
GIB = 1 << 30


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("size", "80GiB", 80 * GIB),
        ("duration", "0", 0.0),
        ("duration", "1500ms", 1.5),
        ("durations", "1s, 2m", [1.0, 120.0]),
        ("share", "99%", 0.99),
        ("share", "0.5", 0.5),
        ("share", "100%", 1.0),
        ("range", "4", (4, 4)),
        ("range", "1..16", (1, 16)),
        ("sizes", "8GiB:4, 40GiB", [(8 * GIB, 4.0), (40 * GIB, 1.0)]),
        ("policies", "none", ()),
        ("policies", "all", BASELINES),
    ],
)
def test_what_an_option_means(kind: str, text: str, value: Any) -> None:
    assert parse(kind, text) == value


def test_a_baseline_that_is_named_twice_is_run_once() -> None:
    assert [policy.name for policy in parse("policies", "lru, fifo,lru")] == ["lru", "fifo"]


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("size", "0GiB", "more than 0"),
        ("duration", "5", "is not a duration"),
        ("durations", "1s,,2s", "is not a duration"),
        ("share", "0%", "is no share"),
        ("share", "nan", "is no share"),
        ("share", "most", "is no share"),
        ("range", "0", "is no number of GPUs"),
        ("range", "3..", "is no number of GPUs"),
        ("range", f"{MOST_GPUS + 1}", f"at most {MOST_GPUS}"),
        ("sizes", "8GiB:0", "SIZE:WEIGHT"),
        ("sizes", "8GiB:nan", "SIZE:WEIGHT"),
        ("sizes", "8GiB:inf", "SIZE:WEIGHT"),
        ("policies", "lru,none", "no baseline 'none'"),
    ],
)
def test_what_is_no_value_is_told_with_what_to_write(kind: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse(kind, text)


@given(kind=st.sampled_from(["size", "duration", "durations", "share", "range", "sizes", "policies"]), text=st.text())
def test_any_text_is_a_value_or_a_sentence(kind: str, text: str) -> None:
    said = "a value"
    try:
        parse(kind, text)
    except ValueError as error:
        said = str(error)
    assert said
    assert said.isprintable() or not text.isprintable()


def test_seconds_are_written_as_finely_as_they_matter() -> None:
    assert [seconds(x) for x in (0.0, 1.005, 99.99, 100.4, 4041.3)] == [
        "0.00 s", "1.00 s", "99.99 s", "100 s", "4,041 s",
    ]  # fmt: skip


def test_json_says_what_the_figures_stand_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", SAMPLE, "--json", "--decode", "80", "--slo", "3s", "--baselines", "lru"]) == 0
    said = capsys.readouterr()
    data = json.loads(said.out)
    assert (data["settings"]["decode"], data["settings"]["slo"], data["settings"]["seed"]) == (80.0, 3.0, 1)
    assert (data["requests"], data["models"]) == (4, 2)
    assert [one["policy"] for one in data["runs"]] == ["hotseat", "lru"]
    assert "gpus_needed" not in data
    assert said.err == ""


def test_people_read_the_assumptions_as_they_were_set(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--out-rate", "3", "--in-fixed", "1s", "--cold-start", "20s", "--at-once", "7", "--gpu-memory", "48GiB"]
    assert run(["simulate", SAMPLE, "--baselines", "none", *args]) == 0
    said = capsys.readouterr().err
    assert "swap out 0.28 s + bytes at 3 GB/s, in 1 s + bytes at 5 GB/s; cold start 20 s" in said
    assert "7 at once" in said
    assert "GPUs of 48 GiB" in said


def test_twice_the_speed_is_half_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", SAMPLE, "--speed", "2", "--baselines", "none"]) == 0
    assert "4 requests in 45 s" in capsys.readouterr().err
    assert run(["simulate", SAMPLE, "--limit", "2", "--baselines", "none"]) == 0
    assert "2 requests in 2 s" in capsys.readouterr().err


def test_requests_that_never_get_a_seat_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "hotseat.yaml"
    path.write_text(
        "workloads:\n"
        "  one: {port: 1, models: [alpha], gpu_memory: 6GiB, pinned: true}\n"
        "  two: {port: 2, models: [beta], gpu_memory: 6GiB}\n"
    )
    assert run(["simulate", SAMPLE, "-c", str(path), "--gpu-memory", "8GiB", "--baselines", "none"]) == 0
    assert "hotseat on 1 GPUs: 2 requests never got a seat" in capsys.readouterr().out


def test_how_many_says_it_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    sized = ["simulate", SAMPLE, "--how-many", "--sizes", "70GiB", "--attainment", "100%"]
    assert run([*sized, "--slo", "20s"]) == 0
    assert capsys.readouterr().out.endswith(
        "2 GPUs: the fewest that reach 100 % of requests within 20 s (first-token)\n"
    )
    assert run([*sized, "--slo", "10m", "--slo-of", "seat"]) == 0
    assert capsys.readouterr().out.endswith("1 GPU: the fewest that reach 100 % of requests within 600 s (seat)\n")
    assert run([*sized, "--slo", "1ms"]) == 0
    assert "not reached: 100 % of requests within 0.001 s" in capsys.readouterr().out
