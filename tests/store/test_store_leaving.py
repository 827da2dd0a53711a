"""Memory that leaves its device piece by piece, because somebody waits for it; what fails meanwhile loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from agent import pattern
from hypothesis import given
from hypothesis import strategies as st
from store_bench import WITHIN, Bench, Workload, short

from hotseat.emulator.faults import Fault, FaultKind
from hotseat.emulator.node import EmulatedNode
from hotseat.errors import Busy, DriverFailed, DriverTimeout, NoRoom, Unavailable
from hotseat.store.book import ZERO
from hotseat.store.copied import Copied
from hotseat.store.port import HeldState
from hotseat.store.shortage import Shortage
from hotseat.store.tenant import Piece
from hotseat.store.wire import GRANULE, Block

STEPS = ("take", "move_out", "move_in", "give")
UUID = bytes(16)


def arm(tmp_path: Path) -> None:
    (tmp_path / "now").touch()


class Half:
    """A process of ten blocks on its way out, of which some have left; the copies of the rest hang."""

    def __init__(
        self, bench: Bench, one: Workload, *, before: object, full: int, worker: int, hang: int, deadline: float
    ) -> None:
        self.bench, self.one, self.before, self.full = bench, one, before, full
        self._worker, self._hang = worker, hang
        self.out = asyncio.ensure_future(bench.client.move_out([one.ref], deadline=deadline))

    async def go(self, *steps: str) -> None:
        for step in steps:
            await getattr(self.bench.client, step)([self.one.ref], deadline=WITHIN)

    def go_on(self) -> None:
        self.bench.node.clear_fault(self._hang)

    async def fails(self) -> None:
        """The copy that hangs, and with it the move out."""
        fault = Fault(kind=FaultKind.RESULT, op="cuMemcpyDtoHAsync_v2", pid=self._worker, value=719)
        index = self.bench.node.set_fault(fault)
        self.go_on()
        with pytest.raises(DriverFailed):
            await self.out
        self.bench.node.clear_fault(index)

    async def runs_as_before(self) -> None:
        """And comes and goes as ever."""
        for again in (STEPS, ()):
            assert await self.one.ask("read") == self.before
            assert self.bench.device_bytes() == self.full
            assert (await self.bench.client.status(deadline=WITHIN)).used == 0
            await self.go(*again)


@asynccontextmanager
async def half(
    node: EmulatedNode,
    tmp_path: Path,
    *,
    deadline: float = WITHIN,
    sudden: str = "",
    armed: bool = False,
    skip: int = 3,
    first: Callable[[Bench, Workload], Awaitable[None]] | None = None,
    waits: Callable[[Bench], Awaitable[None]] | None = None,
) -> AsyncIterator[Half]:
    """`sudden`: where the worker ends, once that is `armed`. `skip`: copies that do not hang. `first`: what happens
    before it leaves. `waits`: who begins to, else nobody in particular."""
    flag, environ = short(tmp_path, sudden=sudden)
    if waits is None:
        flag.touch()
    async with Bench(node, tmp_path / "store", environ=environ) as bench:
        one = await bench.start()
        # Five times two, each with something to copy; some are zero, some equal, to others of their own or of the rest.
        for ident, seed in enumerate((100, 0, 101, 100, 101, 102, 103, 103, 104, 0), 1):
            await one.ask("alloc", ident, 1, seed)
        if first is not None:
            await first(bench, one)
        if waits is not None:
            await waits(bench)
        before, full = await one.ask("read"), bench.device_bytes()
        await bench.client.take([one.ref], deadline=WITHIN)
        worker = (await bench.client.status(deadline=WITHIN)).worker
        fault = Fault(kind=FaultKind.HANG, op="cuMemcpyDtoHAsync_v2", pid=worker, skip=skip, times=None)
        hang = node.set_fault(fault)
        if armed:
            arm(tmp_path)
        way = Half(bench, one, before=before, full=full, worker=worker, hang=hang, deadline=deadline)
        if waits is None and not armed:
            await bench.until(lambda _: bench.device_bytes() < full)
        try:
            yield way
        finally:
            await asyncio.gather(way.out, return_exceptions=True)


@given(data=st.data())
def test_nothing_may_go_before_all_its_bytes_are_there(data: st.DataObject) -> None:
    """Windows are copied in any order; equal chunks share the slot that the first of them fills."""
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=6), label="chunks of each window")
    slots = np.array(data.draw(st.lists(st.integers(ZERO, 5), min_size=sum(sizes), max_size=sum(sizes))), np.int32)
    fresh = data.draw(st.frozensets(st.integers(0, 5)), label="the rest the arena has already")
    fills = [slot in fresh and slot not in slots[:at].tolist() for at, slot in enumerate(slots.tolist())]
    windows = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    shortage, told, gone, there = Shortage(), list[None](), list[int](), set(slots.tolist()) - fresh
    copied = Copied(
        slots=slots, copies=slots[fills], pieces=len(sizes), shortage=shortage, tell=lambda: told.append(None)
    )
    order = data.draw(st.permutations(range(len(sizes))), label="order of the windows")
    waits_from = data.draw(st.integers(0, len(order)), label="windows until somebody waits")
    elsewhere = data.draw(st.sets(st.sampled_from(order)), label="windows on a device for which nobody does")
    with contextlib.ExitStack() as waiting:
        for at, one in enumerate(order):
            if at == waits_from:
                waiting.enter_context(shortage.waiting(UUID))
            mine = [chunk for chunk in windows[one].tolist() if fills[chunk]]
            uuid = bytes(range(16)) if one in elsewhere else UUID
            copied.done([Piece(Block(one, 0, sizes[one] * GRANULE, uuid, True))], windows[one], slots[mine])
            there |= set(slots[mine].tolist())
            whole = [w for w in order[: at + 1] if set(slots[windows[w]].tolist()) <= there | {ZERO}]
            due = [w for w in whole if w not in gone and w not in elsewhere]
            if at < waits_from or at == len(order) - 1:
                due = []
            assert bool(told) == bool(due)
            assert sorted(piece.block.id for piece in copied.take()) == sorted(due)
            assert copied.filled(np.array(sorted(there - {ZERO}), np.int32)).all()
            told.clear()
            gone += due
    assert not copied.take()


@pytest.mark.emulated
async def test_what_is_copied_is_the_devices_while_the_rest_is_still_to_be(node: EmulatedNode, tmp_path: Path) -> None:
    async with half(node, tmp_path) as way:
        held = await way.bench.held(way.one)
        assert (held.state, held.bytes) == (HeldState.YIELDED, 10 * GRANULE)
        assert GRANULE <= held.parked_bytes <= 3 * GRANULE
        assert held.left_bytes == {node.uuids()[0]: way.full - way.bench.device_bytes()}
        way.go_on()
        moved = await way.out
        assert (moved.copied, moved.zero, moved.shared) == (5 * GRANULE, 2 * GRANULE, 3 * GRANULE)
        assert way.bench.device_bytes() == way.full - 10 * GRANULE
        assert (await way.bench.client.status(deadline=WITHIN)).used == 5 * GRANULE
        await way.go("move_in", "give")
        await way.runs_as_before()


@pytest.mark.emulated
async def test_what_needs_no_copy_leaves_before_all_else(node: EmulatedNode, tmp_path: Path) -> None:
    async def first(bench: Bench, one: Workload) -> None:
        for step in STEPS:
            await getattr(bench.client, step)([one.ref], deadline=WITHIN)
        await one.ask("write", 5, 0, 500)

    async with half(node, tmp_path, skip=0, first=first) as way:
        await way.bench.until(lambda _: way.bench.device_bytes() == way.full - 8 * GRANULE)
        way.go_on()
        assert (await way.out).copied == GRANULE
        await way.go("move_in", "give")
        await way.runs_as_before()


@pytest.mark.emulated
@pytest.mark.parametrize(
    ("then", "dies"),
    [("give", False), ("move_in give", True), ("move_out move_in give", False), ("take move_out move_in give", True)],
)
async def test_a_copy_that_fails_once_some_has_left_loses_nothing(
    node: EmulatedNode, tmp_path: Path, then: str, dies: bool
) -> None:
    async with half(node, tmp_path) as way:
        await way.fails()
        if dies:
            await way.bench.kill_worker()
            await way.bench.connected(way.one)
        assert await way.bench.state(way.one) is HeldState.YIELDED
        assert way.bench.device_bytes() < way.full
        await way.go(*then.split())
        await way.runs_as_before()


@pytest.mark.emulated
async def test_past_its_deadline_the_copy_stops_and_what_has_left_comes_back(
    node: EmulatedNode, tmp_path: Path
) -> None:
    async with half(node, tmp_path, deadline=2.0) as way:
        with pytest.raises(DriverTimeout, match="goes on"):
            await way.out
        way.go_on()
        async with asyncio.timeout(WITHIN):
            while True:
                try:
                    await way.go("give")  # which one that is out would refuse
                    break
                except Busy:
                    await asyncio.sleep(0.01)
        cached = (await way.bench.client.status(deadline=WITHIN)).cached
        assert cached >= 2 * GRANULE, "what was copied need not be copied again"
        await way.runs_as_before()


@pytest.mark.emulated
async def test_where_others_took_the_room_it_waits_as_it_is(node: EmulatedNode, tmp_path: Path) -> None:
    async with half(node, tmp_path) as way:
        await way.fails()
        other, free = await way.bench.start(), 64 * GRANULE - way.bench.device_bytes()
        await other.ask("alloc", 1, free // GRANULE - 1, 0)
        with pytest.raises(NoRoom, match="has no room"):
            await way.go("give")
        assert await way.bench.state(way.one) is HeldState.YIELDED
        await other.kill()
        await way.bench.until(lambda _: way.bench.device_bytes() < way.full)
        await way.go("give")
        await way.runs_as_before()


@pytest.mark.emulated
@pytest.mark.parametrize(("end", "dies"), [("kill", True), ("forget", False), ("forget", True)])
async def test_one_of_which_some_has_left_can_end(node: EmulatedNode, tmp_path: Path, end: str, dies: bool) -> None:
    async with half(node, tmp_path) as way:
        await way.fails()
        if dies:
            await way.bench.kill_worker()
            await way.bench.connected(way.one)
        if end == "kill":
            await way.one.kill()
            await way.bench.until(lambda status: way.one.ref not in status.processes and status.used == 0)
        else:
            await way.bench.client.forget(way.one.ref, deadline=WITHIN)
            await way.bench.connected(way.one)
            assert await way.bench.state(way.one) is HeldState.LOST
            assert (await way.bench.client.status(deadline=WITHIN)).used == 0
        await way.bench.until(lambda _: way.bench.device_bytes() <= way.full - 10 * GRANULE)


@pytest.mark.emulated
@pytest.mark.parametrize("place", ["hotseat.store.keeping:Keeping.drop:1", "hotseat.store.record:RecordFiles.write:1"])
async def test_a_worker_killed_while_it_forgets_one_lets_it_run_whole_or_not_at_all(
    node: EmulatedNode, tmp_path: Path, place: str
) -> None:
    async with half(node, tmp_path, sudden=place) as way:
        await way.fails()
        arm(tmp_path)
        with contextlib.suppress(Unavailable):
            await way.bench.client.forget(way.one.ref, deadline=WITHIN)
        await way.bench.next_worker()
        await way.bench.connected(way.one)
        held = await way.bench.held(way.one)
        if held.state is HeldState.LOST:
            assert "a part of its memory is gone" in held.note
        else:
            await way.go("give")
            await way.runs_as_before()


@pytest.mark.emulated
@pytest.mark.parametrize(
    ("place", "late"),
    [
        ("hotseat.store.record:RecordFiles.write:1", False),
        ("hotseat.store.holdings:Holdings.drop_pieces:1", False),
        ("hotseat.store.keeping:Keeping.drop:1", False),
        ("hotseat.store.record:_write:2", True),
        ("hotseat.store.keeping:Keeping.drop:1", True),
    ],
)
async def test_a_worker_killed_while_pieces_leave_loses_nothing(
    node: EmulatedNode, tmp_path: Path, place: str, late: bool
) -> None:
    """`late`: some has left, and the rest is just copied."""
    async with half(node, tmp_path, sudden=place, armed=not late) as way:
        if late:
            arm(tmp_path)
            way.go_on()
        await way.bench.next_worker()
        with pytest.raises(Unavailable):
            await way.out
        await way.bench.connected(way.one)
        assert await way.bench.state(way.one) in (HeldState.YIELDED, HeldState.OUT)
        await way.go("move_in", "give")
        await way.runs_as_before()


@pytest.mark.emulated
@pytest.mark.parametrize(
    "place",
    [
        "hotseat.store.keeping:Keeping.put:1",
        "hotseat.store.record:RecordFiles.write:1",
        "hotseat.store.holdings:Holdings.let_go:1",
        "hotseat.store.agents:Agent.send:1",
    ],
)
async def test_a_worker_killed_while_they_come_back_loses_nothing(
    node: EmulatedNode, tmp_path: Path, place: str
) -> None:
    async with half(node, tmp_path, sudden=place) as way:
        await way.fails()
        arm(tmp_path)
        with contextlib.suppress(Unavailable):
            await way.go("give")
        await way.bench.next_worker()
        await way.bench.connected(way.one)
        await way.go("give")
        await way.runs_as_before()


@pytest.mark.emulated
async def test_who_comes_ahead_gets_what_another_leaves_and_gives_it_back_if_that_one_stays(
    node: EmulatedNode, tmp_path: Path
) -> None:
    waiting: list[Workload] = []

    async def waits(bench: Bench) -> None:
        waiting.append(other := await bench.start())
        for ident in range(6):
            await other.ask("alloc", ident, 1, 200 + ident)
        for step in STEPS[:2]:
            await getattr(bench.client, step)([other.ref], deadline=WITHIN)
        crowd = await bench.start(plain=True)
        await crowd.ask("alloc", 1, (64 * GRANULE - bench.device_bytes()) // GRANULE, 0)
        await bench.client.ahead([other.ref], deadline=WITHIN)

    async with half(node, tmp_path, waits=waits) as way:
        (other,) = waiting
        await way.bench.until(lambda status: bool(status.processes[other.ref].ahead_bytes))
        await way.fails()
        await way.go("give")
        assert await way.one.ask("read") == way.before
        assert (await way.bench.held(other)).ahead_bytes == {}
        await way.bench.client.ahead([other.ref], deadline=WITHIN)
        await way.go("take", "move_out")
        for step in STEPS[2:]:
            await getattr(way.bench.client, step)([other.ref], deadline=WITHIN)
        contents = await other.ask("read")
        await other.kill()
        await way.bench.until(lambda status: other.ref not in status.processes)
        await way.go("move_in", "give")
        assert await way.one.ask("read") == way.before
        assert contents == {str(ident): hashlib.sha256(pattern(200 + ident)).hexdigest() for ident in range(6)}
