"""To disk and back: which chunks of a parked process go, how they come back, and on the way in past the arena."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np

from hotseat.errors import DriverTimeout, ProcessGone, Refused
from hotseat.store.arena import Arena
from hotseat.store.book import ZERO, Slots
from hotseat.store.digest import CHUNK, chunk_digests
from hotseat.store.disk import Disk, Placed
from hotseat.store.holdings import Holdings
from hotseat.store.pages import Page
from hotseat.store.port import HeldState, Moved
from hotseat.store.spilled import SUFFIX
from hotseat.store.streaming import Stage, Stream, damaged
from hotseat.store.tenant import Tenant


class Spilling:
    """`key`: the secret that digests are made with. `why`: why there is no disk. `compare`: a digest proves nothing."""

    def __init__(self, holdings: Holdings, *, arena: Arena, key: int, why: str = "", compare: bool = False) -> None:
        self.note = why
        self._holdings, self._arena, self._key = holdings, arena, key
        self._compare = compare
        self._writing: set[int] = set()
        self._stage = Stage()

    async def spill(self, tenant: Tenant, stop: threading.Event) -> Moved:
        """Chunks that others need in the arena too stay there until the last of them is spilled."""
        disk = self._needed()
        _expect_out(tenant)
        assert tenant.slots is not None
        before, was = tenant.slots, tenant.stored
        tenant.stored = True
        try:
            slots = sorted(set(self._all_stored(tenant.slots)) - self._writing)
            placed = await self._write(disk, tenant, slots, stop) if slots else []
        except BaseException:
            tenant.stored = was
            raise
        finally:
            tenant.progress = None
        return _moved(tenant, before, moved=slots, disk=sum(one.stored for one in placed))

    async def fetch(self, tenant: Tenant, stop: threading.Event) -> Moved:
        """What the arena has kept, or has of another, is not read. Digests are checked here, by the CPU."""
        _expect_out(tenant)
        assert tenant.slots is not None
        book, pages = self._holdings.book, self._holdings.pages
        wanted = pages.of(tenant.slots)
        there = {number: slot for number, page in wanted.items() if (slot := self._kept(page)) is not None}
        missing = {number: page for number, page in wanted.items() if number not in there}
        book.adopt(np.array(list(there.values()), dtype=np.int32))  # so that it is not given up meanwhile
        tenant.fetching = True  # and the spill of another leaves alone what the two share
        taken: list[int] = []
        try:
            if missing:
                taken = book.take(len(missing))
                self._holdings.before_filling()
                await asyncio.to_thread(self._read_all, tenant, list(missing.values()), taken, stop)
        except BaseException:
            book.give_back([*taken, *there.values()])
            raise
        finally:
            tenant.progress, tenant.fetching = None, False
        for slot, (number, page) in zip(taken, missing.items(), strict=True):
            there[number] = slot
            if page.known:
                book.know(slot, page.digest)
        old = tenant.slots
        tenant.slots, tenant.stored = _replaced(old, there), False
        for number, slot in there.items():  # held once above, and once by each further chunk
            book.adopt(np.full(int((old == number).sum()) - 1, slot, dtype=np.int32))
        self._holdings.write_record()
        self._holdings.let_go(old[old < ZERO])
        return _moved(tenant, old, moved=list(missing), disk=sum(page.stored for page in missing.values()))

    @asynccontextmanager
    async def coming_in(self, slots: Slots) -> AsyncIterator[tuple[Slots, Stream | None]]:
        """`slots` as a move in shall read them: from the arena what it has. The rest streams in past it."""
        book, pages = self._holdings.book, self._holdings.pages
        wanted = pages.of(slots)
        there = {number: slot for number, page in wanted.items() if (slot := self._kept(page)) is not None}
        seen = _replaced(slots, there)
        book.adopt(seen)  # a spill of one that shares them, or a hungry neighbour, must not take them from under it
        try:
            rest = {number: page for number, page in wanted.items() if number not in there}
            stream = Stream(self._needed(), rest, self._stage, key=self._key) if rest else None
            yield seen, stream
        finally:
            book.release(seen)

    # Within

    def _needed(self) -> Disk:
        disk = self._holdings.disk
        if disk is None:
            raise Refused(
                f"this store spills nothing to disk{': ' + self.note if self.note else ''}",
                rule="disk",
                hint="start it with a directory on a local disk: --spill DIRECTORY",
            )
        return disk

    def _kept(self, page: Page) -> int | None:
        # To compare it would have to be read, and then it is there.
        return self._holdings.book.slot_of(page.digest) if page.known and not self._compare else None

    def _stored_counts(self) -> dict[int, int]:
        """Slot -> how many chunks of stored processes refer to it."""
        parts = [t.slots for t in self._holdings.tenants.values() if t.on_disk and t.slots is not None]
        slots, counts = np.unique(np.concatenate([np.empty(0, np.int32), *parts]), return_counts=True)
        return dict(zip(slots.tolist(), counts.tolist(), strict=True))

    def _all_stored(self, slots: Sequence[int] | Slots) -> list[int]:
        """Those to which nobody refers that is not stored."""
        book, counts = self._holdings.book, self._stored_counts()
        return [slot for slot in np.unique(slots).tolist() if slot > ZERO and book.references(slot) == counts[slot]]

    async def _write(self, disk: Disk, tenant: Tenant, slots: list[int], stop: threading.Event) -> list[Placed]:
        name = f"{tenant.ref.pid}-{tenant.ref.start_time}-{secrets.token_hex(4)}{SUFFIX}"
        chunks = [self._arena.chunk(slot) for slot in slots]
        digests = {slot: digest for slot in slots if (digest := self._holdings.book.digest_of(slot)) is not None}
        self._writing |= set(slots)

        def work() -> tuple[list[Placed], list[bytes]]:
            def progress(part: float) -> None:
                tenant.progress = part

            placed = disk.write(name, chunks, stop=stop, progress=progress)
            return placed, [digests.get(slot) or self._digest(self._arena.chunk(slot)) for slot in slots]

        try:
            placed, found = await asyncio.to_thread(work)
            still = set(self._all_stored(slots))
        finally:
            self._writing -= set(slots)
        pages, numbers = self._holdings.pages, {}
        for slot, one, digest in zip(slots, placed, found, strict=True):
            if slot in still:
                numbers[slot] = pages.add(Page(name, *one, digest, slot in digests))
        gone = []
        for other in self._holdings.tenants.values():
            if other.on_disk and other.slots is not None:
                old, other.slots = other.slots, _replaced(other.slots, numbers)
                gone.append(old[old != other.slots])
                pages.hold(other.slots[old != other.slots])
        self._holdings.write_record()
        for old in gone:
            self._holdings.let_go(old)
        if not numbers:
            disk.remove([name])
        return placed

    def _read_all(self, tenant: Tenant, pages: Sequence[Page], slots: Sequence[int], stop: threading.Event) -> None:
        disk = self._needed()

        def one(page: Page, slot: int) -> None:
            if stop.is_set():
                raise DriverTimeout("the disk was not done within its deadline", hint="give it a longer one")
            into = self._arena.chunk(slot)
            disk.read(page.file, Placed(page.offset, page.stored, page.packed), into)
            if self._digest(into) != page.digest:
                raise damaged(page)

        jobs = [disk.readers.submit(one, page, slot) for page, slot in zip(pages, slots, strict=True)]
        errors = []
        for done, job in enumerate(jobs, 1):  # all have ended before the slots are anybody else's
            if (error := job.exception()) is not None:
                errors.append(error)
            tenant.progress = done / len(jobs)
        if errors:
            raise errors[0]

    def _digest(self, chunk: memoryview) -> bytes:
        return chunk_digests(chunk, key=self._key)[0, :2].tobytes()


def _moved(tenant: Tenant, before: Slots, *, moved: Sequence[int], disk: int) -> Moved:
    """`before`: where its chunks were. `moved`: which of those places went; several of its chunks may be in one."""
    zero, gone = int((before == ZERO).sum()) * CHUNK, int(np.isin(before, moved).sum()) * CHUNK
    copied = len(moved) * CHUNK
    return Moved(
        total=tenant.bytes,
        copied=copied,
        unchanged=tenant.bytes - zero - gone,
        zero=zero,
        shared=gone - copied,
        disk=disk,
    )


def _replaced(slots: Slots, by: dict[int, int]) -> Slots:
    out = slots.copy()
    if by:
        olds = np.array(sorted(by), dtype=np.int32)
        news = np.array([by[old] for old in olds.tolist()], dtype=np.int32)
        at = np.minimum(np.searchsorted(olds, slots), len(olds) - 1)
        hit = olds[at] == slots
        out[hit] = news[at[hit]]
    return out


def _expect_out(tenant: Tenant) -> None:
    if tenant.gone:
        raise ProcessGone(f"process {tenant.ref.pid} ended", hint="list the workload's processes again")
    if tenant.state is not HeldState.OUT:
        why = f": {tenant.note}" if tenant.note else ""
        raise Refused(f"process {tenant.ref.pid} is {tenant.state}, not out{why}", hint="park it first")
