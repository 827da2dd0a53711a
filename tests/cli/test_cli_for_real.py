"""The commands as programs on the emulated driver: a process tree not started by hotseat, with and without a daemon."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hotseat.demo import EngineSpec
from hotseat.testing.served import free_port

pytestmark = pytest.mark.emulated


async def run(shell, *arguments: str, code: int = 0) -> str:
    return await asyncio.to_thread(shell, *arguments, code=code)


async def get(shell, *arguments: str, code: int = 0):
    return await asyncio.to_thread(shell.json, *arguments, code=code)


async def test_a_process_tree_is_parked_seen_and_seated_without_a_daemon(shell, engine) -> None:
    pid = str(engine.pid)
    seated = await get(shell, "ps")
    assert sum(row["gpu_bytes"] for row in seated) > 9 << 20
    parked = await get(shell, "park", pid)
    assert (parked["direction"], parked["processes"], parked["cuda_processes"]) == ("out", 2, 2)
    assert parked["gpu_bytes"] == sum(row["gpu_bytes"] for row in seated)
    assert {"checkpoint", "lock"} <= {phase["name"] for phase in parked["phases"]}
    (row,) = await get(shell, "ps")
    assert (row["state"], row["gpu_bytes"], row["platform"]) == ("parked", 0, "process")
    assert row["parked_gpu_bytes"] == parked["gpu_bytes"]
    assert engine.pid in row["pids"]
    assert row["host_bytes"] >= 9 << 20
    assert "0 (needs" in await run(shell, "ps")
    again = await get(shell, "park", pid)
    assert again["phases"] == []
    back = await get(shell, "seat", pid)
    assert back["gpu_bytes"] == parked["gpu_bytes"]
    (row,) = await get(shell, "ps")
    assert row["state"] == "seated"


async def test_what_is_not_there_or_must_not_be_parked(shell) -> None:
    assert (await get(shell, "park", "nobody-of-that-name", code=3))["error"]["code"] == "not_found"
    refused = (await get(shell, "park", "1", code=4))["error"]
    assert refused["rule"]
    assert refused["hint"]


async def test_doctor_names_the_emulated_driver_and_the_tree(shell, engine) -> None:
    report = await get(shell, "doctor", str(engine.pid))
    by_check = {(finding["subject"], finding["check"]): finding for finding in report["findings"]}
    assert by_check["driver", "emulated"]["level"] == "warn"
    assert by_check["driver", "checkpoint"]["level"] == "ok"
    assert "can be parked" in by_check[f"process:{engine.pid}", "park"]["what"]
    assert report["ok"] is True


@pytest.fixture
def debugger(engine) -> Iterator[int]:
    """Another process holds the engine by ptrace. Yields its pid."""
    script = (
        "import ctypes, time; p = ctypes.CDLL(None).ptrace; "
        f"assert p(0x4206, {engine.pid}, None, None) == 0; print('traced', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "traced\n"
            yield process.pid
        finally:
            process.kill()


async def test_doctor_says_beforehand_that_a_traced_process_cannot_be_held(shell, engine, debugger) -> None:
    report = await get(shell, "doctor", str(engine.pid), code=1)
    (finding,) = [finding for finding in report["findings"] if finding["check"] == "traced"]
    assert str(debugger) in finding["what"]
    refused = await get(shell, "park", str(engine.pid), code=4)
    assert refused["error"]["rule"]


async def test_bench_of_a_tree_with_the_bare_driver_beside_it(shell, engine, tmp_path) -> None:
    stem = tmp_path / "results" / "swap"
    figures = await get(shell, "bench", "swap", str(engine.pid), "--cycles=2", "--bare", f"--report={stem}")
    assert figures["emulated"] is True
    assert figures["hotseat"]["cycles"] == figures["bare"]["cycles"] == 2
    assert figures["hotseat"]["gpu_bytes"] == figures["bare"]["gpu_bytes"] > 9 << 20
    assert figures["hotseat"]["own_out_ms"] > 0
    assert stem.with_suffix(".md").read_text().startswith("# hotseat bench swap")
    (row,) = await get(shell, "ps")
    assert row["state"] == "seated"


async def test_bench_of_a_synthetic_tree_has_the_size_that_was_asked_for(shell) -> None:
    figures = await get(shell, "bench", "swap", "--synthetic", "3", "60", "--cycles=1")
    assert (figures["processes"], figures["cuda_processes"], figures["threads"]) == (3, 3, 60)
    assert shell.processes() == []


async def test_bench_wants_one_thing_to_measure(shell) -> None:
    await run(shell, "bench", "swap", code=2)
    await run(shell, "bench", "swap", "x", "--synthetic", "2", "20", code=2)


@pytest.fixture
def daemon(shell) -> Iterator[subprocess.Popen[str]]:
    """`hotseat up` over two small engines of its own."""
    workloads = {}
    for seed, name in enumerate(("ada", "bob"), start=1):
        spec = EngineSpec(models=(name,), port=free_port(), weights_bytes=8 << 20, seed=seed)
        workloads[name] = {"platform": "process", "port": spec.port, "command": spec.command()}
    config = {
        "gateway": {"port": 0},
        "control": shell.environment["HOTSEAT_CONTROL"],
        "state": shell.environment["HOTSEAT_STATE"],
        "defaults": {"min_stay": "100ms", "linger": "100ms"},
        "workloads": workloads,
    }
    path = shell.directory / "hotseat.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    assert "2 workloads" in shell("up", "--check", "-c", str(path))
    command = [sys.executable, "-m", "hotseat", "up", "-c", str(path)]
    with (
        (shell.directory / "daemon.log").open("w") as log,
        subprocess.Popen(command, env=shell.environment, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("gateway  http://127.0.0.1:")
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=60)
            for pid in shell.processes():
                os.kill(pid, signal.SIGKILL)


def settled(shell) -> dict[str, str]:
    """State by workload once both have started."""
    for _ in range(200):
        states = {row["name"]: row["state"] for row in shell.json("ps")}
        if set(states.values()) <= {"seated", "parked"}:
            return states
    raise AssertionError(states)


def test_commands_go_through_a_daemon_that_runs(shell, daemon) -> None:
    settled(shell)
    shell.json("seat", "ada")
    assert shell.json("park", "ada")["direction"] == "out"
    rows = {row["name"]: row for row in shell.json("ps")}
    assert rows["ada"]["state"] == "parked"
    assert rows["ada"]["models"] == ["ada"]
    reports = shell.json("swap", "ada", "bob")
    assert [(report["workload"], report["direction"]) for report in reports] == [("bob", "out"), ("ada", "in")]
    # The daemon knows its own workloads only, and says how to reach others.
    error = shell.json("park", "nobody", code=3)["error"]
    assert "--no-daemon" in error["hint"]
    assert "ada" in shell("ps")


def test_events_tell_what_a_command_does(shell, daemon) -> None:
    settled(shell)
    shell.json("seat", "ada")
    command = [sys.executable, "-m", "hotseat", "events", "--json"]
    with subprocess.Popen(command, env=shell.environment, stdout=subprocess.PIPE, text=True) as follower:
        try:
            assert follower.stdout is not None
            # It is not known when it listens, so the swaps are repeated until it has heard of one.
            seen: list[dict[str, object]] = []
            for _ in range(5):
                shell.json("park", "ada")
                shell.json("seat", "ada")
                os.set_blocking(follower.stdout.fileno(), False)
                seen += [json.loads(line) for line in iter(follower.stdout.readline, "")]
                if any(event["kind"] == "swap" for event in seen):
                    break
        finally:
            follower.kill()
    kinds = {event["kind"] for event in seen if event["workload"] == "ada"}
    assert {"swap", "state", "phase"} <= kinds


def test_a_named_socket_without_a_daemon_is_not_found(shell) -> None:
    error = shell.json("ps", "--control", str(shell.directory / "nowhere.sock"), code=3)["error"]
    assert "hotseat up" in error["hint"]


def test_up_without_a_configuration_or_with_a_wrong_one(shell, tmp_path) -> None:
    shell("up", "-c", str(tmp_path / "missing.yaml"), code=3)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("workloads: {a: {modles: [x]}}\n")
    shell("up", "-c", str(wrong), code=2)
