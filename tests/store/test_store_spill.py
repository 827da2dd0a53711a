"""What is parked goes to disk and comes back: by real processes, byte by byte, with a disk that fails."""

from __future__ import annotations

import asyncio
import resource
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from store_bench import WITHIN, Bench, Workload

from hotseat.emulator.node import EmulatedNode
from hotseat.errors import DriverTimeout, Failed, NoRoom, Refused, VerifyFailed
from hotseat.store.keeper import Keeper, Options
from hotseat.store.port import HeldState
from hotseat.store.wire import GRANULE

pytestmark = pytest.mark.emulated


@pytest.fixture
async def small(node: EmulatedNode, tmp_path: Path) -> AsyncIterator[Bench]:
    """An arena of 8 chunks: what one workload has there goes when another is parked."""
    async with Bench(node, tmp_path / "store", arena=8) as bench:
        yield bench


async def parked(bench: Bench, chunks: int, seed: int) -> tuple[Workload, object]:
    """A workload that is out, and what its memory held."""
    one = await bench.start()
    await one.ask("alloc", 1, chunks, seed)
    before = await one.ask("read")
    await bench.client.take([one.ref], deadline=WITHIN)
    await bench.client.move_out([one.ref], deadline=WITHIN)
    return one, before


async def seat(bench: Bench, one: Workload) -> object:
    """And what its memory holds."""
    await bench.client.move_in([one.ref], deadline=WITHIN)
    await bench.client.give([one.ref], deadline=WITHIN)
    return await one.ask("read")


