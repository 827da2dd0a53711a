"""A driver that is newer than the header which the interposer was made of: calls that it does not know."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.interposer.conftest import Holder
from tests.interposer.programs import Program, program

WAYS = ["dlsym", "cuGetProcAddress", "cuGetProcAddress_v2"]
NOT_SUPPORTED = 801


def has_agent(run: Program) -> bool:
    tasks = Path(f"/proc/{run.process.pid}/task").iterdir()
    return "hotseat" in [(task / "comm").read_text().strip() for task in tasks]


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_that_works_on_memory_passes_the_gate_with_every_argument(
    interposed: dict[str, str], holder: Holder, way: str
) -> None:
    async with program(interposed) as run:
        await run("ask", way, "cuMemcpyTeleport")
        for key, value in (("a", 3), ("b", 4)):
            await run("alloc", key, 4 << 20)
            await run("fill", key, value)
        await holder.through("wait", "yield", "out")
        await run("teleport", "a", "b", wait=False)
        answer = asyncio.create_task(run.answer())
        done, _ = await asyncio.wait([answer], timeout=0.2)
        assert not done
        await holder.through("in", "resume")
        assert await answer == 0
        assert await run("check all") == []


@pytest.mark.parametrize("way", WAYS)
async def test_with_an_engine_that_wants_to_name_memory_by_it_everything_is_the_drivers(
    interposed: dict[str, str], holder: Holder, tmp_path: Path, way: str
) -> None:
    with (tmp_path / "stderr").open("w+b") as stderr:
        async with program(interposed, stderr=stderr) as run:
            await run("ask", way, "cuMemTeleport")
            await run("ask", way, "cuMemTeleport")
            await run("alloc", "a", 4 << 20)
            await run("fill", "a", 3)
            assert await run("call newer", "cuMemTeleport") == 0
            assert not has_agent(run)
            assert await run("check", "a") == "same"
        said = (tmp_path / "stderr").read_text()
    assert said.count("newer than this interposer") == 1
    assert "cuMemTeleport" in said


async def test_so_it_is_with_a_context_that_is_there_already(interposed: dict[str, str], holder: Holder) -> None:
    async with program(interposed) as run:
        await run("alloc", "small", 1 << 10)
        await holder("wait")
        assert has_agent(run)
        await run("ask", "cuGetProcAddress_v2", "cuMemTeleport")
        async with asyncio.timeout(20):
            while has_agent(run):  # noqa: ASYNC110 - a thread's end has no event
                await asyncio.sleep(0.01)
        await run("alloc", "a", 4 << 20)
        assert await run("check all") == []


async def test_once_it_has_memory_that_can_move_such_a_call_is_refused_and_the_memory_moves(
    interposed: dict[str, str], holder: Holder, tmp_path: Path
) -> None:
    with (tmp_path / "stderr").open("w+b") as stderr:
        async with program(interposed, stderr=stderr) as run:
            await run("alloc", "a", 4 << 20)
            await run("fill", "a", 3)
            await run("ask", "cuGetProcAddress_v2", "cuMemTeleport")
            assert (tmp_path / "stderr").read_text() == "", "that it was asked for is no matter yet"
            for _ in range(2):
                assert await run("call newer", "cuMemTeleport") == NOT_SUPPORTED
            await holder.through("wait", "yield", "out", "in", "resume")
            assert await run("check", "a") == "same"
        said = (tmp_path / "stderr").read_text()
    assert said.count("is refused") == 1
    assert "cuMemTeleport" in said


async def test_a_newer_version_asked_for_is_no_newer_call_where_the_driver_has_none(
    interposed: dict[str, str], holder: Holder
) -> None:
    """As PyTorch asks: with the version of its toolkit, for calls of any age."""
    async with program(interposed) as run:
        for name in ("cuMemCreate", "cuMemAlloc", "cuCtxGetDevice", "cuMemGetAllocationGranularity"):
            await run("ask", "cuGetProcAddress_v2", name)
        await run("alloc", "a", 4 << 20)
        await holder("wait")
        assert (await holder("yield"))["bytes"] == 4 << 20
        await holder.through("out", "in", "resume")
        assert await run("check", "a") == "same"
