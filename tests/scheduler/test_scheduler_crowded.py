"""More sits than the cap allows: who leaves, and who is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hotseat.scheduler import Decision, DeviceRoom, HostRoom, Kind, Snapshot, WorkloadView, decide
from hotseat.words import State

NOW = 100.0


def table(*views: WorkloadView, cap: int = 10, host: int | None = None) -> Snapshot:
    room = None if host is None else HostRoom(budget=host)
    return Snapshot(devices=(DeviceRoom(index=0, size=cap),), workloads=views, host=room)


def seated(name: str, nbytes: int, **fields: Any) -> WorkloadView:
    return WorkloadView(name=name, state=State.SEATED, holds={0: nbytes}, host_bytes=nbytes, **fields)


def left(decision: Decision) -> Sequence[str]:
    assert all(action.kind is Kind.SWAP_OUT for action in decision.actions)
    return [action.workload for action in decision.actions]


def test_the_least_wanted_of_those_without_work_is_parked() -> None:
    decision = decide(NOW, table(seated("a", 4, rate=1.0), seated("b", 4), seated("c", 4, busy=True)))
    assert left(decision) == ["b"]
    assert not decision.crowded, "then it is well"


def test_no_more_than_must() -> None:
    assert left(decide(NOW, table(seated("a", 1), seated("b", 9), seated("c", 2)))) == ["b"]


def test_who_fits_stays() -> None:
    assert decide(NOW, table(seated("a", 5), seated("b", 5))) == Decision()


def test_foreign_memory_crowds_nobody_out() -> None:
    device = DeviceRoom(index=0, size=10, foreign=8)
    assert decide(NOW, Snapshot(devices=(device,), workloads=(seated("a", 5),))) == Decision()


def test_who_has_work_leaves_when_it_has_none() -> None:
    both = seated("a", 6, busy=True), seated("b", 6, busy=True)
    decision = decide(NOW, table(*both))
    assert (left(decision), decision.crowded) == ([], True)
    lingers = seated("b", 6, linger=3.0, last_used=NOW - 1.0, min_stay=20.0, seated_since=NOW - 5.0)
    decision = decide(NOW, table(both[0], lingers))
    assert (left(decision), decision.wake_at, decision.crowded) == ([], NOW + 2.0, True)


def test_who_could_not_come_back_under_the_cap_is_left_where_it_is() -> None:
    decision = decide(NOW, table(seated("large", 12), seated("pinned", 3, pinned=True)))
    assert decision == Decision()
    assert left(decide(NOW, table(seated("large", 12), seated("small", 3)))) == ["small"]


def test_nobody_is_stopped_for_it_where_the_host_has_no_room() -> None:
    assert left(decide(NOW, table(seated("a", 6, can_start=True), seated("b", 6, can_start=True), host=5))) == []


def test_room_that_a_demand_makes_counts() -> None:
    wanted = WorkloadView(name="w", state=State.PARKED, need={0: 10}, demand_since=NOW - 1.0)
    decision = decide(NOW, table(seated("a", 6), seated("b", 6), wanted))
    assert sorted(left(decision)) == ["a", "b"]
    assert {action.makes_room_for for action in decision.actions} == {"w"}


VIEWS = st.lists(
    st.builds(
        lambda nbytes, busy, pinned, used, priority, keep: {
            "holds": {0: nbytes},
            "host_bytes": nbytes,
            "busy": busy,
            "pinned": pinned,
            "last_used": NOW - used,
            "linger": 2.0,
            "min_stay": 5.0,
            "seated_since": NOW,
            "priority": priority,
            "keep_until": keep,
        },
        st.integers(0, 12),
        st.booleans(),
        st.booleans(),
        st.sampled_from([0.0, 1.0, 3.0, 50.0]),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.0, NOW + 9.0]),
    ),
    max_size=6,
)


@given(fields=VIEWS, cap=st.integers(1, 20), host=st.sampled_from([None, 8, 20]))
def test_whatever_sits(fields: list[dict[str, Any]], cap: int, host: int | None) -> None:
    views = [WorkloadView(name=f"w{n}", state=State.SEATED, **one) for n, one in enumerate(fields)]
    decision = decide(NOW, table(*views, cap=cap, host=host))
    gone = left(decision)
    by_name = {view.name: view for view in views}
    for name in gone:
        view = by_name[name]
        assert not view.busy
        assert not view.pinned
        assert view.keep_until <= NOW
        assert view.last_used + view.linger <= NOW
        assert view.holds[0] <= cap, "it can come back"
    held = sum(view.holds[0] for view in views)
    freed = [by_name[name].holds[0] for name in gone]
    assert host is None or sum(freed) <= host
    if held <= cap:
        assert not gone
    elif held - sum(freed) <= cap:
        assert all(held - sum(freed) + nbytes > cap for nbytes in freed), "one of them left for nothing"
    elif host is None:
        movable = [v for v in views if not v.busy and not v.pinned and v.keep_until <= NOW and 0 < v.holds[0] <= cap]
        assert {v.name for v in movable if v.last_used + v.linger <= NOW} == set(gone), "somebody could have helped"
