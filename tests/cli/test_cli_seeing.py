"""hotseat top, logs and events: what they draw, and as programs."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from hotseat.cli import following, view
from hotseat.cli.access.direct import Direct
from hotseat.cli.panorama import panorama
from hotseat.demo import RunningEngine
from hotseat.platforms.port import Container
from hotseat.words import Device, DeviceUse

if TYPE_CHECKING:
    from conftest import Machine, Shell

GIB = 1 << 30


def drawn(picture: dict[str, Any], *, width: int, color: bool = False, trouble: str = "") -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=color, no_color=not color)
    console.print(panorama(picture, width=width, trouble=trouble))
    return out.getvalue()


@pytest.fixture
async def picture(machine: Machine) -> dict[str, Any]:
    return await Direct(machine).snapshot()


async def test_who_sits_on_the_device_and_with_how_much(picture: dict[str, Any]) -> None:
    text = drawn(picture, width=140)
    assert "GPU 0 Emulated GPU  8 GiB of 10 GiB, 2 GiB free" in text
    assert "EMULATED" in text
    bar = next(line for line in text.splitlines() if line.startswith("█"))
    assert (bar.count("█"), bar.count("░")) == (80, 20)
    assert "█ a 8 GiB" in text
    a, b = (next(line for line in text.splitlines() if line.startswith(f"{name} ")) for name in "ab")
    assert "seated" in a
    assert "parked" in b
    assert "(needs 6 GiB)" in b


async def test_strangers_and_queues_and_swaps_are_drawn(picture: dict[str, Any]) -> None:
    picture["devices"][0] |= {"foreign_bytes": GIB, "used_bytes": 9 * GIB, "free_bytes": GIB}
    picture["workloads"][1] |= {
        "waiting": 3,
        "oldest_wait": 2.5,
        "requests_per_second": 1.5,
        "tokens_per_second": 40.0,
        "why": "waits for its turn",
        "last_swap": {"kind": "swap", "direction": "out", "seconds": 1.25, "at": 1.0},
        "doing": {"kind": "swap in", "step": "at restore"},
    }
    text = drawn(picture, width=200, trouble="the daemon does not answer")
    assert "▚ others 1 GiB" in text
    for cell in (
        "3 (2.50 s)",
        "1.5",
        "40.0",
        "out 1.25 s",
        "swap in at restore; waits for its turn",
        "does not answer",
    ):
        assert cell in text


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
async def test_it_fits_any_terminal_and_the_state_is_always_there(picture: dict[str, Any], width: int) -> None:
    picture["workloads"][0] |= {"name": "a-very-long-name-" * 5, "why": "because " * 30}
    text = drawn(picture, width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    for word in ("NAME", "STATE", "seated", "parked"):
        assert word in text
    assert ("HOST" in text) == (width >= 90)
    assert ("WHY" in text) == (width >= 120)


async def test_no_colour_where_none_is_wanted_and_no_control_character_ever(picture: dict[str, Any]) -> None:
    picture["workloads"][0] |= {"name": "\x1b[2Jevil\x07", "why": "\x1b]0;x\x07"}
    assert "\x1b" not in drawn(picture, width=160)
    assert "\x1b[2J" not in drawn(picture, width=160, color=True)
    assert "\x1b[3" in drawn(picture, width=160, color=True)


async def test_logs_without_a_daemon(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def logs(container: Container, *, tail: int) -> str:
        return f"{container.name} {tail}\n"

    monkeypatch.setattr(machine, "logs", logs, raising=False)
    assert [chunk async for chunk in Direct(machine).logs("a", tail=7, follow=False)] == [b"a 7\n"]


def test_failures_and_starts_read_as_sentences() -> None:
    error = {"message": "no room", "hint": "park a"}
    assert following.said("note", {"error": error, "job": "swap in"}) == "swap in failed: no room; park a"
    assert following.said("start", {"seconds": 2.0}) == "cold start in 2.00 s"


@pytest.mark.emulated
async def test_top_and_logs_as_programs(shell: Shell, engine: RunningEngine) -> None:
    text = shell("top", "--once", "--no-daemon")
    assert "EMULATED" in text
    assert str(engine.pid) in text
    picture = shell.json("top", "--no-daemon")
    assert picture["emulated"] is True
    assert sum(picture["devices"][0]["held"].values()) == picture["devices"][0]["used_bytes"]
    assert shell.json("top", "--control", str(shell.directory / "nobody"), code=3)["error"]["code"] == "not_found"
    shell("logs", "nobody", "--no-daemon", code=3)
    shell("events", "--kind", "burn", code=2)
    shell("events", "--since", "soon", code=2)


@pytest.mark.emulated
def test_q_ends_the_live_table(shell: Shell) -> None:
    ours, theirs = pty.openpty()
    environment = {**shell.environment, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    command = [sys.executable, "-m", "hotseat", "top", "--no-daemon", "--interval", "0.2"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        end = time.monotonic() + 60
        while b"q ends it" not in seen and time.monotonic() < end:
            seen += os.read(ours, 4096)
        os.write(ours, b"q")
        # The terminal's end is read until it closes, so that the program never waits for us.
        try:
            while os.read(ours, 4096):
                pass
        except OSError:
            pass
        assert process.wait(timeout=60) == 0
    os.close(ours)
    assert b"\x1b[?1049h" in seen, "a screen of its own"
    assert json.loads(shell("top", "--json", "--no-daemon"))["workloads"] == []


def test_a_full_and_an_empty_device_are_told_in_words() -> None:
    device = Device(index=0, uuid="u", name="G", total_bytes=8 << 30)
    full = DeviceUse(device=device, used_bytes=8 << 30, free_bytes=0, processes={})
    empty = DeviceUse(device=device, used_bytes=0, free_bytes=8 << 30, processes={})
    assert view.device_lines([full, empty]) == [
        "GPU 0 G: 8 GiB used, none free of 8 GiB",
        "GPU 0 G: none used, 8 GiB free of 8 GiB",
    ]
