"""Slots, digests and references, driven at random against a model that keeps bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from hotseat.errors import NoRoom
from hotseat.store.book import ZERO, Book, Digests, Plan, Slots, packed
from hotseat.store.digest import CHUNK
from hotseat.store.runs import Run, batches, runs

SIZE = 8
BASE = 1 << 32
contents = st.lists(st.integers(0, 6), min_size=1, max_size=6)


def digest(content: int) -> bytes:
    """5 and 6 differ in the second word only."""
    return min(content, 5).to_bytes(8, "little") + content.to_bytes(8, "little")


def digests(chunks: list[int]) -> Digests:
    return np.frombuffer(b"".join(digest(one) for one in chunks), dtype=np.uint64).reshape(-1, 2)


def plan(book: Book, chunks: list[int], *, before: Slots | None = None) -> Plan:
    return book.plan(digests(chunks), np.array([one == 0 for one in chunks]), before=before)


def copies(made: Plan) -> list[tuple[int, int]]:
    chunks, slots = made.copies()
    return list(zip(chunks.tolist(), slots.tolist(), strict=True))


def known(book: Book) -> dict[int, bytes]:
    slots, found = book.digests()
    return dict(zip(slots.tolist(), packed(found), strict=True))


class Arena(RuleBasedStateMachine):
    """Contents are small numbers, 0 is zero; `bytes` is what each slot would hold."""

    planned = Bundle("planned")
    parked = Bundle("parked")

    def __init__(self) -> None:
        super().__init__()
        self.book = Book(SIZE)
        self.bytes: dict[int, int] = {}
        self.live: list[tuple[Plan, list[int], bool]] = []
        self.once: list[Slots] = []

    @rule(target=planned, chunks=contents)
    def reserve(self, chunks: list[int]) -> object:
        before = self.book.used
        wanted = {one for one in chunks if one}
        try:
            made = plan(self.book, chunks, before=self.before(len(chunks)))
        except NoRoom as error:
            missing = error.details["missing"]
            if missing <= 0 or missing % CHUNK or self.book.used != before or self.book.used + len(wanted) <= SIZE:
                raise AssertionError(f"{missing} bytes missing with {self.book.used} slots used") from error
            return multiple()
        assert made.zero == chunks.count(0)
        assert len(copies(made)) + made.zero + made.shared + made.unchanged == len(chunks)
        for chunk, slot in copies(made):
            self.bytes[slot] = chunks[chunk]
        self.live.append((made, chunks, False))
        return made

    @rule(target=parked, made=consumes(planned))
    def commit(self, made: Plan) -> object:
        chunks = self.chunks(made)
        self.book.commit(made)
        self.live.append((made, chunks, True))
        self.once.append(made.slots)
        return made

    @rule(made=consumes(planned))
    def cancel(self, made: Plan) -> None:
        self.chunks(made)
        self.book.cancel(made)

    @rule(made=consumes(parked))
    def release(self, made: Plan) -> None:
        self.chunks(made)
        self.book.release(made.slots)

    @rule()
    def succeed(self) -> None:
        """A new worker reads what the one before wrote."""
        parked = [(one, chunks) for one, chunks, done in self.live if done]
        book = Book(SIZE)
        book.remember(*self.book.digests())
        for one, _ in parked:
            book.adopt(one.slots)
        held = {int(slot) for one, _ in parked for slot in one.slots if slot != ZERO}
        assert book.used == len(held)
        assert book.used + book.cached == len(held | set(known(self.book)))
        assert known(book) == known(self.book)

    def before(self, count: int) -> Slots | None:
        """Where as many chunks were that were parked some time, and may not be any more."""
        old = [slots for slots in self.once if len(slots) == count]
        return old[-1] if old else None

    def chunks(self, made: Plan) -> list[int]:
        index = next(i for i, (one, _, _) in enumerate(self.live) if one is made)
        return self.live.pop(index)[1]

    @invariant()
    def every_parked_chunk_has_its_bytes(self) -> None:
        for made, chunks, _ in self.live:
            for content, slot in zip(chunks, made.slots.tolist(), strict=True):
                assert (slot == ZERO) == (content == 0)
                assert content == 0 or self.bytes[slot] == content

    @invariant()
    def references_are_what_refers(self) -> None:
        slots = [slot for made, _, _ in self.live for slot in made.slots.tolist() if slot != ZERO]
        assert self.book.used == len(set(slots))
        assert all(self.book.references(slot) == slots.count(slot) for slot in slots)
        assert self.book.used + self.book.cached <= SIZE

    @invariant()
    def what_is_cached_is_right(self) -> None:
        for slot, found in known(self.book).items():
            assert digest(self.bytes[slot]) == found == self.book.digest_of(slot)
            twin = self.book.slot_of(found)
            assert twin == slot or (found >= digest(5) and (twin is None or known(self.book)[twin] == found))


TestArena = Arena.TestCase


def test_a_released_chunk_is_found_again_and_given_up_when_room_is_needed() -> None:
    book = Book(2)
    first = plan(book, [1, 2])
    book.commit(first)
    book.release(first.slots)
    assert (book.used, book.cached) == (0, 2)
    again = plan(book, [1], before=first.slots[:1])
    assert (again.unchanged, copies(again), again.slots.tolist()) == (1, [], first.slots[:1].tolist())
    other = plan(book, [3])
    assert (len(copies(other)), book.used, book.cached) == (1, 2, 0)


def test_no_room_says_what_is_missing_and_takes_nothing() -> None:
    book = Book(4, ready=2)
    with pytest.raises(NoRoom, match="lacks 2 MiB of 6 MiB") as caught:
        plan(book, [1, 2, 3])
    assert caught.value.details["missing"] == CHUNK
    assert (book.used, book.cached) == (0, 0)


def test_chunks_that_only_seem_equal_get_slots_of_their_own() -> None:
    book = Book(3)
    made = plan(book, [1, 1])
    book.split(made, [1])
    book.commit(made)
    assert made.slots[0] != made.slots[1]
    book.release(made.slots)
    assert (book.used, book.cached) == (0, 1)


def test_what_two_bring_at_once_is_one_unless_the_bytes_differ() -> None:
    book = Book(4)
    one, same, other = plan(book, [1]), plan(book, [1]), plan(book, [1])
    for made, equal in ((one, False), (same, True), (other, False)):
        book.commit(made, equal=lambda slot, twin, equal=equal: equal)
    assert same.slots.tolist() == one.slots.tolist()
    assert other.slots.tolist() != one.slots.tolist()
    assert known(book) == {int(one.slots[0]): digest(1)}
    for made in (one, same, other):
        book.release(made.slots)
    assert (book.used, book.cached) == (0, 1)


def test_a_plan_of_which_some_is_filled_goes_on_with_the_rest() -> None:
    book = Book(4)
    made = plan(book, [1, 2, 1, 0, 3])
    first, second, third = made.fresh.tolist()
    book.commit(made, filled=np.array([True, False, True]))
    assert known(book) == {first: digest(1), third: digest(3)}
    assert copies(made) == [(1, second)]
    assert copies(plan(book, [3, 1])) == []
    book.commit(made)
    assert known(book) == {first: digest(1), second: digest(2), third: digest(3)}
    assert copies(made) == []


def runs_of(pairs: list[tuple[int, int]], *, edge: int) -> list[Run]:
    """(chunk, slot); chunk 0 lies at `BASE`."""
    addresses = np.array([BASE + chunk * CHUNK for chunk, _ in pairs], dtype=np.uint64)
    return runs(addresses, np.array([slot for _, slot in pairs], dtype=np.int32), edge=edge)


@given(st.lists(st.tuples(st.booleans(), st.integers(-1, 9)), max_size=40), st.integers(1, 5))
def test_runs_cover_every_chunk_once_with_its_slot(steps: list[tuple[bool, int]], room: int) -> None:
    pairs = [(chunk, slot) for chunk, (there, slot) in enumerate(steps) if there]
    made = list(batches(runs_of(pairs, edge=4), chunks=room))
    assert all(sum(run.length for run in batch) <= room for batch in made)
    flat = [
        ((run.at - BASE) // CHUNK + at, run.slot + at if run.slot >= 0 else -1)
        for batch in made
        for run in batch
        for at in range(run.length)
    ]
    assert flat == pairs
    assert all(run.slot // 4 == (run.slot + run.length - 1) // 4 for run in runs_of(pairs, edge=4) if run.slot >= 0)


def test_neighbours_are_one_run() -> None:
    made = runs_of([(0, 4), (1, 5), (2, -1), (3, -1), (5, 6)], edge=8)
    assert made == [Run(BASE, 4, 2), Run(BASE + 2 * CHUNK, -1, 2), Run(BASE + 5 * CHUNK, 6, 1)]


def test_slots_that_are_not_ready_yet_are_not_lent_though_their_bytes_are_known() -> None:
    """After a start with the record of an earlier process: its slots are populated one after another."""
    book = Book(4, ready=1)
    digests = np.arange(4, dtype=np.uint64).reshape(2, 2)
    book.remember(np.array([2, 3], dtype=np.int32), digests)
    assert book.borrow(3) == [0]
