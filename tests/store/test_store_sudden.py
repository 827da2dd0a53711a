"""A worker that is killed at any step of a swap, of a spill, of a fetch, of a way in from the disk: nothing is lost."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from store_bench import WITHIN, Bench, Workload

from hotseat.emulator.node import EmulatedNode
from hotseat.errors import Unavailable
from hotseat.store.port import HeldState
from hotseat.store.wire import GRANULE

pytestmark = pytest.mark.emulated
STEPS = ("take", "move_out", "move_in", "give")
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
    flag, environ = sudden(tmp_path, place, count)
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
        await dies(bench, one, step, flag)
        held = await bench.held(one)
        if step != "give" or stored:
            assert (held.state, held.stored) == (HeldState.OUT, stored)
            assert (held.disk_bytes, held.parked_bytes) == ((6 * GRANULE, 0) if stored else (0, 6 * GRANULE))
            assert len(bench.files()) == stored
            await bench.client.move_in([one.ref], deadline=WITHIN)
        await bench.client.give([one.ref], deadline=WITHIN)
        assert await one.ask("read") == before
        await bench.until(lambda _: not bench.files())


def sudden(tmp_path: Path, place: str, count: int) -> tuple[Path, dict[str, str]]:
    """The file that arms it, and the environment of the store."""
    flag = tmp_path / "now"
    return flag, {"PYTHONPATH": str(Path(__file__).with_name("sudden")), "SUDDEN": f"{place}:{count}:{flag}"}


def arm(flag: Path) -> None:
    flag.touch()


async def dies(bench: Bench, one: Workload, step: str, flag: Path) -> None:
    """The worker, in that step; and the next one serves."""
    starts = (await bench.client.status(deadline=WITHIN)).starts
    arm(flag)
    with contextlib.suppress(Unavailable):  # it died before it could answer
        await getattr(bench.client, step)([one.ref], deadline=WITHIN)
    await bench.next_worker(starts=starts)
    await bench.connected(one)


async def seated(bench: Bench, one: Workload) -> object:
    """From wherever it is; what its memory holds."""
    if await bench.state(one) is HeldState.OUT:
        await bench.client.move_in([one.ref], deadline=WITHIN)
    await bench.client.give([one.ref], deadline=WITHIN)
    return await one.ask("read")


@pytest.mark.parametrize("again", [False, True], ids=["its own", "lent"])
@pytest.mark.parametrize(
    ("step", "place", "count"),
    [
        ("take", "hotseat.store.agents:Agent.send", 1),
        ("take", "hotseat.store.keeping:Keeping.put", 1),
        ("take", "hotseat.store.moving:MappedView.add", 1),
        ("take", "hotseat.store.agents:Agent.send", 2),
        ("take", "hotseat.store.steps:Steps._plan", 1),
        ("move_out", "hotseat.store.book:Book.commit", 1),
        ("move_out", f"{RECORD}:RecordFiles.write", 1),
        ("move_out", f"{RECORD}:_write", 2),
        ("move_out", "hotseat.store.keeping:Keeping.drop", 1),
        ("move_in", "hotseat.store.device:Device.export", 2),
        ("move_in", "hotseat.store.keeping:Keeping.put", 1),
        ("give", f"{RECORD}:RecordFiles.write", 1),
        ("give", "hotseat.store.keeping:Keeping.lend", 1),
        ("give", "hotseat.store.agents:Agent.send", 1),
        ("give", "hotseat.store.agents:Agent.send", 2),
    ],
)
async def test_a_worker_killed_at_any_step_of_a_swap_loses_nothing(
    node: EmulatedNode, tmp_path: Path, step: str, place: str, count: int, again: bool
) -> None:
    """`again`: its blocks are lent, but for one that it has made since."""
    flag, environ = sudden(tmp_path, place, count)
    async with Bench(node, tmp_path / "store", environ=environ) as bench:
        one = await bench.start()
        await one.ask("alloc", 1, 3, 100)
        await one.ask("alloc", 2, 1, 0)
        if again:
            for name in STEPS:
                await getattr(bench.client, name)([one.ref], deadline=WITHIN)
            await one.ask("alloc", 3, 2, 200)
            await one.ask("alloc", 4, 1, 300)
        before, full = await one.ask("read"), bench.device_bytes()
        for name in STEPS[: STEPS.index(step)]:
            await getattr(bench.client, name)([one.ref], deadline=WITHIN)
        await dies(bench, one, step, flag)
        assert await bench.state(one) is not HeldState.LOST
        assert await seated(bench, one) == before
        for name in STEPS:
            await getattr(bench.client, name)([one.ref], deadline=WITHIN)
        assert await one.ask("read") == before
        assert bench.device_bytes() == full
        await one.ask("free", 1)
        await bench.until(lambda _: bench.device_bytes() == full - 3 * GRANULE)


async def test_bytes_of_a_copy_that_broke_off_pass_for_nobodys(node: EmulatedNode, tmp_path: Path) -> None:
    """Its slots had other bytes before, which the record told of; nobody must be given the new ones for those."""
    flag, environ = sudden(tmp_path, "hotseat.store.book:Book.commit", 1)
    async with Bench(node, tmp_path / "store", arena=6, environ=environ) as bench:
        one, other = await bench.start(), await bench.start()
        await one.ask("alloc", 1, 6, 100)
        before = await one.ask("read")
        for name in STEPS:
            await getattr(bench.client, name)([one.ref], deadline=WITHIN)
        await other.ask("alloc", 1, 6, 500)
        others = await other.ask("read")
        await bench.client.take([other.ref], deadline=WITHIN)
        await dies(bench, other, "move_out", flag)
        assert await seated(bench, other) == others
        for name in STEPS[:2]:
            await getattr(bench.client, name)([one.ref], deadline=WITHIN)
        assert await seated(bench, one) == before


async def test_what_a_process_frees_is_the_devices_at_once(bench: Bench) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 4, 100)
    await one.ask("alloc", 2, 2, 200)
    for name in STEPS:
        await getattr(bench.client, name)([one.ref], deadline=WITHIN)
    full = bench.device_bytes()
    await one.ask("free", 2)
    await bench.until(lambda _: bench.device_bytes() == full - 2 * GRANULE)
    assert (await bench.held(one)).lent_bytes == 4 * GRANULE
    before = await one.ask("read")
    await bench.kill_worker()
    await bench.connected(one)
    for name in STEPS:
        await getattr(bench.client, name)([one.ref], deadline=WITHIN)
    assert await one.ask("read") == before
