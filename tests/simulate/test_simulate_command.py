"""`hotseat simulate` as people and programs call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotseat.cli.main import run
from hotseat.simulate.search import fewest

SAMPLE = str(Path(__file__).with_name("sample.csv"))
CONFIG = """
workloads:
  one: {port: 1, models: [alpha], gpu_memory: 6GiB}
  two: {port: 2, models: [beta], gpu_memory: 6GiB}
"""


def data(capsys: pytest.CaptureFixture[str], *args: str) -> dict:  # type: ignore[type-arg]
    assert run(["simulate", SAMPLE, "--json", *args]) == 0
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_a_table_with_a_row_for_each_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", SAMPLE, "--slo", "10s", "--per-model"]) == 0
    said = capsys.readouterr()
    assert [line.split()[1] for line in said.out.splitlines()[1:6]] == [
        "hotseat", "fifo", "lru", "stop-start", "clairvoyant",
    ]  # fmt: skip
    assert "alpha" in said.out
    assert "4 requests in 90 s for the 2 models" in said.err


def test_json_is_the_same_for_the_same_seed(capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--models", "3", "--gpus", "1..2", "--seed", "5", "--compare", "1s,20s")
    first = data(capsys, *args)
    assert first == data(capsys, *args)
    assert [one["gpus"] for one in first["runs"]] == [1] * 7 + [2] * 7


def test_how_many(capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, "--how-many", "--slo", "20s", "--sizes", "70GiB", "--attainment", "100%")
    shares = {one["gpus"]: one["attained"] for one in found["runs"]}
    assert found["gpus_needed"] == min(count for count, share in shares.items() if share >= 1) == 2
    assert data(capsys, "--how-many", "--slo", "1ms", "--gpus", "1..2")["gpus_needed"] is None


@pytest.mark.parametrize("need", range(1, 12))
def test_the_search_finds_the_first_that_reaches_it(need: int) -> None:
    assert fewest(lambda count: float(count >= need), low=1, high=10, goal=1.0) == (need if need <= 10 else None)


def test_the_workloads_of_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "hotseat.yaml"
    path.write_text(CONFIG)
    found = data(capsys, "--config", str(path), "--gpu-memory", "8GiB", "--baselines", "none")
    assert found["runs"][0]["swaps_in"] >= 2
    path.write_text(CONFIG.replace("beta", "gamma"))
    assert run(["simulate", SAMPLE, "--config", str(path)]) == 2
    assert "no workload serves 'beta'" in capsys.readouterr().err
    path.write_text(CONFIG.replace(", gpu_memory: 6GiB", ""))
    assert run(["simulate", SAMPLE, "--config", str(path)]) == 2
    assert "no gpu_memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--sizes", "90GiB"], "alpha needs 90 GiB, and a GPU has 80 GiB"),
        (["--how-many"], "--how-many needs an SLO"),
        (["--gpus", "4..2"], "is no number of GPUs"),
        (["--attainment", "140%"], "is no share"),
        (["--sizes", "8GiB:much"], "is no SIZE:WEIGHT"),
        (["--baselines", "best"], "no baseline 'best'"),
        (["--slo", "10"], "no"),
        (["--burst-on", "0s"], "--burst-on must be more"),
        (["--config", "x", "--models", "3"], "both describe the fleet"),
    ],
)
def test_mistakes_are_told_with_a_way_out(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", SAMPLE, *args]) == 2
    assert said in capsys.readouterr().err
