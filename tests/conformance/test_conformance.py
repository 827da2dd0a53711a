"""The emulated driver passes the suite that the real one passed, check by check."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hotseat import native
from hotseat.emulator import EmulatedNode

sys.path.insert(0, str(Path(__file__).parent))
import time

import run
from conformance_registry import CHECKS, seen

RECORD = json.loads(Path(__file__).with_name("h200-580.159.04.json").read_text())


@pytest.mark.emulated
@pytest.mark.parametrize("name", CHECKS)
def test_emulation_behaves_as_the_driver(name, tmp_path):
    report = tmp_path / "report.json"
    with EmulatedNode.temporary(devices=[2 << 30]) as node:
        command = [sys.executable, run.__file__, "--only", name, "--json", str(report), "--patience", "1"]
        command += ["--library", str(native.path("libcuda.so.1")), "--nvml", str(native.path("libnvidia-ml.so.1"))]
        done = subprocess.run(
            command,
            check=False,
            env=os.environ | node.environment(),
            capture_output=True,
            text=True,
            timeout=run.DEADLINE + 20,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(report.read_text())
    assert result["seen"] == seen(CHECKS[name].expected)


@pytest.mark.parametrize("name", CHECKS)
def test_expectation_is_what_the_real_driver_did(name):
    assert RECORD["results"][name]["seen"] == seen(CHECKS[name].expected)


def test_a_difference_is_reported(tmp_path):
    """Against a library that is none, nothing passes."""
    report = tmp_path / "report.json"
    command = [sys.executable, run.__file__, "--only", "transitions", "--json", str(report), "--library", "libnone.so"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=run.DEADLINE + 20)
    assert done.returncode == 1
    assert json.loads(report.read_text())[0]["verdict"] == "differs"


def test_a_check_that_never_ends_is_killed_with_all_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "DEADLINE", 1.0)
    marker = tmp_path / "pids"
    script = tmp_path / "sleeper.py"
    script.write_text(
        "import os, time\n"
        f"if os.fork() == 0:\n    open({str(marker)!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    monkeypatch.setattr(run, "__file__", str(script))
    options = type("Options", (), {"patience": 1.0, "library": "x", "nvml": "x"})()
    result = run.judge("transitions", options)
    assert result["seen"] == "no end within 1 s"
    until = time.monotonic() + 20  # a kill is sent at once and done soon
    while not _gone(int(marker.read_text())):
        assert time.monotonic() < until
        time.sleep(0.01)


def _gone(pid: int) -> bool:
    """Dead, be it reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
