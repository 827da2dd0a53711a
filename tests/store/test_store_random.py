"""Random programs: allocate, write, free, park, fail to, spill, fetch, seat, give back, kill the worker, while somebody
waits for memory or not; every byte is checked after each."""

from __future__ import annotations

import contextlib
import hashlib
import random
from pathlib import Path

import pytest
from agent import pattern
from store_bench import WITHIN, Bench, Workload, short

from hotseat.emulator.faults import Fault, FaultKind
from hotseat.emulator.node import EmulatedNode
from hotseat.errors import DriverFailed, NoRoom
from hotseat.store.port import HeldState
from hotseat.store.wire import GRANULE

pytestmark = pytest.mark.emulated
ACTIONS = (
    *("alloc", "write", "write", "free", "park", "park", "seat", "seat"),
    *("touch", "ahead", "come", "kill_worker", "spill", "spill", "fetch", "fail", "fail", "out"),
)
SEEDS = (0, 1, 2, 3, 4)
"""Few contents, so that chunks are often equal; 0 is zero."""
COPY = "cuMemcpyDtoHAsync_v2"


class Model:
    """One workload, and what each of its blocks must hold."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.blocks: dict[int, list[int]] = {}
        self.next = 1

    def expected(self) -> dict[str, str]:
        return {
            str(ident): hashlib.sha256(b"".join(map(pattern, seeds))).hexdigest()
            for ident, seeds in self.blocks.items()
        }

    async def seat(self, bench: Bench) -> None:
        if (await bench.held(self.workload)).state is HeldState.OUT:
            await bench.client.move_in([self.workload.ref], deadline=WITHIN)
        await bench.client.give([self.workload.ref], deadline=WITHIN)

    async def act(self, bench: Bench, action: str, dice: random.Random) -> None:
        client, refs = bench.client, [self.workload.ref]
        held = await bench.held(self.workload)
        running = held.state is HeldState.RUNNING
        match action:
            case "alloc" if running and len(self.blocks) < 4:
                chunks, seed = dice.randint(1, 3), dice.choice(SEEDS)
                await self.workload.ask("alloc", self.next, chunks, seed)
                self.blocks[self.next] = [seed + at if seed else 0 for at in range(chunks)]
                self.next += 1
            case "write" if running and self.blocks:
                ident = dice.choice(list(self.blocks))
                at, seed = dice.randrange(len(self.blocks[ident])), dice.choice(SEEDS)
                await self.workload.ask("write", ident, at, seed)
                self.blocks[ident][at] = seed
            case "free" if running and len(self.blocks) > 1:
                ident = dice.choice(list(self.blocks))
                await self.workload.ask("free", ident)
                del self.blocks[ident]
            case "park" if running:
                try:
                    await client.take(refs, deadline=WITHIN)
                except NoRoom:
                    return  # and it runs on
                moved = await client.move_out(refs, deadline=WITHIN)
                total = sum(map(len, self.blocks.values())) * GRANULE
                assert moved.copied + moved.unchanged + moved.zero + moved.shared == moved.total == total
            case "fail" if running:  # before, within or after the copies
                with contextlib.suppress(NoRoom):
                    await client.take(refs, deadline=WITHIN)
                    worker = (await client.status(deadline=WITHIN)).worker
                    fault = Fault(kind=FaultKind.RESULT, op=COPY, pid=worker, value=719, skip=dice.randint(0, 3))
                    index = bench.node.set_fault(fault)
                    with contextlib.suppress(DriverFailed):
                        await client.move_out(refs, deadline=WITHIN)
                    bench.node.clear_fault(index)
            case "out" if held.state is HeldState.YIELDED:
                await client.move_out(refs, deadline=WITHIN)
            case "touch" if running:
                with contextlib.suppress(NoRoom):
                    await client.take(refs, deadline=WITHIN)
                await client.give(refs, deadline=WITHIN)
            case "ahead" if not running:
                await client.move_in(refs, deadline=WITHIN)
            case "come":
                await client.ahead(refs, deadline=WITHIN)
            case "spill" if held.state is HeldState.OUT:
                await client.spill(refs, deadline=WITHIN)
                assert (await bench.held(self.workload)).stored
            case "fetch" if held.state is HeldState.OUT:
                with contextlib.suppress(NoRoom):
                    await client.fetch(refs, deadline=WITHIN)
            case "seat":
                await self.seat(bench)
            case "kill_worker":
                await bench.kill_worker()


@pytest.mark.parametrize("seed", range(3))
async def test_no_byte_differs_whatever_happened(node: EmulatedNode, tmp_path: Path, seed: int) -> None:
    flag, environ = short(tmp_path)
    if seed:
        flag.touch()
    async with Bench(node, tmp_path / "store", arena=10, environ=environ) as bench:
        await program(bench, random.Random(seed))


async def program(bench: Bench, dice: random.Random) -> None:
    empty = bench.device_bytes()
    models = [Model(await bench.start()) for _ in range(2)]
    for _ in range(40):
        model = dice.choice(models)
        await model.act(bench, dice.choice(ACTIONS), dice)
        for one in models:
            await bench.connected(one.workload)
            if (await bench.held(one.workload)).state is HeldState.RUNNING:
                assert await one.workload.ask("read") == one.expected()
    for one in models:
        await one.seat(bench)
        assert await one.workload.ask("read") == one.expected()
    for one in models:
        await one.workload.kill()
    status = await bench.until(lambda status: not status.processes and not bench.files())
    assert (status.used, status.disk) == (0, 0)
    await bench.until(lambda _: bench.device_bytes() <= empty)
