"""Whom the scheduler has written to disk, where the store's arena is short, rather than stop him."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hotseat.scheduler import Decision, DeviceRoom, HostRoom, Kind, Snapshot, WorkloadView, decide
from hotseat.words import State

NOW = 100.0


def table(*views: WorkloadView, arena: int, size: int = 10, host: int | None = None) -> Snapshot:
    return Snapshot(
        devices=(DeviceRoom(index=0, size=size),),
        workloads=views,
        host=None if host is None else HostRoom(budget=host),
        arena=HostRoom(budget=arena),
    )


def seated(name: str, nbytes: int, **fields: Any) -> WorkloadView:
    return WorkloadView(
        name=name, state=State.SEATED, holds={0: nbytes}, need={0: nbytes}, **{"arena_bytes": nbytes, **fields}
    )


def parked(name: str, nbytes: int, *, since: float | None = None, **fields: Any) -> WorkloadView:
    given = {"arena_bytes": nbytes, "storable": True, "state": State.PARKED, **fields}
    return WorkloadView(name=name, need={0: nbytes}, demand_since=since, **given)


def begun(decision: Decision) -> Sequence[tuple[str, str]]:
    return [(action.kind.value, action.workload) for action in decision.actions]


def test_where_the_arena_is_short_another_goes_to_disk_first() -> None:
    views = [seated("a", 8), parked("b", 8, since=NOW), parked("c", 8)]
    assert begun(decide(NOW, table(*views, arena=16))) == [("store", "c")]
    # While that is under way nothing more is begun; then the seat is given.
    views[2] = parked("c", 8, storing=True)
    assert begun(decide(NOW, table(*views, arena=16))) == []
    views[2] = parked("c", 0, state=State.STORED)
    assert begun(decide(NOW, table(*views, arena=16))) == [("swap out", "a")]


def test_it_is_stored_though_it_could_be_stopped() -> None:
    views = (seated("a", 8, can_start=True), parked("b", 8, since=NOW), parked("c", 8, can_start=True))
    assert begun(decide(NOW, table(*views, arena=16))) == [("store", "c")]


def test_who_cannot_be_stored_is_stopped() -> None:
    target = parked("b", 8, since=NOW, storable=False)
    views = (seated("a", 8), target, parked("c", 8, can_start=True, storable=False))
    assert begun(decide(NOW, table(*views, arena=16))) == [("stop", "c")]


def test_what_is_there_is_said_where_nobody_can_go() -> None:
    views = (seated("a", 8), parked("b", 8, since=NOW, storable=False), parked("c", 8, storable=False))
    decision = decide(NOW, table(*views, arena=16))
    assert decision.actions == ()
    assert "the store's arena for parked workloads has 0 B left" in decision.blocked["b"].reason


def test_a_demand_for_a_stored_one_brings_it_back() -> None:
    assert begun(decide(NOW, table(parked("a", 0, since=NOW, state=State.STORED), arena=0))) == [("swap in", "a")]


def test_on_its_way_to_disk_it_is_not_asked_for_anything_else() -> None:
    assert begun(decide(NOW, table(parked("a", 8, since=NOW, storing=True), arena=16))) == []


def test_with_room_in_the_arena_nobody_is_stored() -> None:
    views = (seated("a", 8), parked("b", 8, since=NOW), parked("c", 8))
    assert begun(decide(NOW, table(*views, arena=24))) == [("swap out", "a")]


def test_the_least_wanted_goes_then_the_cheapest() -> None:
    often, rarely = parked("c", 8, rate=0.5, last_used=1), parked("d", 8, rate=0.0001, last_used=90)
    views = (seated("a", 8), parked("b", 8, since=NOW), often, rarely)
    assert begun(decide(NOW, table(*views, arena=24))) == [("store", "d")]
    dear = parked("d", 8, rate=0.5, store_seconds=9.0, return_seconds=40.0)
    cheap = parked("c", 8, rate=0.5, store_seconds=1.0, return_seconds=4.0)
    assert begun(decide(NOW, table(seated("a", 8), parked("b", 8, since=NOW), dear, cheap, arena=24))) == [
        ("store", "c")
    ]


def test_the_less_important_goes_first() -> None:
    high, low = parked("c", 8, rate=0.01, priority=50), parked("d", 8, rate=0.01, priority=1)
    assert begun(decide(NOW, table(seated("a", 8), parked("b", 8, since=NOW), high, low, arena=24))) == [("store", "d")]


def test_who_is_wanted_or_has_a_hint_goes_after_all_others() -> None:
    views = [seated("a", 8), parked("b", 8, since=NOW, busy=True), parked("c", 8, warm_until=NOW + 5)]
    assert begun(decide(NOW, table(*views, parked("e", 8), arena=24))) == [("store", "e")]
    assert begun(decide(NOW, table(*views, arena=16))) == [("store", "c")]


def test_in_an_arena_that_holds_one_the_two_go_by_the_disk() -> None:
    views = [seated("a", 8, can_start=True), parked("b", 8, since=NOW, busy=True)]
    assert begun(decide(NOW, table(*views, arena=8))) == [("store", "b")]
    views[1] = parked("b", 8, since=NOW, busy=True, state=State.STORED, arena_bytes=0)
    assert begun(decide(NOW, table(*views, arena=8))) == [("swap out", "a")]


def test_no_more_is_stored_than_is_needed() -> None:
    views = (seated("a", 8), parked("b", 8, since=NOW), parked("c", 2, last_used=1), parked("d", 8, last_used=2))
    assert begun(decide(NOW, table(*views, arena=18))) == [("store", "d")]


def test_a_hint_has_nobody_stored() -> None:
    views = (seated("a", 8), parked("b", 8, warm_until=NOW + 60), parked("c", 8))
    assert begun(decide(NOW, table(*views, arena=16))) == []


def test_a_hint_brings_a_stored_one_in_and_demand_has_that_seat_at_once() -> None:
    hinted = parked("b", 8, state=State.STORED, arena_bytes=0, warm_until=NOW + 60)
    assert begun(decide(NOW, table(hinted, arena=16))) == [("swap in", "b")]
    ahead = seated("b", 8, warm_until=NOW + 60, seated_since=NOW, min_stay=30.0)
    assert begun(decide(NOW, table(ahead, parked("c", 8, since=NOW, busy=True), arena=16))) == [("swap out", "b")]


def test_ordinary_memory_and_the_arena_are_two_rooms() -> None:
    mixed = seated("a", 8, arena_bytes=6, host_bytes=2, can_start=True)
    assert begun(decide(NOW, table(mixed, parked("b", 8, since=NOW), arena=14, host=2))) == [("swap out", "a")]
    assert begun(decide(NOW, table(mixed, parked("b", 8, since=NOW), arena=14, host=1))) == [("stop", "a")]
    assert begun(decide(NOW, table(mixed, parked("b", 8, since=NOW), parked("c", 4), arena=14, host=2))) == [
        ("store", "c")
    ]


class Node(RuleBasedStateMachine):
    """A device, an arena that holds what sits there together and so leaves together, a disk: decisions are obeyed, jobs
    end at will."""

    @initialize(
        sizes=st.lists(st.integers(1, 8), min_size=2, max_size=5), arena=st.integers(10, 20), start=st.booleans()
    )
    def begin(self, sizes: list[int], arena: int, start: bool) -> None:
        self.now, self.arena, self.can_start = NOW, arena, start
        self.size = dict(enumerate(sizes))
        self.state = dict.fromkeys(self.size, State.STORED)
        self.since: dict[int, float] = {}
        self.job: dict[int, Kind] = {}
        self.decide()

    def view(self, one: int) -> WorkloadView:
        state, kind, nbytes = self.state[one], self.job.get(one), self.size[one]
        if kind in (Kind.SWAP_IN, Kind.START):
            state = State.SWAPPING_IN
        elif kind in (Kind.SWAP_OUT, Kind.STOP):
            state = State.SWAPPING_OUT
        was = self.state[one]
        in_arena = nbytes if was is State.PARKED or (was is State.SEATED and kind is not Kind.STOP) else 0
        return WorkloadView(
            name=str(one),
            state=state,
            holds={0: nbytes} if was is State.SEATED else {},
            need={0: nbytes},
            demand_since=self.since.get(one),
            busy=one in self.since,
            can_start=self.can_start,
            arena_bytes=in_arena,
            storable=was is State.PARKED and kind is None,
            storing=kind is Kind.STORE,
            stopping=kind is Kind.STOP,
        )

    def decide(self) -> None:
        decision = decide(self.now, table(*map(self.view, self.size), arena=self.arena, size=10))
        for action in decision.actions:
            one = int(action.workload)
            assert one not in self.job
            if action.kind is Kind.STORE:
                assert self.state[one] is State.PARKED
            self.job[one] = action.kind

    @rule(which=st.integers(0, 4))
    def ask(self, which: int) -> None:
        one = which % len(self.size)
        if self.state[one] is not State.SEATED:
            self.since.setdefault(one, self.now)
            self.decide()

    @precondition(lambda self: self.job)
    @rule(which=st.integers(0, 4))
    def end(self, which: int) -> None:
        one = list(self.job)[which % len(self.job)]
        ends = {
            Kind.SWAP_IN: State.SEATED,
            Kind.START: State.SEATED,
            Kind.SWAP_OUT: State.PARKED,
            Kind.STOP: State.STOPPED,
            Kind.STORE: State.STORED,
        }
        self.state[one] = ends[self.job.pop(one)]
        if self.state[one] is State.SEATED:
            self.since.pop(one, None)
        self.now += 1
        self.decide()

    @invariant()
    def nothing_holds_more_than_there_is(self) -> None:
        if not hasattr(self, "size"):
            return
        on = sum(n for one, n in self.size.items() if self.state[one] is State.SEATED or self.coming(one))
        assert on <= 10
        out = sum(n for one, n in self.size.items() if self.state[one] is State.PARKED or self.going(one))
        assert out <= self.arena

    def coming(self, one: int) -> bool:
        return self.job.get(one) in (Kind.SWAP_IN, Kind.START)

    def going(self, one: int) -> bool:
        return self.job.get(one) is Kind.SWAP_OUT

    def teardown(self) -> None:
        """Whoever waits is served in the end: storing others is always a way."""
        for _ in range(200):
            if not getattr(self, "since", None):
                return
            if self.job:
                self.end(0)
            else:
                self.now += 1
                self.decide()
                assert self.job, "somebody waits, and nothing is done for him"
        raise AssertionError("somebody waits for ever")


TestNode = Node.TestCase
TestNode.settings = settings(max_examples=60, stateful_step_count=30)


@given(st.permutations(["c", "d", "e"]), st.integers(0, 24))
def test_the_order_of_the_table_does_not_matter(order: list[str], arena: int) -> None:
    views = {name: parked(name, nbytes, rate=0.01 * nbytes) for name, nbytes in (("c", 3), ("d", 5), ("e", 7))}
    first = (seated("a", 8), parked("b", 8, since=NOW))
    shuffled = table(*first, *(views[name] for name in order), arena=arena)
    straight = table(*first, *views.values(), arena=arena)
    assert begun(decide(NOW, shuffled)) == begun(decide(NOW, straight))


def test_who_comes_in_does_not_go_to_disk_in_the_same_decision() -> None:
    """One of the two would be dropped, and its place found again in the next one."""
    views = [
        seated("a", 7),
        parked("b", 10, since=NOW - 44),
        parked("d", 8, since=NOW - 32, state=State.STORED, arena_bytes=0),
    ]
    assert begun(decide(NOW, table(*views, arena=10, size=18))) == [("swap in", "b")]


@pytest.mark.parametrize(
    "wanted", [{"preload": True}, {"warm_until": NOW + 9}, {"prefetch": True, "rate": 1.0, "in_seconds": 1.0}]
)
def test_who_goes_to_disk_does_not_come_in_unasked_by_the_same_decision(wanted: Any) -> None:
    """On a device that has room for it."""
    third = WorkloadView(name="c", state=State.PARKED, need={1: 8}, arena_bytes=8, storable=True, **wanted)
    snapshot = Snapshot(
        devices=tuple(DeviceRoom(index=index, size=10) for index in (0, 1)),
        workloads=(seated("a", 8), parked("b", 8, since=NOW, storable=False), third),
        arena=HostRoom(budget=16),
    )
    assert begun(decide(NOW, snapshot)) == [("store", "c")]


def test_who_goes_to_disk_keeps_its_context_in_the_same_decision() -> None:
    """Also where more sits than the cap of its device allows."""
    third = parked("c", 8, holds={1: 3}, context={1: 3})
    pinned = WorkloadView(name="d", state=State.SEATED, holds={1: 5}, need={1: 5}, pinned=True)
    snapshot = Snapshot(
        devices=(DeviceRoom(index=0, size=10), DeviceRoom(index=1, size=6)),
        workloads=(seated("a", 8), parked("b", 8, since=NOW, storable=False), third, pinned),
        host=HostRoom(budget=100),
        arena=HostRoom(budget=16),
    )
    assert begun(decide(NOW, snapshot)) == [("store", "c")]


SIZES = st.integers(0, 12)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    views, room = [], 20
    for number in range(draw(st.integers(2, 5))):
        state = draw(st.sampled_from([State.SEATED, State.PARKED, State.PARKED, State.STORED]))
        context, blocks, arena = draw(st.integers(0, 3)), draw(st.integers(1, 12)), draw(st.booleans())
        holds = context + blocks if state is State.SEATED else context
        if holds > room:
            state, context, holds = State.PARKED, 0, 0
        room -= holds
        away = state is not State.SEATED
        since = NOW - draw(st.integers(0, 50)) if away and draw(st.booleans()) else None
        views.append(
            WorkloadView(
                name=f"w{number}",
                state=state,
                holds={0: holds} if holds else {},
                context={0: context} if context else {},
                need={0: blocks + context},
                can_start=draw(st.booleans()),
                parkable=draw(st.booleans()),
                pinned=draw(st.booleans()),
                arena_bytes=blocks if arena and state is not State.STORED else 0,
                host_bytes=0 if arena else blocks,
                storable=arena and state is State.PARKED and draw(st.booleans()),
                demand_since=since,
                busy=since is not None or draw(st.booleans()),
            )
        )
    on_host = sum(view.host_bytes for view in views if view.state is not State.SEATED)
    in_arena = sum(view.arena_bytes for view in views if view.state is State.PARKED)
    return table(*views, size=20, host=on_host + draw(SIZES), arena=in_arena + draw(SIZES))


@given(snapshots())
def test_one_decision_begins_one_thing_with_each(snapshot: Snapshot) -> None:
    names = [action.workload for action in decide(NOW, snapshot).actions]
    assert len(names) == len(set(names))
