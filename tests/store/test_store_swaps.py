"""Whole swaps through the store, by real processes on the emulated driver, byte by byte."""

from __future__ import annotations

import asyncio

import pytest
from store_bench import WITHIN, Bench

from hotseat.store.port import HeldState
from hotseat.store.wire import GRANULE

pytestmark = pytest.mark.emulated


async def test_memory_comes_back_byte_by_byte_and_is_off_the_device_meanwhile(bench: Bench) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 3, 100)
    await one.ask("alloc", 2, 2, 0)
    before = await one.ask("read")
    full = bench.device_bytes()
    taken = await bench.client.take([one.ref], deadline=WITHIN)
    assert taken[one.ref].state is HeldState.YIELDED
    assert (taken[one.ref].blocks, taken[one.ref].bytes) == (2, 5 * GRANULE)
    assert taken[one.ref].device_bytes == {bench.node.uuids()[0]: 5 * GRANULE}
    out = await bench.client.move_out([one.ref], deadline=WITHIN)
    assert (out.total, out.copied, out.zero, out.unchanged) == (5 * GRANULE, 3 * GRANULE, 2 * GRANULE, 0)
    assert bench.device_bytes() == full - 5 * GRANULE
    held = await bench.held(one)
    assert (held.state, held.parked_bytes) == (HeldState.OUT, 3 * GRANULE)
    back = await bench.client.move_in([one.ref], deadline=WITHIN)
    assert (back.copied, back.zero) == (3 * GRANULE, 2 * GRANULE)
    given = await bench.client.give([one.ref], deadline=WITHIN)
    assert (given[one.ref].state, given[one.ref].lent_bytes) == (HeldState.RUNNING, 5 * GRANULE)
    assert given[one.ref].made_bytes == 5 * GRANULE
    assert await one.ask("read") == before
    assert bench.device_bytes() == full


async def test_only_what_changed_is_copied_the_second_time(bench: Bench) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 8, 100)
    for seed in (500, 501, 502):
        await one.ask("write", 1, 3, seed)
        before = await one.ask("read")
        await bench.client.take([one.ref], deadline=WITHIN)
        out = await bench.client.move_out([one.ref], deadline=WITHIN)
        if seed > 500:
            assert (out.copied, out.unchanged) == (GRANULE, 7 * GRANULE)
        await bench.client.move_in([one.ref], deadline=WITHIN)
        await bench.client.give([one.ref], deadline=WITHIN)
        assert await one.ask("read") == before


async def test_taken_and_given_back_without_a_move_nothing_has_changed(bench: Bench) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 4, 100)
    before = await one.ask("read")
    for _ in range(3):
        await bench.client.take([one.ref], deadline=WITHIN)
        given = await bench.client.give([one.ref], deadline=WITHIN)
        assert (given[one.ref].lent_bytes, given[one.ref].made_bytes) == (4 * GRANULE, 0), "what it made stays its own"
        assert await one.ask("read") == before
    assert (await bench.client.status(deadline=WITHIN)).used == 0


async def test_equal_chunks_are_kept_once_between_workloads(bench: Bench) -> None:
    one, other = await bench.start(), await bench.start()
    for workload, last in ((one, 200), (other, 300)):
        await workload.ask("alloc", 1, 4, 100)
        await workload.ask("alloc", 2, 1, last)
    contents = [await one.ask("read"), await other.ask("read")]
    refs = [one.ref, other.ref]
    await bench.client.take([one.ref], deadline=WITHIN)
    await bench.client.move_out([one.ref], deadline=WITHIN)
    await bench.client.take([other.ref], deadline=WITHIN)
    out = await bench.client.move_out([other.ref], deadline=WITHIN)
    assert (out.shared, out.copied) == (4 * GRANULE, GRANULE)
    assert (await bench.client.status(deadline=WITHIN)).used == 6 * GRANULE
    assert (await bench.held(one)).parked_bytes == 3 * GRANULE
    await bench.client.move_in(refs, deadline=WITHIN)
    await bench.client.give(refs, deadline=WITHIN)
    assert [await one.ask("read"), await other.ask("read")] == contents


async def test_one_streams_in_while_another_streams_out(bench: Bench) -> None:
    one, other = await bench.start(), await bench.start()
    await one.ask("alloc", 1, 6, 100)
    await other.ask("alloc", 1, 6, 200)
    contents = [await one.ask("read"), await other.ask("read")]
    await bench.client.take([one.ref], deadline=WITHIN)
    await bench.client.move_out([one.ref], deadline=WITHIN)
    for out, back in ((other, one), (one, other), (other, one)):
        await bench.client.take([out.ref], deadline=WITHIN)
        await asyncio.gather(
            bench.client.move_out([out.ref], deadline=WITHIN), bench.client.move_in([back.ref], deadline=WITHIN)
        )
        await bench.client.give([back.ref], deadline=WITHIN)
    await bench.client.move_in([other.ref], deadline=WITHIN)
    await bench.client.give([other.ref], deadline=WITHIN)
    assert [await one.ask("read"), await other.ask("read")] == contents


async def test_what_was_moved_in_ahead_goes_back_at_once(bench: Bench) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 4, 100)
    before = await one.ask("read")
    await bench.client.take([one.ref], deadline=WITHIN)
    await bench.client.move_out([one.ref], deadline=WITHIN)
    free = bench.device_bytes()
    await bench.client.move_in([one.ref], deadline=WITHIN)
    out = await bench.client.move_out([one.ref], deadline=WITHIN)
    assert (out.copied, out.unchanged, bench.device_bytes()) == (0, 4 * GRANULE, free)
    await bench.client.move_in([one.ref], deadline=WITHIN)
    await bench.client.give([one.ref], deadline=WITHIN)
    assert await one.ask("read") == before


async def test_localised_memory_is_the_processes_own(bench: Bench) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 4, 100)
    before = await one.ask("read")
    full = bench.device_bytes()
    await bench.client.take([one.ref], deadline=WITHIN)
    await bench.client.move_out([one.ref], deadline=WITHIN)
    await bench.client.move_in([one.ref], deadline=WITHIN)
    await bench.client.give([one.ref], deadline=WITHIN)
    held = await bench.client.localise([one.ref], deadline=WITHIN)
    assert held[one.ref].lent_bytes == 0
    assert await one.ask("read") == before
    assert bench.device_bytes() == full


async def test_what_a_process_freed_since_is_given_up(bench: Bench) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 4, 100)
    await one.ask("alloc", 2, 2, 200)
    for _ in range(2):
        await bench.client.take([one.ref], deadline=WITHIN)
        await bench.client.move_out([one.ref], deadline=WITHIN)
        await bench.client.move_in([one.ref], deadline=WITHIN)
        await bench.client.give([one.ref], deadline=WITHIN)
    full = bench.device_bytes()
    await one.ask("free", 2)
    await bench.client.take([one.ref], deadline=WITHIN)
    await bench.client.give([one.ref], deadline=WITHIN)
    assert bench.device_bytes() == full - 2 * GRANULE
