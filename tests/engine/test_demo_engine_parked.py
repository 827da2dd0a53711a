"""The driver's checkpoint in the middle of an answer, by the bare calls and without freezing anything."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from hotseat.demo import EngineSpec

CONTROLLER = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
assert cuda.cuInit(0) == 0
pids = [int(pid) for pid in sys.argv[1:]]
def each(name, arguments):
    for pid in pids:
        result = getattr(cuda, name)(pid, arguments)
        assert result == 0, (name, pid, result)
arguments = (ctypes.c_uint64 * 9)()
arguments[0] = 10_000  # timeoutMs of lock
each("cuCheckpointProcessLock", arguments)
each("cuCheckpointProcessCheckpoint", None)
print("parked", flush=True)
sys.stdin.readline()
each("cuCheckpointProcessRestore", None)
each("cuCheckpointProcessUnlock", None)
"""


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize(("devices", "processes"), [((0,), 1), ((0, 1), 3)])
async def test_an_answer_goes_on_after_the_device_was_given_away(start, ask, http, node, devices, processes) -> None:
    spec = EngineSpec(seed=8, devices=devices, processes=processes, tokens_per_second=200)
    engine = await start(spec)
    body = {"model": "demo", "prompt": "a long road " * 20, "max_tokens": 60, "stream": True}
    async with http.post(f"{engine.url}/v1/completions", json=body) as response:
        undisturbed = await response.read()
    async with http.post(f"{engine.url}/v1/completions", json=body) as response:
        parked = await response.content.readuntil(b"\n\n")
        controller = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CONTROLLER,
            str(engine.pid),
            *children(engine.pid),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **node.environment()},
        )
        assert controller.stdin is not None
        assert controller.stdout is not None
        async with asyncio.timeout(30):
            assert await controller.stdout.readline() == b"parked\n"
        assert node.report().used_bytes == (0, 0)
        overwriter = await start(EngineSpec(seed=9, devices=devices))  # others use the same device meanwhile
        await ask(overwriter, "hello")
        await overwriter.stop()
        controller.stdin.write(b"\n")
        async with asyncio.timeout(30):
            assert await controller.wait() == 0
        parked += await response.read()

    def texts(events: bytes) -> list[bytes]:
        return [event.split(b'"text":')[1] for event in events.split(b"\n\n") if b'"text":' in event]

    assert texts(parked) == texts(undisturbed)
    again = {**body, "stream": False, "max_tokens": 1}
    async with http.post(f"{engine.url}/v1/completions", json=again) as response:
        usage = (await response.json())["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == (usage["prompt_tokens"] - 1) // 16 * 16 > 0
