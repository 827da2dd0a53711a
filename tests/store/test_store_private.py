"""What other users and other programs may see or break of the store's own: directories, the arena, the room on disk."""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import stat
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotseat.errors import NoRoom, Refused
from hotseat.store import worker
from hotseat.store.arena import Arena
from hotseat.store.book import Book
from hotseat.store.digest import CHUNK
from hotseat.store.disk import Disk
from hotseat.store.growth import Growth
from hotseat.store.keeper import Keeper, Options, make_arena
from hotseat.store.private import private
from hotseat.store.spilled import claimed, ours


@pytest.mark.parametrize(("mode", "name"), [(0o755, "photo.jpg"), (0o1777, ""), (0o770, ""), (0o757, "old.chunks")])
def test_a_directory_that_others_use_is_left_as_it_is(tmp_path: Path, mode: int, name: str) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    if name:
        (shared / name).touch()
    shared.chmod(mode)
    for use in (
        lambda: private(shared, ours=ours),
        lambda: claimed(shared),
        lambda: Keeper(Options(directory=shared, arena=CHUNK)),
    ):
        with pytest.raises(Refused, match="open to others") as refused:
            use()
        assert str(shared / "hotseat") in (refused.value.hint or "")
    assert stat.S_IMODE(shared.stat().st_mode) == mode
    assert os.listdir(shared) == ([name] if name else [])


@pytest.mark.parametrize("name", ["", "old.chunks"])
def test_one_with_nothing_but_its_own_is_closed(tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o755)
    if name:
        (tmp_path / name).touch()
    private(tmp_path, ours=ours)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_one_that_is_closed_already_may_have_anything_in_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "photo.jpg").touch()
    private(tmp_path, ours=ours)


@pytest.mark.parametrize("size", [4 * CHUNK, None])
def test_the_arena_keeps_its_size_whoever_has_it(size: int | None) -> None:
    fd = make_arena(size)
    before = os.fstat(fd).st_size
    for other in (0, before + CHUNK):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, other)
    assert os.fstat(fd).st_size == before
    os.close(fd)


def test_the_arena_is_in_no_core_dump() -> None:
    arena = Arena(make_arena(4 * CHUNK))
    maps = Path("/proc/self/smaps").read_text().split("VmFlags:")
    flags = [after.split("\n", 1)[0].split() for before, after in pairwise(maps) if _is(before, arena)]
    assert flags
    assert "dd" in flags[0]
    os.close(arena.fd)


def _is(smaps: str, arena: Arena) -> bool:
    return any(line.startswith(f"{arena.address:x}-") for line in smaps.splitlines())


def test_two_that_are_spilled_at_once_share_the_limit(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "spill", limit=6 * CHUNK, threads=8)
    chunks = [memoryview(mmap.mmap(-1, CHUNK)) for _ in range(4)]
    for number, chunk in enumerate(chunks):
        chunk[:] = random.Random(number).randbytes(CHUNK)
    results: list[object] = []

    def write(name: str, progress: Any) -> None:
        try:
            results.append(disk.write(f"{name}.chunks", chunks, stop=threading.Event(), progress=progress))
        except NoRoom as error:
            results.append(error)

    other = threading.Thread(target=write, args=("b", lambda part: None))

    def begin_another(part: float) -> None:
        if other.ident is None:
            other.start()
            other.join()

    write("a", begin_another)
    assert any(isinstance(one, NoRoom) for one in results)
    assert sum(file.stat().st_size for file in disk.directory.iterdir()) <= 6 * CHUNK
    assert disk.used() <= 6 * CHUNK


async def test_an_arena_that_could_not_grow_says_so_and_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    arena = Arena(make_arena(4 * CHUNK))
    steps = SimpleNamespace(note="", ready_changed=asyncio.Event())
    failures = [NoRoom("too little", missing=1), OSError("the driver's library broke")]

    def grow(*given: Any, **more: Any) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(arena, "grow", grow)
    monkeypatch.setattr(worker, "GROW_AGAIN", 0.0)
    book = Book(arena.slots, ready=0)
    growth = Growth(arena, book, learned=False)
    mover = SimpleNamespace(devices=SimpleNamespace(any=lambda: SimpleNamespace(register=None)))
    said: list[str] = []
    monkeypatch.setattr(steps.ready_changed, "set", lambda: said.append(steps.note))
    await worker._prepare(cast(Any, steps), growth, book, arena, cast(Any, mover), 1)
    assert said == ["the arena does not grow: the driver's library broke", "too little", ""]
    assert book.ready == arena.slots
    os.close(arena.fd)