async def test_two_take_turns_in_an_arena_that_holds_one(small: Bench) -> None:
    one, before = await parked(small, 6, 100)
    assert (await small.client.spill([one.ref], deadline=WITHIN)).disk == 6 * GRANULE
    held = await small.held(one)
    assert (held.state, held.stored, held.parked_bytes, held.disk_bytes) == (HeldState.OUT, True, 0, 6 * GRANULE)
    other, others = await parked(small, 6, 200)
    status = await small.client.status(deadline=WITHIN)
    assert (status.used, status.disk) == (6 * GRANULE, 6 * GRANULE)
    (file,) = small.files()
    assert stat.S_IMODE(small.spill.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert await seat(small, one) == before
    await small.until(lambda status: status.disk == 0)
    assert small.files() == []
    assert not (await small.held(one)).stored
    assert await seat(small, other) == others


async def test_what_can_be_compressed_takes_less_of_the_disk(small: Bench) -> None:
    one, before = await parked(small, 6, -100)
    moved = await small.client.spill([one.ref], deadline=WITHIN)
    assert moved.copied == 6 * GRANULE
    assert moved.disk < GRANULE
    assert (await small.held(one)).disk_bytes == moved.disk
    await parked(small, 6, 200)
    assert await seat(small, one) == before


async def test_what_the_arena_still_has_is_not_read_from_the_disk(bench: Bench) -> None:
    one, before = await parked(bench, 6, 100)
    await bench.client.spill([one.ref], deadline=WITHIN)
    assert (await bench.client.status(deadline=WITHIN)).cached == 6 * GRANULE
    assert (await bench.client.fetch([one.ref], deadline=WITHIN)).disk == 0
    assert await seat(bench, one) == before


async def test_who_compares_bytes_reads_them(node: EmulatedNode, tmp_path: Path) -> None:
    async with Bench(node, tmp_path / "store", options=["--compare"]) as bench:
        one, before = await parked(bench, 3, 100)
        await bench.client.spill([one.ref], deadline=WITHIN)
        assert (await bench.client.fetch([one.ref], deadline=WITHIN)).disk == 3 * GRANULE
        assert await seat(bench, one) == before


async def test_it_comes_back_into_the_arena_where_there_is_room(small: Bench) -> None:
    one, before = await parked(small, 6, 100)
    await small.client.spill([one.ref], deadline=WITHIN)
    other, _ = await parked(small, 6, 200)
    with pytest.raises(NoRoom, match="arena lacks 8 MiB"):
        await small.client.fetch([one.ref], deadline=WITHIN)
    assert (await small.held(one)).stored
    await small.client.spill([other.ref], deadline=WITHIN)
    fetched = await small.client.fetch([one.ref], deadline=WITHIN)
    assert (fetched.total, fetched.disk) == (6 * GRANULE, 4 * GRANULE)  # the arena had kept two of them
    held = await small.held(one)
    assert (held.stored, held.parked_bytes, held.disk_bytes) == (False, 6 * GRANULE, 0)
    await small.until(lambda _: len(small.files()) == 1)
    assert await seat(small, one) == before


async def test_chunks_that_two_share_go_when_both_are_stored(bench: Bench) -> None:
    one, before = await parked(bench, 4, 100)
    other, others = await parked(bench, 5, 100)
    assert (await bench.client.spill([one.ref], deadline=WITHIN)).copied == 0
    assert (await bench.client.status(deadline=WITHIN)).used == 5 * GRANULE
    assert (await bench.client.spill([other.ref], deadline=WITHIN)).copied == 5 * GRANULE
    status = await bench.client.status(deadline=WITHIN)
    assert (status.used, status.disk) == (0, 5 * GRANULE)
    assert [(await bench.held(each)).disk_bytes for each in (one, other)] == [2 * GRANULE, 3 * GRANULE]
    await other.kill()
    await bench.until(lambda status: other.ref not in status.processes)
    assert len(bench.files()) == 1
    await bench.kill_worker()
    await bench.connected(one)
    assert await seat(bench, one) == before
    assert others != before


async def test_equal_chunks_of_one_process_are_moved_once_and_not_told_as_left(small: Bench) -> None:
    one = await small.start()
    for ident in (1, 2):
        await one.ask("alloc", ident, 2, 100)
    before = await one.ask("read")
    await small.client.take([one.ref], deadline=WITHIN)
    await small.client.move_out([one.ref], deadline=WITHIN)
    moved = await small.client.spill([one.ref], deadline=WITHIN)
    assert (moved.total, moved.copied, moved.shared, moved.unchanged) == (4 * GRANULE, 2 * GRANULE, 2 * GRANULE, 0)
    other, _ = await parked(small, 8, 500)
    await small.client.spill([other.ref], deadline=WITHIN)
    moved = await small.client.fetch([one.ref], deadline=WITHIN)
    assert (moved.total, moved.copied, moved.shared, moved.unchanged) == (4 * GRANULE, 2 * GRANULE, 2 * GRANULE, 0)
    assert await seat(small, one) == before


async def test_both_processes_of_a_workload_go_and_come_at_once(small: Bench) -> None:
    one, before = await parked(small, 3, 100)
    other, others = await parked(small, 4, 101)
    refs = [one.ref, other.ref]
    assert (await small.client.spill(refs, deadline=WITHIN)).disk == 5 * GRANULE
    await parked(small, 8, 500)
    await small.client.move_in(refs, deadline=WITHIN)
    await small.client.give(refs, deadline=WITHIN)
    assert [await one.ask("read"), await other.ask("read")] == [before, others]


async def test_a_disk_that_is_full_loses_nothing(bench: Bench) -> None:
    one, before = await parked(bench, 6, 100)
    worker = (await bench.client.status(deadline=WITHIN)).worker
    limits = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (3 * GRANULE, limits[1]))
    with pytest.raises(NoRoom, match="has no room for 12 MiB") as caught:
        await bench.client.spill([one.ref], deadline=WITHIN)
    assert caught.value.rule == "disk"
    held = await bench.held(one)
    assert (held.stored, held.parked_bytes, bench.files()) == (False, 6 * GRANULE, [])
    resource.prlimit(worker, resource.RLIMIT_FSIZE, limits)
    await bench.client.spill([one.ref], deadline=WITHIN)
    assert await seat(bench, one) == before


async def test_no_more_is_spilled_than_the_limit_says(node: EmulatedNode, tmp_path: Path) -> None:
    async with Bench(node, tmp_path / "store", options=[f"--spill-limit={5 * GRANULE}"]) as bench:
        one, before = await parked(bench, 3, 100)
        other, others = await parked(bench, 3, 200)
        await bench.client.spill([one.ref], deadline=WITHIN)
        assert (await bench.client.status(deadline=WITHIN)).disk_free == 2 * GRANULE
        with pytest.raises(NoRoom, match="no room for 6 MiB") as caught:
            await bench.client.spill([other.ref], deadline=WITHIN)
        assert "raise its limit of 10 MiB" in caught.value.hint
        assert [await seat(bench, one), await seat(bench, other)] == [before, others]


