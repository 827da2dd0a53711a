"""What lies where in the arena: slots, how many parked chunks each serves, which digest each holds. Pure.

A slot is free, held (parked chunks refer to it) or cached (none does, but its digest is known and its bytes are right:
a copy of what is on a device now). Cached ones are given up, the longest unused first, when room is needed. The bytes
of a slot with a known digest never change.

A workload has tens of thousands of chunks and a swap waits for this, so it is all done on arrays. Known digests are
found by their first word in a sorted index; of two that differ in the second only, one is not found, and its bytes are
kept twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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


def unpacked(digest: bytes) -> Digests:
    """Of one."""
    return np.frombuffer(digest, dtype=np.uint64).reshape(1, 2)


@dataclass(slots=True)
class Plan:
    """Where each chunk of one process goes. Holds its slots until `commit` or `cancel`."""

    slots: Slots
    """One a chunk; `ZERO` where there is nothing to keep."""
    fresh: Slots
    """Those that must be filled; the first chunk that refers to one fills it."""
    digests: Digests
    """Of the fresh ones."""
    zero: int
    unchanged: int
    shared: int

    def copies(self) -> tuple[NDArray[np.intp], Slots]:
        """Chunks that must be copied, in their order, and the slot of each."""
        chunks = np.flatnonzero(np.isin(self.slots, self.fresh))
        _, first = np.unique(self.slots[chunks], return_index=True)
        chunks = chunks[np.sort(first)]
        return chunks, self.slots[chunks]


class Index:
    """Slots by the digest that is known of each, sorted by its first word. What is given up stays in it, and is passed
    over, until others are learned."""

    def __init__(self, digests: Digests, known: NDArray[np.bool_]) -> None:
        """Both are the book's, which changes them."""
        self._digests, self._known = digests, known
        self._words, self._slots = np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int32)

    def learn(self, slots: Slots) -> None:
        """These have other digests than before. Merged, for to sort all takes as long as the plan of a swap."""
        true = self._known[self._slots] & (self._digests[self._slots, 0] == self._words)
        other = np.zeros(len(self._known), dtype=np.bool_)
        other[slots] = True
        true &= ~other[self._slots]
        words, there = self._words[true], self._slots[true]
        new = slots[np.argsort(self._digests[slots, 0])]
        words = np.concatenate([words, self._digests[new, 0]])
        order = np.argsort(words, kind="stable")  # two runs, which it merges
        self._words, self._slots = words[order], np.concatenate([there, new])[order]

    def find(self, digests: Digests) -> Slots:
        """The slot of each, `ZERO` where there is none."""
        found = np.full(len(digests), ZERO, dtype=np.int32)
        if len(digests) and len(self._words):
            order = np.argsort(digests[:, 0])  # neighbours are found faster
            at = np.minimum(np.searchsorted(self._words, digests[order, 0]), len(self._words) - 1)
            slots = self._slots[at]
            equal = self._known[slots] & _same(self._digests[slots], digests[order])
            found[order[equal]] = slots[equal]
        return found


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
        self._index = Index(self._digests, self._known)
        self._idle_since = np.zeros(size, dtype=np.int64)
        """Of a cached slot: counts up with each time that any became one."""
        self._now = 0
        self.promised = 0
        """Slots that are kept free for somebody: nobody else may take so many of the last."""

    @property
    def used(self) -> int:
        """Slots that are held."""
        return int(np.count_nonzero(self._refs))

    @property
    def cached(self) -> int:
        return int(np.count_nonzero(self._known & (self._refs == 0)))

    def references(self, slot: int) -> int:
        return int(self._refs[slot])

    def shares(self, slots: Slots, *, plan: Plan | None = None) -> float:
        """How many slots these chunks take: what several chunks refer to counts in parts. `plan`: of the same process,
        so what it holds is no other's."""
        held = slots[slots > ZERO]
        refs = self._refs[held]
        if plan is not None:
            refs = refs - np.bincount(plan.slots[plan.slots > ZERO], minlength=self.size)[held]
        return float((1.0 / np.maximum(refs, 1)).sum())

    def plan(self, digests: Digests, zero: NDArray[np.bool_], *, before: Slots | None = None) -> Plan:
        """Takes slots for chunks. `before`: where the same chunks were the last time, to tell unchanged from shared.

        `NoRoom` if there are too few, with nothing taken; `.details["missing"]` is how many bytes.
        """
        slots = np.full(len(digests), ZERO, dtype=np.int32)
        if before is not None:
            there = np.flatnonzero((before > ZERO) & ~zero)
            same = self._known[before[there]] & _same(self._digests[before[there]], digests[there])
            slots[there[same]] = before[there[same]]
        unchanged = int((slots != ZERO).sum())
        other = np.flatnonzero((slots == ZERO) & ~zero)
        slots[other] = self._index.find(digests[other])
        held = slots[slots != ZERO]
        missing = other[slots[other] == ZERO]
        first, which = _distinct(digests[missing])
        self._hold(held)
        try:
            fresh = self._take(len(first))
        except NoRoom:
            self._let_go(held)
            raise
        slots[missing] = fresh[which]
        self._hold(slots[missing])
        return Plan(
            slots=slots,
            fresh=fresh,
            digests=digests[missing[first]],
            zero=int(zero.sum()),
            unchanged=unchanged,
            shared=len(other) - len(fresh),
        )

    def commit(
        self,
        plan: Plan,
        *,
        filled: NDArray[np.bool_] | None = None,
        equal: Callable[[int, int], bool] | None = None,
    ) -> None:
        """What was to be filled is. Chunks that another plan brought in the meantime are kept once. `filled`: which of
        the fresh ones are; the plan goes on with the others. `equal`: whether two slots with equal digests have the
        same bytes; those that have not stay apart, and are found by nobody."""
        now = np.ones(len(plan.fresh), dtype=np.bool_) if filled is None else filled
        fresh, digests = plan.fresh[now], plan.digests[now]
        plan.fresh, plan.digests = plan.fresh[~now], plan.digests[~now]
        twins = self._index.find(digests)
        mine = twins == ZERO
        for slot, twin in zip(fresh[~mine].tolist(), twins[~mine].tolist(), strict=True):
            if equal is not None and not equal(slot, twin):
                continue
            chunks = np.flatnonzero(plan.slots == slot)
            plan.slots[chunks] = twin
            self._hold(np.full(len(chunks), twin, dtype=np.int32))
            self._let_go(np.full(len(chunks), slot, dtype=np.int32))
        self._learn(fresh[mine], digests[mine])

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
        free = int(np.count_nonzero(self._unheld())) - self.promised
        return self.take(max(1, min(count, free)))

    def take(self, count: int) -> list[int]:
        """Slots to be filled, held once each. `NoRoom` as in `plan`."""
        slots = self._take(count)
        self._refs[slots] = 1
        return [int(slot) for slot in slots]

    def know(self, slot: int, digest: bytes) -> None:
        """A slot that was filled has bytes of this digest. Where another has them too, that one is found by it."""
        if self.slot_of(digest) is None:
            self._learn(np.array([slot], dtype=np.int32), unpacked(digest))

    def slot_of(self, digest: bytes) -> int | None:
        """Which slot has bytes of this digest."""
        (slot,) = self._index.find(unpacked(digest)).tolist()
        return slot if slot != ZERO else None

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
        self._learn(slots, digests)

    def digests(self) -> tuple[Slots, Digests]:
        """All that are known, as `remember` takes them."""
        slots = np.flatnonzero(self._known).astype(np.int32)
        return slots, self._digests[slots]

    def _learn(self, slots: Slots, digests: Digests) -> None:
        self._known[slots], self._digests[slots] = True, digests
        self._index.learn(slots)

    def _hold(self, slots: Slots) -> None:
        self._refs += np.bincount(slots, minlength=self.size).astype(np.int32)

    def _let_go(self, slots: Slots) -> None:
        self._refs -= np.bincount(slots, minlength=self.size).astype(np.int32)
        self._now += 1
        self._idle_since[slots] = self._now

    def _unheld(self) -> NDArray[np.bool_]:
        """Of those that may be used: empty, or cached."""
        return np.equal(self._refs[: self.ready], 0)

    def promise(self, count: int) -> None:
        """Keeps so many free. `NoRoom` as in `plan`."""
        self._expect_room(count, self._unheld())
        self.promised += count

    def withdraw(self, count: int) -> None:
        self.promised -= count

    def _expect_room(self, count: int, unheld: NDArray[np.bool_]) -> None:
        lack = count + self.promised - int(np.count_nonzero(unheld))
        if lack > 0:
            raise NoRoom(
                f"the arena lacks {lack * CHUNK >> 20} MiB of {count * CHUNK >> 20} MiB",
                rule="host memory",
                hint="seat or end one that is parked, or give the store more: --arena, or a disk (--spill)",
                missing=lack * CHUNK,
            )

    def _take(self, count: int) -> Slots:
        """Empty slots in ascending order, so that neighbours are copied with one call; cached ones are given up.
        Whoever takes them holds them before anybody else can ask."""
        unheld, known = self._unheld(), self._known[: self.ready]
        self._expect_room(count, unheld)
        empty = np.flatnonzero(unheld & ~known).astype(np.int32)
        short = count - len(empty)
        if short > 0:
            cached = np.flatnonzero(unheld & known).astype(np.int32)
            given = cached[np.argsort(self._idle_since[cached], kind="stable")[:short]]
            self._known[given] = False
            self.forgot = True
            empty = np.sort(np.concatenate([empty, given]))
        return empty[:count]


def _same(one: Digests, other: Digests) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (one[:, 0] == other[:, 0]) & (one[:, 1] == other[:, 1])
    return same


def _distinct(digests: Digests) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where each distinct one comes first, in that order; and of each which of them it is."""
    words = np.sort(digests[:, 0])
    if (words[1:] != words[:-1]).all():  # the usual case
        return np.arange(len(digests)), np.arange(len(digests))
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    starts = np.concatenate([np.ones(min(len(ordered), 1), dtype=np.bool_), (ordered[1:] != ordered[:-1]).any(axis=1)])
    first = order[starts]  # lexsort is stable: of equals the earliest comes first
    rank = np.empty(len(first), dtype=np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    which = np.empty(len(order), dtype=np.intp)
    which[order] = rank[np.cumsum(starts) - 1]
    return np.sort(first), which
