"""What lies where in the arena: slots, how many parked chunks each serves, which digest each holds. Pure.

A slot is free, held (parked chunks refer to it) or cached (none does, but its digest is known and its bytes are right:
a copy of what is on a device now). Cached ones are given up, the longest unused first, when room is needed. The bytes
of a slot with a known digest never change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hotseat.errors import NoRoom
from hotseat.store.digest import CHUNK

ZERO = -1
"""The slot of a chunk that is all zero."""

Slots = NDArray[np.int32]


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

    @property
    def copies(self) -> list[tuple[int, int]]:
        """(chunk, slot) of what must be copied, by chunk."""
        seen: set[int] = set()
        out = []
        for chunk, slot in enumerate(self.slots.tolist()):
            if slot in self.fresh and slot not in seen:
                seen.add(slot)
                out.append((chunk, slot))
        return out


class Book:
    """Of `size` slots of which the first `ready` may be used."""

    def __init__(self, size: int, *, ready: int | None = None) -> None:
        self.size = size
        self.ready = size if ready is None else ready
        self._refs: Counter[int] = Counter()
        self._digest: dict[int, bytes] = {}
        self._slot: dict[bytes, int] = {}
        self._cached: dict[int, None] = {}  # in order of their last use
        self._empty = np.ones(size, dtype=np.bool_)
        self.forgot = False
        """A digest was given up: until a record without it is written, its slot must keep its bytes."""

    @property
    def used(self) -> int:
        """Slots that are held."""
        return len(self._refs)

    @property
    def cached(self) -> int:
        return len(self._cached)

    def references(self, slot: int) -> int:
        return self._refs[slot]

    def plan(self, digests: list[bytes], zero: NDArray[np.bool_], *, before: Slots | None = None) -> Plan:
        """Takes slots for chunks. `before`: where the same chunks were the last time, to tell unchanged from shared.

        `NoRoom` if there are too few, with nothing taken; `.details["missing"]` is how many bytes.
        """
        slots = np.full(len(digests), ZERO, dtype=np.int32)
        missing: dict[bytes, list[int]] = {}
        known = unchanged = shared = 0
        for chunk, digest in enumerate(digests):
            if zero[chunk]:
                continue
            slot = self._slot.get(digest)
            if slot is None:
                missing.setdefault(digest, []).append(chunk)
                continue
            slots[chunk] = slot
            known += 1
            if before is not None and before[chunk] == slot:
                unchanged += 1
        shared = known - unchanged + sum(len(chunks) - 1 for chunks in missing.values())
        held = [int(slot) for slot in slots if slot != ZERO]
        self._hold(held)
        try:
            fresh = self._take(len(missing))
        except NoRoom:
            self._let_go(held)
            raise
        plan = Plan(slots, {}, int(zero.sum()), unchanged, shared)
        for slot, (digest, chunks) in zip(fresh, missing.items(), strict=True):
            plan.fresh[slot] = digest
            slots[chunks] = slot
            self._refs[slot] = len(chunks)
        return plan

    def commit(self, plan: Plan) -> None:
        """What was to be filled is. Chunks that another plan brought in the meantime are kept once."""
        for slot, digest in plan.fresh.items():
            twin = self._slot.get(digest)
            if twin is None:
                self._slot[digest] = slot
                self._digest[slot] = digest
            else:
                chunks = np.flatnonzero(plan.slots == slot)
                plan.slots[chunks] = twin
                self._hold([twin] * len(chunks))
                self._let_go([slot] * len(chunks))
        plan.fresh = {}

    def split(self, plan: Plan, chunks: Iterable[int]) -> None:
        """Gives these chunks, whose digest is known but whose bytes are not those of the slot, slots of their own that
        no later chunk will share. `NoRoom` as in `plan`."""
        for chunk in chunks:
            (slot,) = self._take(1)
            self._refs[slot] = 1
            self._let_go([int(plan.slots[chunk])])
            plan.slots[chunk] = slot

    def borrow(self, count: int) -> list[int]:
        """Up to `count` slots for the time of a comparison. `NoRoom` if there is none at all."""
        free = int(self._empty[: self.ready].sum()) + len(self._cached)
        return self.take(max(1, min(count, free)))

    def take(self, count: int) -> list[int]:
        """Slots to be filled, held once each. `NoRoom` as in `plan`."""
        slots = self._take(count)
        self._refs.update(slots)
        return slots

    def know(self, slot: int, digest: bytes) -> None:
        """A slot that was filled has bytes of this digest. Where another has them too, that one is found by it."""
        if digest not in self._slot:
            self._slot[digest], self._digest[slot] = slot, digest

    def slot_of(self, digest: bytes) -> int | None:
        """Which slot has bytes of this digest."""
        return self._slot.get(digest)

    def give_back(self, borrowed: Iterable[int]) -> None:
        self._let_go(list(borrowed))

    def cancel(self, plan: Plan) -> None:
        self.release(plan.slots)

    def release(self, slots: Slots) -> None:
        """Chunks that are no longer parked: slots that no other refers to become cached, or free if never filled."""
        self._let_go([int(slot) for slot in slots if slot > ZERO])

    def adopt(self, slots: Slots) -> None:
        """Holds slots as the record of an earlier process says, or while they are read."""
        self._hold([int(slot) for slot in slots if slot > ZERO])

    def remember(self, digests: dict[int, bytes]) -> None:
        """Slot -> digest, as the record of an earlier process says; before any `adopt`."""
        for slot, digest in digests.items():
            self._digest[slot], self._slot[digest] = digest, slot
            self._empty[slot] = False
            self._cached[slot] = None

    def digests(self) -> dict[int, bytes]:
        return dict(self._digest)

    def _hold(self, slots: list[int]) -> None:
        for slot in slots:
            self._refs[slot] += 1
            self._empty[slot] = False
            self._cached.pop(slot, None)

    def _let_go(self, slots: list[int]) -> None:
        for slot in slots:
            self._refs[slot] -= 1
            if self._refs[slot]:
                continue
            del self._refs[slot]
            if slot in self._digest:
                self._cached[slot] = None
            else:
                self._empty[slot] = True

    def _take(self, count: int) -> list[int]:
        """Empty slots in ascending order, so that neighbours are copied with one call; cached ones are given up."""
        empty = int(self._empty[: self.ready].sum())
        short = count - empty
        if short > 0:
            given = [slot for slot in self._cached if slot < self.ready][:short]
            if len(given) < short:
                raise NoRoom(
                    f"the arena lacks {(short - len(given)) * CHUNK >> 20} MiB of {count * CHUNK >> 20} MiB",
                    rule="host memory",
                    hint="spill or end a workload that is parked, or give the store a larger arena (--arena)",
                    missing=(short - len(given)) * CHUNK,
                )
            self.forgot |= bool(given)
            for slot in given:
                del self._cached[slot], self._slot[self._digest.pop(slot)]
                self._empty[slot] = True
        taken = np.flatnonzero(self._empty[: self.ready])[:count]
        self._empty[taken] = False
        return [int(slot) for slot in taken]
