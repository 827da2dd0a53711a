"""An arena whose size nobody gave: it grows to what is needed, and to no more than the host has."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from store_bench import WITHIN, Bench

from hotseat.emulator.node import EmulatedNode
from hotseat.store import growth
from hotseat.store.arena import Arena
from hotseat.store.book import Book
from hotseat.store.digest import CHUNK
from hotseat.store.growth import Growth
from hotseat.store.spare import SMALL_PIECE
from hotseat.store.tenant import Tenant
from hotseat.store.wire import GRANULE
from hotseat.words import ProcessRef

PIECE = SMALL_PIECE // CHUNK


@pytest.fixture
async def learning(node: EmulatedNode, tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(node, tmp_path / "store", arena=None) as bench:
        yield bench


@pytest.mark.emulated
async def test_it_grows_while_a_workload_waits_and_a_new_worker_has_it_all(learning: Bench) -> None:
    before = await learning.client.status(deadline=WITHIN)
    assert (before.arena, before.ready) == (0, 0)
    assert before.may_grow >= SMALL_PIECE
    one = await learning.start()
    await one.ask("alloc", 1, PIECE + 3, 100)
    content = await one.ask("read")
    await learning.client.take([one.ref], deadline=WITHIN)
    await learning.client.move_out([one.ref], deadline=WITHIN)
    now = await learning.client.status(deadline=WITHIN)
    assert (now.used, now.ready) == ((PIECE + 3) * GRANULE, 2 * SMALL_PIECE)
    await learning.kill_worker()
    await learning.connected(one)
    assert (await learning.client.status(deadline=WITHIN)).ready == 2 * SMALL_PIECE
    await learning.client.move_in([one.ref], deadline=WITHIN)
    await learning.client.give([one.ref], deadline=WITHIN)
    assert await one.ask("read") == content


@pytest.mark.emulated
async def test_what_connects_is_counted_before_it_is_parked(learning: Bench) -> None:
    one = await learning.start()
    await one.ask("alloc", 1, 3, 100)
    await learning.kill_worker()  # so that it says anew what it has
    await learning.until(lambda status: status.ready == SMALL_PIECE)


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    with (tmp_path / "arena").open("w+b") as file:
        file.truncate(4 * SMALL_PIECE)
        return Arena(os.dup(file.fileno()), piece=SMALL_PIECE)


def tenant(pid: int, nbytes: int, measured: int | None = None) -> Tenant:
    return Tenant(ProcessRef(pid, 1), -1, said=(1, nbytes, 0), measured=measured)


async def test_what_was_measured_counts_instead_of_what_was_said(arena: Arena) -> None:
    grows = Growth(arena, Book(arena.slots, ready=0), learned=True)
    grows.learn([tenant(1, SMALL_PIECE, measured=CHUNK), tenant(2, SMALL_PIECE, measured=CHUNK)])
    assert grows.target == PIECE
    grows.learn([tenant(1, SMALL_PIECE), tenant(2, SMALL_PIECE, measured=CHUNK)])
    assert grows.target == 2 * PIECE
    grows.learn([tenant(1, 100 * SMALL_PIECE)])
    assert grows.target == arena.slots
    os.close(arena.fd)


async def test_who_runs_has_no_more_than_the_devices_have_whatever_it_says(arena: Arena) -> None:
    grows = Growth(arena, Book(arena.slots, ready=0), learned=True, devices=PIECE * CHUNK)
    grows.learn([tenant(1, 1 << 60), tenant(2, 1 << 60)])
    assert grows.target == PIECE
    os.close(arena.fd)


@pytest.mark.parametrize(("spare", "pieces"), [(0, 0), (SMALL_PIECE - 1, 0), (2 * SMALL_PIECE, 2), (1 << 50, 4)])
async def test_it_stops_where_others_need_the_memory(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, spare: int, pieces: int
) -> None:
    monkeypatch.setattr(growth, "spare_bytes", lambda: spare)
    grows = Growth(arena, Book(arena.slots, ready=0), learned=True)
    grows.want(arena.slots)
    assert (grows.reach, grows.next()) == (pieces * PIECE, pieces * PIECE)
    os.close(arena.fd)
