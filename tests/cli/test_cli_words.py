"""What a person and a program read: exit codes, error lines, tables, JSON, help."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from hotseat import errors
from hotseat.cli import draw, problems, serving, units, view
from hotseat.cli.access import choose
from hotseat.cli.access.direct import Direct
from hotseat.cli.main import COMMANDS, run


@pytest.fixture
def on_machine(machine, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every command reaches the double's workloads."""

    @asynccontextmanager
    async def open_access(**_: Any) -> AsyncIterator[Direct]:
        yield Direct(machine)

    monkeypatch.setattr(choose, "open_access", open_access)
    monkeypatch.setattr("hotseat.cli.swapping.open_access", open_access)
    return machine


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Failed("x"), 1),
        (errors.RolledBack("x"), 1),
        (errors.Quarantined("x"), 1),
        (errors.ConfigError("x"), 2),
        (errors.NotFound("x"), 3),
        (errors.Refused("x"), 4),
        (errors.NoRoom("x"), 4),
        (errors.Busy("x"), 4),
        (click.UsageError("x"), 2),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError(), 1),
    ],
)
def test_exit_codes(error: BaseException, code: int) -> None:
    assert problems.report(error, as_json=False, verbose=False) == code


def test_an_error_names_rule_cause_and_way_out() -> None:
    error = errors.Refused("it is traced", rule="one tracer", hint="detach gdb")
    assert problems.text(error) == "error: it is traced\n rule: one tracer\n hint: detach gdb"
    rolled_back = errors.RolledBack("the swap was rolled back")
    rolled_back.__cause__ = errors.FreezeFailed("thread 7 sleeps", hint="look at its disk")
    assert problems.text(rolled_back).splitlines()[1:] == ["cause: thread 7 sleeps", " hint: look at its disk"]


@pytest.mark.parametrize("command", ["park", "seat", "swap"])
def test_a_swap_of_nobody_is_exit_3_in_words_and_as_json(
    command: str, on_machine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "nobody"]) == 3
    assert "no container named 'nobody'" in capsys.readouterr().err
    assert run([command, "nobody", "--json"]) == 3
    told = capsys.readouterr()
    assert json.loads(told.out)["error"]["code"] == "not_found"
    assert told.err == ""


def test_park_and_seat_show_phases_and_how_much_was_ours(on_machine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["park", "a"]) == 0
    out = capsys.readouterr().out
    assert "checkpoint  driver   2.00 s  4.29 GB/s" in out
    assert "8 GiB of GPU memory released" in out
    assert "own part 2.0 ms" in out
    assert run(["park", "a"]) == 0
    assert capsys.readouterr().out == "a is parked already; nothing to do\n"
    assert run(["seat", "a", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["own_ms"] == 2.0
    assert report["gpu_bytes"] == 8 << 30
    assert report["phases"][1] == {"name": "restore", "part": "driver", "ms": 2000.0, "gb_per_s": 4.295}


def test_verbose_tells_each_phase(on_machine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["park", "a", "--verbose"]) == 0
    assert "  find: done (" in capsys.readouterr().err


def test_seat_without_room_is_refused_with_the_rule(on_machine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["seat", "b"]) == 4
    assert "rule: reserve before restore" in capsys.readouterr().err


def test_swap_json_is_a_list_of_reports(on_machine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["swap", "b", "--json"]) == 0
    assert [report["workload"] for report in json.loads(capsys.readouterr().out)] == ["a", "b"]


def test_ps_table_and_json(on_machine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ps"]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].split() == view.HEADINGS
    assert lines[2].split()[:3] == ["b", "parked", "docker"]
    assert "emulated driver" in told.err
    assert run(["ps", "--json"]) == 0
    (first, second) = json.loads(capsys.readouterr().out)
    assert {"name", "state", "platform", "container", "models", "pids", "gpu_bytes", "host_bytes"} <= set(first)
    assert (first["state"], first["gpu_bytes"]) == ("seated", 8 << 30)
    assert (second["state"], second["gpu_bytes"], second["parked_gpu_bytes"]) == ("parked", 0, 6 << 30)


def test_usage_errors_are_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["park"]) == 2
    assert run(["nonsense"]) == 2
    assert run(["ps", "--nonsense"]) == 2
    assert "No such option" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_by_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: hotseat {command}" in out
    assert "Example" in out or "Commands:" in out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from hotseat.cli.main import run; assert run(['--help']) == 0; "
        "heavy = {'aiohttp', 'pydantic', 'rich', 'asyncio', 'yaml', 'msgspec'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, stdout=subprocess.DEVNULL)


def test_a_reader_who_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m hotseat --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


def test_a_plain_table_lines_up_and_never_truncates(capsys: pytest.CaptureFixture[str]) -> None:
    draw.table(["NAME", "N"], [["x" * 300, "7"], ["y", "1234"]], right=(1,))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "x" * 300 + "     7"
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(("seconds", "text"), [(0.0321, "32.1 ms"), (0.9999, "999.9 ms"), (61.5, "61.50 s")])
def test_durations(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


def test_rates_are_decimal_and_absent_where_nothing_moved() -> None:
    assert units.rate(2 * 10**9, 1.0) == "2.00 GB/s"
    assert units.rate(0, 1.0) == "-"
    assert units.rate(5, 0.0) == "-"


def test_who_stays_parked_is_named_when_the_daemon_ends_also_who_is_on_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def up(*_: Any, **__: Any) -> list[dict[str, Any]]:
        return [
            {"name": name, "state": state} for name, state in zip("abc", ("parked", "stored", "seated"), strict=True)
        ]

    monkeypatch.setattr(serving, "up", up)
    file = tmp_path / "hotseat.yaml"
    file.write_text("workloads:\n  a: {port: 1}\n")
    serving.serve(file, check=False, verbose=True)
    assert "stay parked: a, b;" in capsys.readouterr().err
