"""The whole way: yield, the driver's lock and checkpoint, restore and unlock, and the memory back."""

from __future__ import annotations

import asyncio
import sys

from tests.interposer.conftest import Holder
from tests.interposer.test_interposed_engine import SPEC, text, undisturbed

from hotseat.demo import RunningEngine, running
from hotseat.emulator import EmulatedNode

__all__ = ["undisturbed"]

CALLS = """
import ctypes, sys
lib = ctypes.CDLL("libcuda.so.1")
assert lib.cuInit(0) == 0
arguments = (ctypes.c_uint64 * 8)()
for name in sys.argv[2:]:
    arguments[0] = 5000 if name == "Lock" else 0
    print(getattr(lib, "cuCheckpointProcess" + name)(int(sys.argv[1]), arguments), flush=True)
"""


async def driver(node: EmulatedNode, engine: RunningEngine, *calls: str) -> list[int]:
    """Their results."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CALLS, str(engine.process.pid), *calls, env=dict(node.environment()), stdout=-1
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    return [int(line) for line in out.split()]


async def test_the_driver_moves_the_context_and_the_store_the_rest(
    undisturbed: str, interposed: dict[str, str], holder: Holder, node: EmulatedNode
) -> None:
    async with running(SPEC, environment=interposed) as engine:
        await holder("wait")
        for _ in range(2):
            await holder("yield")
            assert await driver(node, engine, "Lock", "Checkpoint") == [0, 0]
            await holder("out")
            [gone] = [one for one in node.report().processes if one.state == "checkpointed"]
            assert gone.bytes.get(0, 0) == 0
            await holder("in")
            assert await driver(node, engine, "Restore", "Unlock") == [0, 0]
            assert "failed" not in await holder("resume")
            assert await text(engine) == undisturbed


async def test_without_a_store_the_driver_moves_everything(
    undisturbed: str, interposed: dict[str, str], node: EmulatedNode
) -> None:
    async with running(SPEC, environment=interposed) as engine:
        assert await driver(node, engine, "Lock", "Checkpoint", "Restore", "Unlock") == [0, 0, 0, 0]
        assert await text(engine) == undisturbed


async def test_lent_memory_is_localised_before_the_driver_alone_moves_it(
    undisturbed: str, interposed: dict[str, str], holder: Holder, node: EmulatedNode
) -> None:
    async with running(SPEC, environment=interposed) as engine:
        await holder("wait")
        await holder.through("yield", "out", "in", "resume", "localise")
        assert await driver(node, engine, "Lock", "Checkpoint", "Restore", "Unlock") == [0, 0, 0, 0]
        assert await text(engine) == undisturbed


async def test_a_resume_that_breaks_off_leaves_nothing_that_a_checkpoint_would_lose_the_process_by(
    undisturbed: str, interposed: dict[str, str], holder: Holder, node: EmulatedNode
) -> None:
    async with running(SPEC, environment=interposed) as engine:
        await holder.through("wait", "yield", "out", "in", "give", "drop")
        assert (await holder("wait"))["state"] == 2
        assert await driver(node, engine, "Lock", "Checkpoint", "Restore", "Unlock") == [0, 0, 0, 0]
        assert "failed" not in await holder("resume")
        assert await text(engine) == undisturbed


async def test_a_store_that_dies_before_it_keeps_the_blocks_leaves_them_to_the_process(
    undisturbed: str, interposed: dict[str, str], holder: Holder
) -> None:
    async with running(SPEC, environment=interposed) as engine:
        await holder("wait")
        assert (await holder("snatch"))["blocks"] > 0
        back = await holder("wait")
        assert (back["state"], back["lent"]) == (1, 0)
        assert await text(engine) == undisturbed
        await holder.through("yield", "out", "in", "resume")
        assert await text(engine) == undisturbed
