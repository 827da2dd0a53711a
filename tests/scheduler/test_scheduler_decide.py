"""One decision at a time: examples of the policy, and what holds for every table there can be."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from hotseat.scheduler import Action, Decision, DeviceRoom, Kind, Snapshot, WorkloadView, decide
from hotseat.words import State

NOW = 100.0
HOLDING = (State.SEATED, State.PAUSED, State.QUARANTINED, State.SWAPPING_OUT)


def table(*views: WorkloadView, size: int = 10, foreign: int = 0) -> Snapshot:
    return Snapshot(devices=(DeviceRoom(index=0, size=size, foreign=foreign),), workloads=views)


def seated(name: str, nbytes: int, **fields: object) -> WorkloadView:
    return WorkloadView(name=name, state=State.SEATED, holds={0: nbytes}, need={0: nbytes}, **fields)  # type: ignore[arg-type]


def parked(name: str, nbytes: int, *, since: float | None = NOW, **fields: object) -> WorkloadView:
    return WorkloadView(name=name, state=State.PARKED, need={0: nbytes}, demand_since=since, **fields)  # type: ignore[arg-type]


def begun(decision: Decision) -> Sequence[tuple[str, str]]:
    return [(action.kind.value, action.workload) for action in decision.actions]


def test_nothing_to_do() -> None:
    assert decide(NOW, table(seated("a", 5), parked("b", 5, since=None))) == Decision()


def test_where_it_fits_nobody_leaves() -> None:
    assert begun(decide(NOW, table(seated("a", 5), parked("b", 5)))) == [("swap in", "b")]


def test_the_longest_unused_makes_room_first_and_no_more_than_needed() -> None:
    decision = decide(NOW, table(seated("a", 4, last_used=9), seated("b", 4, last_used=3), parked("c", 5)))
    assert decision.actions == (Action(kind=Kind.SWAP_OUT, workload="b", makes_room_for="c"),)


def test_one_without_work_goes_before_one_with() -> None:
    busy = seated("a", 4, busy=True, last_used=1)
    assert begun(decide(NOW, table(busy, seated("b", 4, last_used=9), parked("c", 5)))) == [("swap out", "b")]


def test_a_small_one_is_spared_when_the_large_one_goes_anyway() -> None:
    small, large = seated("s", 2, last_used=1), seated("l", 8, last_used=2)
    assert begun(decide(NOW, table(small, large, parked("c", 8)))) == [("swap out", "l")]


def test_the_minimum_stay_of_one_with_work_is_waited_for() -> None:
    stays = seated("a", 10, busy=True, seated_since=NOW - 1, min_stay=5)
    assert decide(NOW, table(stays, parked("b", 10))) == Decision(wake_at=NOW + 4)
    assert begun(decide(NOW + 4, table(stays, parked("b", 10)))) == [("swap out", "a")]


def test_one_that_has_just_answered_lingers_but_not_beyond_its_minimum_stay() -> None:
    lingers = seated("a", 10, last_used=NOW, linger=2, seated_since=NOW - 3, min_stay=9)
    assert decide(NOW, table(lingers, parked("b", 10))).wake_at == NOW + 2
    over = seated("a", 10, last_used=NOW, linger=2, seated_since=NOW - 9, min_stay=9)
    assert begun(decide(NOW, table(over, parked("b", 10)))) == [("swap out", "a")]


def test_a_person_does_not_wait_for_the_minimum_stay_and_goes_first() -> None:
    stays = seated("a", 10, busy=True, seated_since=NOW, min_stay=5)
    decision = decide(NOW, table(stays, parked("b", 10, since=1.0), parked("c", 10, commanded=True)))
    assert decision.actions == (Action(kind=Kind.SWAP_OUT, workload="a", makes_room_for="c"),)


def test_those_who_make_room_go_together_or_not_at_all() -> None:
    free, stays = seated("a", 5), seated("b", 5, busy=True, seated_since=NOW, min_stay=5)
    assert decide(NOW, table(free, stays, parked("c", 10))) == Decision(wake_at=NOW + 5)


def test_a_younger_demand_does_not_take_what_an_older_one_waits_for() -> None:
    stays = seated("a", 8, busy=True, seated_since=NOW, min_stay=5)
    assert begun(decide(NOW, table(stays, parked("b", 10, since=1.0), parked("c", 2, since=2.0)))) == []


def test_a_younger_demand_takes_what_is_left_over() -> None:
    stays = seated("a", 6, busy=True, seated_since=NOW, min_stay=5)
    decision = decide(NOW, table(stays, parked("b", 6, since=1.0), parked("c", 4, since=2.0)))
    assert begun(decision) == [("swap in", "c")]


def test_room_that_is_being_made_is_waited_for_not_made_twice() -> None:
    leaving = WorkloadView(name="a", state=State.SWAPPING_OUT, holds={0: 6}, need={0: 6})
    assert decide(NOW, table(leaving, seated("b", 4), parked("c", 6))) == Decision()


def test_room_is_reserved_for_one_on_its_way_in() -> None:
    coming = WorkloadView(name="a", state=State.SWAPPING_IN, need={0: 6})
    assert begun(decide(NOW, table(coming, parked("b", 5)))) == []
    assert begun(decide(NOW, table(coming, parked("b", 4)))) == [("swap in", "b")]


def test_foreign_memory_is_not_free() -> None:
    decision = decide(NOW, table(parked("a", 8), foreign=3))
    assert begun(decision) == []
    assert "foreign processes" in decision.blocked["a"].reason
    assert not decision.blocked["a"].forever


def test_what_is_larger_than_the_device_is_blocked_for_ever() -> None:
    decision = decide(NOW, table(seated("a", 5), parked("b", 11)))
    assert decision.blocked["b"].forever
    assert begun(decision) == []


def test_a_device_that_is_not_there() -> None:
    view = WorkloadView(name="a", state=State.PARKED, need={3: 1}, demand_since=1.0)
    assert "device 3" in decide(NOW, table(view)).blocked["a"].reason


def test_pinned_paused_and_quarantined_stay_and_the_reason_names_them() -> None:
    pinned = seated("a", 4, pinned=True)
    paused = WorkloadView(name="b", state=State.PAUSED, holds={0: 3})
    broken = WorkloadView(name="q", state=State.QUARANTINED, holds={0: 3})
    decision = decide(NOW, table(pinned, paused, broken, parked("c", 5)))
    assert begun(decision) == []
    reason = decision.blocked["c"].reason
    assert "a (pinned)" in reason
    assert "b (paused)" in reason
    assert "q (quarantined)" in reason


def test_who_cannot_be_seated_at_all_blocks_nobody() -> None:
    decision = decide(NOW, table(seated("a", 6, pinned=True), parked("b", 8, since=1.0), parked("c", 4, since=2.0)))
    assert begun(decision) == [("swap in", "c")]


def test_after_a_failure_others_are_tried_and_then_it_again() -> None:
    failed = seated("a", 6, keep_until=NOW + 9)
    decision = decide(NOW, table(failed, seated("b", 4, last_used=50), parked("c", 4)))
    assert begun(decision) == [("swap out", "b")]
    alone = decide(NOW, table(failed, parked("c", 6)))
    assert alone.wake_at == NOW + 9
    assert "a (could not be parked)" in alone.blocked["c"].reason
    assert decide(NOW, table(parked("c", 6, not_before=NOW + 3))) == Decision(wake_at=NOW + 3)


def test_a_cold_start_of_the_unknown_gets_the_device_to_itself() -> None:
    cold = WorkloadView(name="b", state=State.STOPPED, demand_since=NOW, can_start=True)
    assert begun(decide(NOW, table(seated("a", 1), cold))) == [("swap out", "a")]
    assert begun(decide(NOW, table(seated("a", 1, pinned=True), cold))) == [("start", "b")]
    starting = WorkloadView(name="b", state=State.SWAPPING_IN)
    assert begun(decide(NOW, table(starting, parked("c", 1)))) == []


def test_what_is_stopped_and_may_not_start_is_left_alone() -> None:
    assert decide(NOW, table(WorkloadView(name="b", state=State.STOPPED, demand_since=NOW))) == Decision()


def test_devices_are_looked_at_one_by_one() -> None:
    rooms = (DeviceRoom(index=0, size=10), DeviceRoom(index=1, size=10))
    a = WorkloadView(name="a", state=State.SEATED, holds={0: 10}, need={0: 10})
    b = WorkloadView(name="b", state=State.SEATED, holds={1: 10}, need={1: 10})
    both = WorkloadView(name="c", state=State.PARKED, need={0: 5, 1: 5}, demand_since=1.0)
    one = WorkloadView(name="c", state=State.PARKED, need={1: 5}, demand_since=1.0)
    assert begun(decide(NOW, Snapshot(devices=rooms, workloads=(a, b, both)))) == [("swap out", "a"), ("swap out", "b")]
    assert begun(decide(NOW, Snapshot(devices=rooms, workloads=(a, b, one)))) == [("swap out", "b")]


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    rooms = tuple(
        DeviceRoom(index=index, size=draw(st.integers(5, 20)), foreign=draw(st.integers(0, 6))) for index in range(2)
    )
    views = []
    left = {room.index: room.capacity for room in rooms}
    for name in "abcdef"[: draw(st.integers(1, 6))]:
        state = draw(st.sampled_from([*HOLDING, State.PARKED, State.PARKED, State.STOPPED, State.SWAPPING_IN]))
        need = {index: draw(st.integers(0, 10)) for index in range(2)}
        takes = state in HOLDING or state is State.SWAPPING_IN
        if takes:
            need = {index: min(nbytes, left[index]) for index, nbytes in need.items()}
            left = {index: left[index] - need[index] for index in left}
        unknown = state is State.STOPPED and draw(st.booleans())
        views.append(
            WorkloadView(
                name=name,
                state=state,
                holds=need if state in HOLDING else {},
                need=None if unknown else need,
                demand_since=draw(st.none() | st.floats(0, 100)),
                busy=draw(st.booleans()),
                seated_since=draw(st.floats(80, 100)),
                last_used=draw(st.floats(80, 100)),
                min_stay=draw(st.sampled_from([0.0, 5.0, 30.0])),
                linger=draw(st.sampled_from([0.0, 1.0])),
                pinned=draw(st.booleans()) and draw(st.booleans()),
                can_start=draw(st.booleans()),
                commanded=draw(st.booleans()) and draw(st.booleans()),
                not_before=draw(st.sampled_from([0.0, 0.0, 105.0])),
                keep_until=draw(st.sampled_from([0.0, 0.0, 105.0])),
            )
        )
    return Snapshot(devices=rooms, workloads=tuple(views))


@settings(max_examples=400, deadline=None)
@given(snapshots(), st.randoms())
def test_what_holds_for_every_table(snapshot: Snapshot, random: object) -> None:
    decision = decide(NOW, snapshot)
    views = {view.name: view for view in snapshot.workloads}
    moved = [action.workload for action in decision.actions]
    assert len(set(moved)) == len(moved), "one action each"
    assert decision.wake_at is None or decision.wake_at > NOW, "never a loop without time passing"

    coming = [views[action.workload] for action in decision.actions if action.kind is not Kind.SWAP_OUT]
    for view in coming:
        assert view.demand_since is not None
        assert view.not_before <= NOW
        assert view.state is State.PARKED or (view.state is State.STOPPED and view.can_start)
        assert view.name not in decision.blocked
    for room in snapshot.devices:
        taken = sum(view.holds.get(room.index, 0) for view in snapshot.workloads if view.state in HOLDING)
        taken += sum(
            (view.need or {}).get(room.index, 0) for view in snapshot.workloads if view.state is State.SWAPPING_IN
        )
        added = sum((view.need or {}).get(room.index, 0) for view in coming)
        assert not added or taken + added <= room.capacity, "never over capacity"

    for action in decision.actions:
        if action.kind is Kind.SWAP_OUT:
            view, target = views[action.workload], views[action.makes_room_for or ""]
            assert view.state is State.SEATED
            assert not view.pinned
            assert view.keep_until <= NOW
            assert target.demand_since is not None
            assert target not in coming
            if view.busy and not target.commanded:
                assert view.seated_since + view.min_stay <= NOW

    shuffled = list(snapshot.workloads)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = decide(NOW, Snapshot(devices=snapshot.devices[::-1], workloads=tuple(shuffled)))
    assert again == decision, "the order of the records does not matter"


@settings(max_examples=300, deadline=None)
@given(snapshots())
def test_a_lone_demand_that_fits_is_seated_and_costs_nobody_the_seat(snapshot: Snapshot) -> None:
    demands = [view for view in snapshot.workloads if view.demand_since is not None and view.state is State.PARKED]
    others = [view for view in snapshot.workloads if view.demand_since is None or view.state in (*HOLDING,)]
    for target in demands[:1]:
        alone = Snapshot(devices=snapshot.devices, workloads=(*others, target))
        free = {room.index: room.capacity for room in snapshot.devices}
        for view in others:
            for index in free:
                reserved = (view.need or {}) if view.state is State.SWAPPING_IN else {}
                free[index] -= view.holds.get(index, 0) + reserved.get(index, 0)
        if target.not_before <= NOW and all(nbytes <= free[index] for index, nbytes in (target.need or {}).items()):
            assert begun(decide(NOW, alone)) == [("swap in", target.name)]
