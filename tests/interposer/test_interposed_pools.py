"""Memory in a stream's order: of which pools it is, and that who frees it goes on at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.interposer.conftest import Holder
from tests.interposer.programs import program

from hotseat.emulator import EmulatedNode

MIB = 1 << 20
NOT_READY, INVALID_VALUE = 600, 1


@pytest.fixture
def node() -> Iterator[EmulatedNode]:
    with EmulatedNode.temporary(devices=[96 * MIB, 64 * MIB], context_bytes=2 * MIB) as node:
        yield node


def used(node: EmulatedNode, pid: int) -> list[int]:
    """MiB on each device, without a context's."""
    held = next(one.bytes for one in node.report().processes if one.pid == pid)
    return [held.get(0, 0) // MIB - 2, held.get(1, 0) // MIB]


@pytest.mark.parametrize(("kind", "device"), [("plain", 0), ("plain", 1), ("shared", 0), ("shared", 1), ("host", 0)])
async def test_a_pool_decides_where_memory_lies_and_whose_it_is(
    interposed: dict[str, str], holder: Holder, node: EmulatedNode, kind: str, device: int
) -> None:
    async with program(interposed) as run:
        await run("alloc", "first", 2 * MIB)
        await holder("wait")
        assert await run("pool", "make", "p", kind, device) == 0
        assert await run("pool", "alloc", "a", "p", 6 * MIB) == "ok"
        size = 0 if kind == "host" else 6
        assert used(node, run.process.pid) == ([2 + size, 0] if device == 0 else [2, size])
        if device == 0:  # the holder has but one
            assert (await holder("yield"))["bytes"] == (8 * MIB if kind == "plain" else 2 * MIB)
            await holder.through("out", "in", "resume")
            assert await run("check all") == []
        else:
            await run("free", "a")
            assert await run("call", "cuCtxSynchronize") == 0
            assert used(node, run.process.pid) == [2, 0]


async def test_the_pool_that_a_device_has_is_asked_for(
    interposed: dict[str, str], holder: Holder, node: EmulatedNode
) -> None:
    async with program(interposed) as run:
        await run("alloc async", "a", 4 * MIB)
        await holder("wait")
        assert await run("pool", "make", "p", "shared", 0) == 0
        assert await run("pool", "choose", "p", 0) == 0
        await run("alloc async", "b", 6 * MIB)
        assert (await holder("yield"))["bytes"] == 4 * MIB
        await holder.through("out", "in", "resume")
        assert await run("check all") == []


async def test_who_frees_in_a_streams_order_goes_on_at_once(
    interposed: dict[str, str], holder: Holder, node: EmulatedNode
) -> None:
    async with program(interposed) as run:
        await run("alloc", "a", 4 * MIB)
        await run("alloc async", "b", 60 * MIB)
        await holder("wait")
        at = await run("address", "b")
        assert await run("free behind work", "b", 1000) == NOT_READY
        assert await run("call", "cuMemFreeAsync", {"u64": at}, {"u64": 0}) == INVALID_VALUE, "once is enough"
        assert await run("alloc async", "c", 60 * MIB) == "ok", "there is room once the stream is done with b"
        assert used(node, run.process.pid) == [64, 0]
        await run("free", "c")
        assert (await holder("yield"))["bytes"] == 4 * MIB
        await holder.through("out", "in", "resume")
        assert await run("check all") == []


async def test_what_was_freed_in_order_is_released_when_the_stream_has_been_waited_for(
    interposed: dict[str, str], node: EmulatedNode
) -> None:
    async with program(interposed) as run:
        await run("alloc async", "a", 4 * MIB)
        assert await run("free behind work", "a", 1000) == NOT_READY
        assert await run("call", "cuStreamSynchronize", {"u64": 0}) == 0
        assert used(node, run.process.pid) == [0, 0]
