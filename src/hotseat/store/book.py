"""What lies where in the arena: slots, how many parked chunks each serves, which digest each holds. Pure.

A slot is free, held (parked chunks refer to it) or cached (none does, but its digest is known and its bytes are right:
a copy of what is on a device now). Cached ones are given up, the longest unused first, when room is needed. The bytes
of a slot with a known digest never change.

A workload has tens of thousands of chunks and a swap waits for this: what most swaps do (chunks are where they were)
is done on arrays, and only what changed goes through the dictionary of digests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress, repeat

import numpy as np
from numpy.typing import NDArray

from hotseat.errors import NoRoom
from hotseat.store.digest import CHUNK

ZERO = -1
"""The slot of a chunk that is all zero."""

Slots = NDArray[np.int32]
Digests = NDArray[np.uint64]
"""Shape (chunks, 2)."""


def packed(digests: Digests) -> list[bytes]:
    """16 bytes each."""
    names: list[bytes] = np.ascontiguousarray(digests).view("V16").ravel().tolist()
    return names


@dataclass(slots=True)
class Plan:
    """Where each chunk of one process goes. Holds its slots until `commit` or `cancel`."""

    slots: Slots
    """One a chunk; `ZERO` where there is nothing to keep."""
    fresh: dict[int, bytes]
    """Slot -> digest of those that must be filled; the first chunk that refers to one fills it."""
    zero: int
    unchanged: int
    shared: int

    def copies(self) -> tuple[NDArray[np.intp], Slots]:
        """Chunks that must be copied, in their order, and the slot of each."""
        if not self.fresh:
            return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.int32)
        chunks = np.flatnonzero(np.isin(self.slots, np.fromiter(self.fresh, dtype=np.int32, count=len(self.fresh))))
        _, first = np.unique(self.slots[chunks], return_index=True)
        chunks = chunks[np.sort(first)]
        return chunks, self.slots[chunks]


class Book:
    """Of `size` slots of which the first `ready` may be used."""

    def __init__(self, size: int, *, ready: int | None = None) -> None:
        self.size = size
        self.ready = size if ready is None else ready
        self.forgot = False
        """A digest was given up: until a record without it is written, its slot must keep its bytes."""
        self._refs = np.zeros(size, dtype=np.int32)
        self._known = np.zeros(size, dtype=np.bool_)
        self._digests: Digests = np.zeros((size, 2), dtype=np.uint64)
        self._slot: dict[bytes, int] = {}
        """The other way round. Exactly those that are known."""
        self._idle_since = np.zeros(size, dtype=np.int64)
        """Of a cached slot: counts up with each time that any became one."""
        self._now = 0

    @property
    def used(self) -> int:
        """Slots that are held."""
        return int(np.count_nonzero(self._refs))

    @property
    def cached(self) -> int:
        return int(np.count_nonzero(self._known & (self._refs == 0)))

    def references(self, slot: int) -> int:
        return int(self._refs[slot])

    def shares(self, slots: Slots) -> float:
        """How many slots these chunks take: what several chunks refer to counts in parts."""
        held = slots[slots > ZERO]
        return float((1.0 / np.maximum(self._refs[held], 1)).sum())

    def plan(self, digests: Digests, zero: NDArray[np.bool_], *, before: Slots | None = None) -> Plan:
        """Takes slots for chunks. `before`: where the same chunks were the last time, to tell unchanged from shared.

        `NoRoom` if there are too few, with nothing taken; `.details["missing"]` is how many bytes.
        """
        slots = np.full(len(digests), ZERO, dtype=np.int32)
        if before is not None:
            there = np.flatnonzero((before > ZERO) & ~zero)
            same = self._known[before[there]] & (self._digests[before[there]] == digests[there]).all(axis=1)
            slots[there[same]] = before[there[same]]
        unchanged = int((slots != ZERO).sum())
        other = np.flatnonzero((slots == ZERO) & ~zero)
        names = packed(digests[other])
        found = np.fromiter(map(self._slot.get, names, repeat(ZERO)), dtype=np.int32, count=len(names))
        slots[other] = found
        held = slots[slots != ZERO]
        new = found == ZERO
        missing = list(compress(names, new.tolist()))
        place = {name: index for index, name in enumerate(dict.fromkeys(missing))}
        self._hold(held)
        try:
            fresh = self._take(len(place)).astype(np.int32)
        except NoRoom:
            self._let_go(held)
            raise
        slots[other[new]] = fresh[np.fromiter(map(place.__getitem__, missing), dtype=np.intp, count=len(missing))]
        self._hold(slots[other[new]])
        shared = len(names) - len(place)
        return Plan(slots, dict(zip(fresh.tolist(), place, strict=True)), int(zero.sum()), unchanged, shared)

    def commit(self, plan: Plan) -> None:
        """What was to be filled is. Chunks that another plan brought in the meantime are kept once."""
        slots = np.fromiter(plan.fresh, dtype=np.int32, count=len(plan.fresh))
        twins = np.fromiter(
            map(self._slot.setdefault, plan.fresh.values(), plan.fresh), dtype=np.int32, count=len(slots)
        )
        for slot, twin in zip(slots[slots != twins].tolist(), twins[slots != twins].tolist(), strict=True):
            chunks = np.flatnonzero(plan.slots == slot)
            plan.slots[chunks] = twin
            self._hold(np.full(len(chunks), twin, dtype=np.int32))
            self._let_go(np.full(len(chunks), slot, dtype=np.int32))
        mine = slots[slots == twins]
        names = b"".join(compress(plan.fresh.values(), (slots == twins).tolist()))
        self._digests[mine] = np.frombuffer(names, dtype=np.uint64).reshape(-1, 2)
        self._known[mine] = True
        plan.fresh = {}

    def split(self, plan: Plan, chunks: Iterable[int]) -> None:
        """Gives these chunks, whose digest is known but whose bytes are not those of the slot, slots of their own that
        no later chunk will share. `NoRoom` as in `plan`."""
        for chunk in chunks:
            (slot,) = self._take(1)
            self._refs[slot] = 1
            self._let_go(plan.slots[[chunk]])
            plan.slots[chunk] = slot

    def borrow(self, count: int) -> list[int]:
        """Up to `count` slots for the time of a comparison. `NoRoom` if there is none at all."""
        free = len(self._empty()) + self.cached
        return self.take(max(1, min(count, free)))

    def take(self, count: int) -> list[int]:
        """Slots to be filled, held once each. `NoRoom` as in `plan`."""
        slots = self._take(count)
        self._refs[slots] = 1
        return [int(slot) for slot in slots]

    def know(self, slot: int, digest: bytes) -> None:
        """A slot that was filled has bytes of this digest. Where another has them too, that one is found by it."""
        if self._slot.setdefault(digest, slot) == slot:
            self._digests[slot] = np.frombuffer(digest, dtype=np.uint64)
            self._known[slot] = True

    def slot_of(self, digest: bytes) -> int | None:
        """Which slot has bytes of this digest."""
        return self._slot.get(digest)

    def digest_of(self, slot: int) -> bytes | None:
        """None: it has none that anybody may go by."""
        return self._digests[slot].tobytes() if self._known[slot] else None

    def give_back(self, borrowed: Iterable[int]) -> None:
        self._let_go(np.fromiter(borrowed, dtype=np.int32))

    def cancel(self, plan: Plan) -> None:
        self.release(plan.slots)

    def release(self, slots: Slots) -> None:
        """Chunks that are no longer parked: slots that no other refers to become cached, or free if never filled."""
        self._let_go(slots[slots > ZERO])

    def adopt(self, slots: Slots) -> None:
        """Holds slots as the record of an earlier process says, or while they are read."""
        self._hold(slots[slots > ZERO])

    def remember(self, slots: Slots, digests: Digests) -> None:
        """As the record of an earlier process says; before any `adopt`."""
        self._known[slots], self._digests[slots] = True, digests
        self._slot.update(zip(packed(digests), slots.tolist(), strict=True))

    def digests(self) -> tuple[Slots, Digests]:
        """All that are known, as `remember` takes them."""
        slots = np.flatnonzero(self._known).astype(np.int32)
        return slots, self._digests[slots]

    def _hold(self, slots: Slots) -> None:
        np.add.at(self._refs, slots, 1)

    def _let_go(self, slots: Slots) -> None:
        np.subtract.at(self._refs, slots, 1)
        self._now += 1
        self._idle_since[slots] = self._now

    def _empty(self) -> NDArray[np.intp]:
        return np.flatnonzero(~self._known[: self.ready] & (self._refs[: self.ready] == 0))

    def _take(self, count: int) -> NDArray[np.intp]:
        """Empty slots in ascending order, so that neighbours are copied with one call; cached ones are given up.
        Whoever takes them holds them before anybody else can ask."""
        empty = self._empty()
        short = count - len(empty)
        if short > 0:
            cached = np.flatnonzero(self._known[: self.ready] & (self._refs[: self.ready] == 0))
            if len(cached) < short:
                lack = short - len(cached)
                raise NoRoom(
                    f"the arena lacks {lack * CHUNK >> 20} MiB of {count * CHUNK >> 20} MiB",
                    rule="host memory",
                    hint="spill or end a workload that is parked, or give the store a larger arena (--arena)",
                    missing=lack * CHUNK,
                )
            given = cached[np.argsort(self._idle_since[cached], kind="stable")[:short]]
            for digest in packed(self._digests[given]):
                del self._slot[digest]
            self._known[given] = False
            self.forgot = True
            empty = np.sort(np.concatenate([empty, given]))
        return empty[:count]
