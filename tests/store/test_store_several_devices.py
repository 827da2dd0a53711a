"""Programs with several devices and contexts, the real interposer and the real store: every byte, wherever it lies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_bench import WITHIN, Bench
from tests.interposer.programs import Program, program

from hotseat import native
from hotseat.daemon.wiring import build
from hotseat.emulator.node import EmulatedNode
from hotseat.errors import HotseatError
from hotseat.gpu.procfs import start_time
from hotseat.store.port import HeldState
from hotseat.words import ProcessRef, State

pytestmark = pytest.mark.emulated
MIB = 1 << 20
SIZE = 96 * MIB
PEER_ALREADY, NOT_ENABLED, ILLEGAL = 704, 705, 700


class House:
    def __init__(self, bench: Bench, state: Path) -> None:
        self.bench, self.state = bench, state

    @property
    def environment(self) -> dict[str, str]:
        library = str(native.path("libhotseat-interposer.so"))
        return {**self.bench.node.environment(), "LD_PRELOAD": library, "HOTSEAT_STORE": str(self.bench.agents)}

    async def reference(self, run: Program) -> ProcessRef:
        start = start_time(run.process.pid)
        assert start is not None
        ref = ProcessRef(run.process.pid, start)
        await self.bench.until(lambda status: ref in status.processes)
        return ref

    async def swap(self, run: Program, *, spill: bool = False) -> dict[str, int]:
        """Out and in by the store; bytes by device that were out."""
        ref, store = [await self.reference(run)], self.bench.client
        held = (await store.take(ref, deadline=WITHIN))[ref[0]]
        await store.move_out(ref, deadline=WITHIN)
        if spill:
            await store.spill(ref, deadline=WITHIN)
        await store.move_in(ref, deadline=WITHIN)
        await store.give(ref, deadline=WITHIN)
        return dict(held.device_bytes)


@pytest.fixture
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    directory = tmp_path_factory.mktemp("e")
    with EmulatedNode.temporary(devices=[SIZE, SIZE], context_bytes=2 * MIB) as node:
        async with Bench(node, directory / "store", arena=96) as bench:
            yield House(bench, directory / "state")


async def test_memory_of_both_devices_goes_out_and_each_comes_back_to_its_own(house: House) -> None:
    async with program(house.environment) as run:
        await run("alloc", "a", 4 * MIB)
        await run("context", "second", 1)
        await run("alloc", "b", 6 * MIB)
        await run("map", "c", 2)
        for key, value in (("a", 3), ("b", 4), ("c", 5)):
            await run("fill", key, value)
        for spill in (False, True):
            out = await house.swap(run, spill=spill)
            assert sorted(out.values()) == [4 * MIB, 10 * MIB]
            assert await run("check all") == []
        used = house.bench.node.report().used_bytes
        assert used[1] - used[0] == 6 * MIB


async def test_a_device_reaches_its_peers_memory_as_without_the_interposer(house: House) -> None:
    """What it had before peer access was enabled, and what it got after; again once it has been away."""
    async with program(house.environment) as run:
        await run("alloc", "before", 4 * MIB)
        await run("fill", "before", 3)
        mine = await run("digest", "before")
        await run("context", "second", 1)
        assert await run("peer", "first") == 0
        assert await run("peer", "first") == PEER_ALREADY
        assert await run("digest", "before") == mine
        await run("use", "first")
        await run("alloc", "after", 4 * MIB)
        await run("fill", "after", 9)
        theirs = await run("digest", "after")
        for _ in range(2):
            await run("use", "second")
            assert [await run("digest", key) for key in ("before", "after")] == [mine, theirs]
            await house.swap(run)
        assert await run("no peer", "first") == 0
        assert await run("no peer", "first") == NOT_ENABLED
        await house.swap(run)
        assert await run("digest", "after") == {"refused": ILLEGAL}


@pytest.mark.parametrize("interposed", [True, False])
async def test_without_peer_access_it_does_not(house: House, interposed: bool) -> None:
    async with program(house.environment if interposed else dict(house.bench.node.environment())) as run:
        await run("alloc", "a", 4 * MIB)
        await run("context", "second", 1)
        assert await run("digest", "a") == {"refused": ILLEGAL}


async def test_two_contexts_of_one_device_have_their_memory_back(house: House) -> None:
    async with program(house.environment) as run:
        await run("alloc", "a", 4 * MIB)
        await run("context", "second", 0)
        await run("alloc", "b", 4 * MIB)
        await run("fill", "b", 8)
        mine = await run("digest", "a")
        await house.swap(run)
        assert await run("check all") == []
        assert await run("digest", "a") == mine
        await run("use", "first")
        assert await run("digest", "a") == mine


async def test_a_copy_to_pinned_memory_waits_while_it_is_away(house: House) -> None:
    async with program(house.environment) as run:
        await run("alloc", "a", 4 * MIB)
        await run("fill", "a", 7)
        await run("pinned", "a", 4 * MIB)
        ref, store = [await house.reference(run)], house.bench.client
        await store.take(ref, deadline=WITHIN)
        await store.move_out(ref, deadline=WITHIN)
        await run("to host", "a", wait=False)
        copied = asyncio.create_task(run.answer())
        done, _ = await asyncio.wait([copied], timeout=0.2)
        assert not done
        await store.move_in(ref, deadline=WITHIN)
        await store.give(ref, deadline=WITHIN)
        await copied
        assert await run("check host", "a") == "same"


async def test_managed_memory_stays_and_is_no_reason_to_lose_it(house: House) -> None:
    """The driver cannot checkpoint it: the swap is refused, it runs on. Where contexts stay it is in nobody's way."""
    environ = {**house.bench.environ, "HOTSEAT_STORE_CONTROL": str(house.bench.directory / "control.sock")}
    async with (
        program(house.environment) as run,
        build(state=house.state, environ=environ) as runtime,
    ):
        await run("alloc", "a", 4 * MIB)
        await run("fill", "a", 7)
        await run("managed", "m", 4 * MIB)
        ref = await house.reference(run)
        it = await runtime.find_workload(str(ref.pid))
        with pytest.raises(HotseatError):
            await runtime.swapper.swap_out(it)
        assert (await runtime.swapper.observe(it)).state is State.SEATED
        assert await run("check all") == []
        await runtime.swapper.swap_out(it, keep=True)
        assert (await house.bench.client.held([ref], deadline=WITHIN))[ref].state is HeldState.OUT
        with pytest.raises(HotseatError):
            await runtime.swapper.swap_out(it)
        await runtime.swapper.swap_in(it)
        assert await run("check all") == []


KEYS = st.integers(0, 5)
STEP = st.one_of(
    st.tuples(st.just("use"), st.sampled_from(["first", "second", "third"])),
    st.tuples(st.just("alloc"), KEYS, st.integers(1, 5 * MIB)),
    st.tuples(st.just("alloc async"), KEYS, st.integers(1, 5 * MIB)),
    st.tuples(st.just("map"), KEYS, st.integers(1, 3)),
    st.tuples(st.just("free"), KEYS),
    st.tuples(st.just("fill"), KEYS, st.integers(0, 255)),
    st.tuples(st.just("copy"), KEYS, KEYS),
    st.tuples(st.just("swap"), st.booleans()),
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, min_size=6, max_size=24))
async def test_random_programs_on_two_devices_keep_every_byte(house: House, steps: list[tuple[Any, ...]]) -> None:
    async with program(house.environment) as run:
        await run("alloc", "first", 2 * MIB)
        await run("context", "second", 1)
        await run("context", "third", 1)
        for step in [*steps, ("swap", True)]:
            if step[0] == "swap":
                await house.swap(run, spill=step[1])
            else:
                await run(*step)
        assert await run("check all") == [], json.dumps(steps)
