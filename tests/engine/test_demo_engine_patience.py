"""Deadlines on clients count only time in which the engine ran: a parked one must not hang up when it wakes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hotseat.demo import EngineSpec

WAITER = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
class Patience(ctypes.Structure):
    _fields_ = [("left_ms", ctypes.c_int64)]
print("waiting", flush=True)
print(library.patience_wait(ctypes.byref(Patience(int(sys.argv[2]))), 0, 1))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = Path(__file__).parents[2] / "native" / "engine" / "patience.c"
    path = tmp_path_factory.mktemp("patience") / "patience.so"
    command = [os.environ.get("CC", "cc"), "-std=gnu11", "-shared", "-fPIC", str(source), "-o", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


def waiter(library: Path, milliseconds: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITER, str(library), str(milliseconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    return process


def test_patience_runs_out(library) -> None:
    process = waiter(library, 100)
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    process.communicate(timeout=30)


def test_time_spent_stopped_does_not_count(library) -> None:
    """Three seconds of patience, stopped for four: at most one slice of a second is gone."""
    process = waiter(library, 3000)
    process.send_signal(signal.SIGSTOP)
    time.sleep(4)
    process.send_signal(signal.SIGCONT)
    time.sleep(0.3)  # by the clock, all patience is long gone; what follows must still be heard
    out, _ = process.communicate("x", timeout=30)
    assert out == "1\n"


async def test_an_engine_that_stood_still_goes_on_where_it_was(start, http) -> None:
    """SIGSTOP in the middle of a stream: no byte comes, then the rest, as if nothing had been."""
    engine = await start(EngineSpec(tokens_per_second=100))
    body = {"model": "demo", "prompt": "a", "max_tokens": 60}
    async with http.post(f"{engine.url}/v1/completions", json={**body, "stream": True}) as response:
        first = await response.content.readuntil(b"\n\n")
        engine.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.5)
        engine.process.send_signal(signal.SIGCONT)
        streamed = first + await response.read()
    async with http.post(f"{engine.url}/v1/completions", json={**body, "stream": True}) as response:
        again = await response.read()

    def texts(events: bytes) -> list[bytes]:
        return [event.split(b'"text":')[1] for event in events.split(b"\n\n") if b'"text":' in event]

    assert texts(streamed) == texts(again)
    assert len(texts(streamed)) == 61
