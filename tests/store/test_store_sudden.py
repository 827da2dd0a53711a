"""A worker that is killed at any step of a spill, of a fetch, of a way in from the disk: nothing is lost."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from store_bench import WITHIN, Bench

from hotseat.emulator.node import EmulatedNode
from hotseat.errors import Unavailable
from hotseat.store.port import HeldState
from hotseat.store.wire import GRANULE

pytestmark = pytest.mark.emulated
DISK, RECORD = "hotseat.store.disk", "hotseat.store.record"


@pytest.mark.parametrize(
    ("step", "place", "count", "stored"),
    [
        ("spill", f"{DISK}:Disk.write", 1, False),
        ("spill", f"{DISK}:_write", 3, False),
        ("spill", f"{RECORD}:RecordFiles.write", 1, False),
        ("spill", f"{RECORD}:_write", 2, False),
        ("spill", "hotseat.store.holdings:Holdings.let_go", 1, True),
        ("fetch", f"{DISK}:Disk.read", 2, True),
        ("fetch", f"{RECORD}:RecordFiles.write", 1, True),
        ("fetch", "hotseat.store.holdings:Holdings.let_go", 1, False),
        ("fetch", f"{DISK}:Disk.remove", 1, False),
        ("move_in", f"{DISK}:Disk.read", 3, True),
        ("move_in", "hotseat.store.streaming:Stream._check", 1, True),
        ("give", f"{RECORD}:RecordFiles.write", 1, True),
        ("give", f"{DISK}:Disk.remove", 1, False),
    ],
)
async def test_a_worker_killed_at_any_step_of_it_loses_nothing(
    node: EmulatedNode, tmp_path: Path, step: str, place: str, count: int, stored: bool
) -> None:
    flag = tmp_path / "now"
    environ = {"PYTHONPATH": str(Path(__file__).with_name("sudden")), "SUDDEN": f"{place}:{count}:{flag}"}
    async with Bench(node, tmp_path / "store", arena=8, environ=environ) as bench:
        one, other = await bench.start(), await bench.start()
        await one.ask("alloc", 1, 6, 100)
        before = await one.ask("read")
        for name in ("take", "move_out", *(() if step == "spill" else ("spill",))):
            await getattr(bench.client, name)([one.ref], deadline=WITHIN)
        if step != "spill":  # what the arena has kept of it goes
            await other.ask("alloc", 1, 8, 300)
            for name in ("take", "move_out", "move_in", "give"):
                await getattr(bench.client, name)([other.ref], deadline=WITHIN)
        if step == "give":
            await bench.client.move_in([one.ref], deadline=WITHIN)
        starts = (await bench.client.status(deadline=WITHIN)).starts
        flag.touch()
        with contextlib.suppress(Unavailable):  # it died before it could answer
            await getattr(bench.client, step)([one.ref], deadline=WITHIN)
        await bench.until(lambda now: now.running and now.starts > starts and now.ready == now.arena)
        await bench.connected(one)
        held = await bench.held(one)
        if step != "give" or stored:
            assert (held.state, held.stored) == (HeldState.OUT, stored)
            assert (held.disk_bytes, held.parked_bytes) == ((6 * GRANULE, 0) if stored else (0, 6 * GRANULE))
            assert len(bench.files()) == stored
            await bench.client.move_in([one.ref], deadline=WITHIN)
        await bench.client.give([one.ref], deadline=WITHIN)
        assert await one.ask("read") == before
        await bench.until(lambda _: not bench.files())
