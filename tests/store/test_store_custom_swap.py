"""Whole swaps by hotseat of a process without the interposer, by custom storage, on the emulated driver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from store_bench import Bench

from hotseat.cli.doctor import gather, gather_platforms, rules_store
from hotseat.daemon.wiring import Runtime, build
from hotseat.emulator.faults import Fault, FaultKind
from hotseat.emulator.node import EmulatedNode
from hotseat.errors import RolledBack
from hotseat.store.port import HeldState
from hotseat.store.wire import GRANULE
from hotseat.swap.port import Workload
from hotseat.words import State

pytestmark = pytest.mark.emulated


@pytest.fixture
def node() -> Iterator[EmulatedNode]:
    with EmulatedNode.temporary(devices=[64 * GRANULE], context_bytes=GRANULE, custom_storage=True) as node:
        yield node


def environ(bench: Bench) -> dict[str, str]:
    return {**bench.environ, "HOTSEAT_STORE_CONTROL": str(bench.directory / "control.sock")}


async def doctor_says(runtime: Runtime, bench: Bench, it: Workload) -> str:
    store = await gather.store(bench.client, socket=bench.directory / "control.sock")
    uses = await runtime.devices.use()
    (finding,) = rules_store.way(
        await gather_platforms.container(it.platform, it.container, uses=uses, store=store), store=store
    )
    return finding.what


async def test_it_is_parked_and_seated_byte_by_byte(node: EmulatedNode, tmp_path: Path) -> None:
    async with (
        Bench(node, tmp_path / "store", options=("--custom-storage",)) as bench,
        build(state=tmp_path / "state", environ=environ(bench)) as runtime,
    ):
        one = await bench.start(plain=True)
        await one.ask("alloc", 1, 4, 100)
        it = await runtime.find_workload(str(one.ref.pid))
        for seed in (500, 501):
            await one.ask("write", 1, 3, seed)
            before = await one.ask("read")
            way = (await runtime.swapper.observe(it)).way
            assert way.name == "custom-storage"
            assert await doctor_says(runtime, bench, it) == f"{way.name}: {way.why}"
            out = await runtime.swapper.swap_out(it)
            assert (out.custom, out.interposed) == ((one.ref,), ())
            assert await bench.state(one) is HeldState.OUT
            seen = await runtime.swapper.observe(it)
            assert (seen.state, seen.way) == (State.PARKED, way)
            assert await doctor_says(runtime, bench, it) == f"{way.name}: {way.why}"
            await runtime.swapper.swap_in(it)
            assert await one.ask("read") == before
        node.set_fault(Fault(kind=FaultKind.RESULT, op="checkpoint", pid=one.ref.pid, value=999))
        with pytest.raises(RolledBack):
            await runtime.swapper.swap_out(it)
        assert await one.ask("read") == before
        node.set_fault(Fault(kind=FaultKind.RESULT, op="cuMemcpyDtoHAsync_v2", value=719, skip=1))
        await one.ask("write", 1, 2, 900)
        before = await one.ask("read")
        await runtime.swapper.swap_out(it)  # at the second try
        await runtime.swapper.swap_in(it)
        assert await one.ask("read") == before
