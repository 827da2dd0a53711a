"""`hotseat demo`: the story is as told on every platform, one that is not is found out, and nothing is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hotseat.cli.story import plot
from hotseat.cli.story.stage import sizes
from hotseat.cli.story.talk import Answer
from hotseat.errors import UsageError

SAID = Answer(text="one two", tokens=2, prompt_tokens=40, cached_tokens=32, seconds=0.1)

STEPS = [
    "ask ada",
    "ada is seated",
    "ask bob",
    "ada is parked",
    "back to ada",
    "bob is parked",
    "ask bob while ada speaks",
    "ada freezes in the middle",
    "ada goes on",
]


def test_the_same_tokens_and_the_same_cache_are_as_told() -> None:
    step = plot.compare("back", SAID, SAID, warm=True)
    assert step.ok
    assert "32 of 40 prompt tokens still in its cache" in step.detail


@pytest.mark.parametrize(
    ("changed", "warm"),
    [
        ({"text": "one too"}, False),
        ({"tokens": 3}, False),
        ({"cached_tokens": 16}, False),
        ({"cached_tokens": 0}, True),
    ],
)
def test_another_text_or_a_cold_cache_is_not_as_told(changed: dict[str, object], warm: bool) -> None:
    said = replace(SAID, **changed)  # type: ignore[arg-type]
    assert not plot.compare("back", said, SAID, warm=warm).ok


def test_a_cold_cache_is_not_warm_only_because_the_undisturbed_run_was_cold_too() -> None:
    cold = replace(SAID, cached_tokens=0)
    assert plot.compare("first", cold, cold).ok
    assert not plot.compare("back", cold, cold, warm=True).ok


def test_sizes_are_checked() -> None:
    assert sizes(emulated=True, weights="64MiB", kv=None)[0] == 64 << 20
    with pytest.raises(UsageError):
        sizes(emulated=True, weights="much", kv=None)


def as_told(report: dict[str, object], *, platform: str) -> None:
    assert report["ok"] is True, report["steps"]
    assert report["platform"] == platform
    assert report["emulated"] is True
    steps = report["steps"]
    assert isinstance(steps, list)
    assert [step["name"] for step in steps] == STEPS
    swaps = report["swaps"]
    assert isinstance(swaps, list)
    assert {swap["direction"] for swap in swaps} == {"in", "out"}
    workloads = report["workloads"]
    assert isinstance(workloads, list)
    assert {row["name"]: row["platform"] for row in workloads} == {"ada": platform, "bob": platform}


@pytest.mark.emulated
def test_the_story_on_bare_processes(shell) -> None:
    as_told(shell.json("demo", "--emulated"), platform="process")
    assert shell.processes() == []


@pytest.mark.emulated
def test_the_same_story_with_the_store(shell) -> None:
    report = shell.json("demo", "--emulated", "--store")
    as_told(report, platform="process")
    parked = [step["detail"] for step in report["steps"] if step["name"] in ("ada is parked", "bob is parked")]
    assert ["interposed: 28 MiB with the store" in detail for detail in parked] == [True, True]
    assert {row["way"] for row in report["workloads"]} == {"interposed"}
    assert all(swap["interposed"] for swap in report["swaps"])
    assert shell.processes() == []


def test_containers_of_the_demo_have_no_store(shell) -> None:
    shell("demo", "--emulated", "--store", "--platform=docker", code=2)


@pytest.mark.emulated
@pytest.mark.root
@pytest.mark.parametrize(
    "platform", [pytest.param("docker", marks=pytest.mark.docker), pytest.param("podman", marks=pytest.mark.podman)]
)
def test_the_story_in_containers_that_show_as_paused(shell, platform: str) -> None:
    report = shell.json("demo", "--emulated", f"--platform={platform}", deadline=115)
    as_told(report, platform=platform)
    parked = next(step["detail"] for step in report["steps"] if step["name"] == "ada is parked")
    assert f"{platform} ps: hotseat-demo-" in parked
    assert "Paused" in parked
    assert shell.processes() == []


@pytest.mark.emulated
def test_a_story_that_cannot_go_on_is_exit_1_and_leaves_nothing(shell) -> None:
    # The KV cache holds less than the prompt.
    report = shell.json("demo", "--emulated", "--kv=32KiB", code=1)
    assert report["ok"] is False
    assert report["steps"][-1]["name"] == "the story breaks off"
    assert shell.processes() == []


@pytest.mark.emulated
@pytest.mark.parametrize(
    ("number", "code", "more"),
    [(signal.SIGINT, 130, []), (signal.SIGTERM, 143, []), (signal.SIGTERM, 143, ["--store"])],
)
def test_an_interrupted_story_removes_all_that_it_started(
    shell, number: signal.Signals, code: int, more: list[str]
) -> None:
    command = [sys.executable, "-u", "-m", "hotseat", "demo", "--emulated", *more]
    with subprocess.Popen(command, env=shell.environment, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "ask ada" in line:
                break
        directories = {
            value.decode()
            for pid in shell.processes()
            for item in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if item.startswith(b"HOTSEAT_EMULATOR_DIR=") and (value := item.partition(b"=")[2])
        } - {shell.environment["HOTSEAT_EMULATOR_DIR"]}
        assert directories
        demo.send_signal(number)
        demo.communicate(timeout=60)
    assert demo.returncode == code
    assert shell.processes() == []
    assert not any(Path(directory).exists() for directory in directories)