@pytest.mark.parametrize("seed", [100, -100])
async def test_bytes_that_the_disk_changed_are_noticed_and_never_seated(small: Bench, seed: int) -> None:
    one, before = await parked(small, 6, seed)
    await small.client.spill([one.ref], deadline=WITHIN)
    other, _ = await parked(small, 8, 300)
    (file,) = small.files()
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    free = small.device_bytes()
    with pytest.raises(VerifyFailed, match=r"disk|unpacked"):
        await small.client.move_in([one.ref], deadline=WITHIN)
    await small.client.forget(other.ref, deadline=WITHIN)
    with pytest.raises(VerifyFailed, match=r"disk|unpacked"):
        await small.client.fetch([one.ref], deadline=WITHIN)
    assert (await small.state(one), small.device_bytes()) == (HeldState.OUT, free)
    file.write_bytes(whole)
    assert await seat(small, one) == before


async def test_a_file_that_is_gone_is_said(small: Bench) -> None:
    one, _ = await parked(small, 6, 100)
    await small.client.spill([one.ref], deadline=WITHIN)
    await parked(small, 8, 300)
    small.files()[0].unlink()
    with pytest.raises(VerifyFailed, match="cannot be read: No such file"):
        await small.client.move_in([one.ref], deadline=WITHIN)
    assert await small.state(one) is HeldState.OUT


async def test_files_go_with_their_process_or_when_it_is_forgotten(bench: Bench) -> None:
    one, _ = await parked(bench, 3, 100)
    other, _ = await parked(bench, 3, 200)
    await bench.client.spill([one.ref, other.ref], deadline=WITHIN)
    assert len(bench.files()) == 2
    await one.kill()
    await bench.until(lambda _: len(bench.files()) == 1)
    await bench.client.forget(other.ref, deadline=WITHIN)
    await bench.until(lambda _: not bench.files())


async def test_moved_in_ahead_and_back_the_disk_still_has_it(small: Bench) -> None:
    one, before = await parked(small, 6, 100)
    await small.client.spill([one.ref], deadline=WITHIN)
    await parked(small, 8, 300)
    await small.client.move_in([one.ref], deadline=WITHIN)
    back = await small.client.move_out([one.ref], deadline=WITHIN)
    assert (back.copied, back.unchanged) == (0, 6 * GRANULE)
    assert (await small.held(one)).stored
    assert await seat(small, one) == before


async def test_only_what_is_out_is_spilled(bench: Bench) -> None:
    one = await bench.start()
    with pytest.raises(Refused, match="is running, not out"):
        await bench.client.spill([one.ref], deadline=WITHIN)


async def test_two_stores_never_share_a_directory(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="another store spills"):
        Keeper(Options(directory=tmp_path / "second", arena=GRANULE, spill=bench.spill))


async def test_a_directory_that_cannot_be_used_is_said_before_anything_begins(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failed, match=r"nothing can be spilled to .*/file/spill: Not a directory"):
        Keeper(Options(directory=tmp_path / "store", arena=GRANULE, spill=tmp_path / "file" / "spill"))


async def test_without_a_directory_nothing_is_spilled(node: EmulatedNode, tmp_path: Path) -> None:
    async with Bench(node, tmp_path / "store", spills=False) as bench:
        one, before = await parked(bench, 3, 100)
        with pytest.raises(Refused, match="spills nothing") as caught:
            await bench.client.spill([one.ref], deadline=WITHIN)
        assert "--spill DIRECTORY" in caught.value.hint
        assert await seat(bench, one) == before


async def test_spilling_past_the_deadline_is_undone(bench: Bench) -> None:
    one, before = await parked(bench, 6, 100)
    with pytest.raises(DriverTimeout):
        await bench.client.spill([one.ref], deadline=1e-6)
    await bench.until(lambda status: status.processes[one.ref].progress is None)
    held = await bench.held(one)
    assert (held.stored, bench.files()) == (False, [])
    assert await seat(bench, one) == before


async def test_one_streams_in_from_disk_while_another_is_spilled(small: Bench) -> None:
    one, before = await parked(small, 6, 100)
    await small.client.spill([one.ref], deadline=WITHIN)
    other, others = await parked(small, 8, 300)
    await asyncio.gather(
        small.client.move_in([one.ref], deadline=WITHIN), small.client.spill([other.ref], deadline=WITHIN)
    )
    await small.client.give([one.ref], deadline=WITHIN)
    assert await one.ask("read") == before
    assert await seat(small, other) == others
