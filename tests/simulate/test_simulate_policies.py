"""The baselines, one decision at a time: each does what its name says, and no more than there is room for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.scheduler import DeviceRoom, HostRoom, Kind, Snapshot, WorkloadView
from hotseat.simulate.policies import BASELINES
from hotseat.words import State

FIFO, LRU, STOP_START, CLAIRVOYANT = BASELINES
NOW = 100.0


def seated(name: str, nbytes: int, **fields: Any) -> WorkloadView:
    holds = {0: nbytes}
    return WorkloadView(name=name, state=State.SEATED, holds=holds, need=holds, host_bytes=nbytes, **fields)


def parked(name: str, nbytes: int, since: float | None = None, **fields: Any) -> WorkloadView:
    return WorkloadView(
        name=name, state=State.PARKED, need={0: nbytes}, host_bytes=nbytes, demand_since=since, busy=since is not None,
        **fields,
    )  # fmt: skip


def asked(policy: Any, *views: WorkloadView, host: int | None = None, future: Mapping[str, float] | None = None) -> Any:
    """[(kind, workload)] in their order."""
    room = None if host is None else HostRoom(budget=host)
    snapshot = Snapshot(devices=(DeviceRoom(index=0, size=10),), workloads=views, host=room)
    decision = policy.choose(NOW, snapshot, lambda name: (future or {}).get(name, math.inf))
    return [(action.kind, action.workload) for action in decision.actions]


@pytest.mark.parametrize("policy", BASELINES, ids=lambda policy: policy.name)
def test_nobody_moves_while_nobody_asks(policy: Any) -> None:
    assert asked(policy, seated("a", 10), parked("b", 10)) == []


@pytest.mark.parametrize("policy", BASELINES, ids=lambda policy: policy.name)
def test_beside_others_where_there_is_room(policy: Any) -> None:
    assert asked(policy, seated("a", 6), parked("b", 4, 90.0)) == [(Kind.SWAP_IN, "b")]


@pytest.mark.parametrize("policy", BASELINES, ids=lambda policy: policy.name)
def test_who_is_pinned_stays_and_who_would_not_do_is_not_sent_away(policy: Any) -> None:
    assert asked(policy, seated("a", 6, pinned=True), seated("c", 4), parked("b", 10, 90.0)) == []


def test_who_is_stopped_is_started() -> None:
    view = WorkloadView(name="a", state=State.STOPPED, need={0: 5}, demand_since=90.0)
    assert asked(LRU, view) == [(Kind.START, "a")]


def test_the_least_recently_used_goes_and_who_answers_counts_as_used_now() -> None:
    views = (
        seated("old", 3, last_used=10.0, busy=True, running=1),
        seated("middle", 3, last_used=50.0),
        seated("new", 4, last_used=90.0),
        parked("b", 3, 95.0),
    )
    assert asked(LRU, *views) == [(Kind.SWAP_OUT, "middle")]
    assert asked(STOP_START, *views) == [(Kind.STOP, "middle")]


def test_as_many_go_as_are_needed_and_no_more() -> None:
    views = [seated(f"s{k}", 2, last_used=float(k)) for k in range(5)]
    assert asked(LRU, *views, parked("b", 5, 95.0)) == [(Kind.SWAP_OUT, f"s{k}") for k in range(3)]


def test_two_who_ask_do_not_count_on_the_same_room() -> None:
    found = asked(
        LRU, seated("a", 5, last_used=1.0), seated("b", 5, last_used=2.0), parked("c", 5, 90.0), parked("d", 5, 91.0)
    )
    assert found == [(Kind.SWAP_OUT, "a"), (Kind.SWAP_OUT, "b")]
    leaving = WorkloadView(name="a", state=State.SWAPPING_OUT, holds={0: 5}, need={0: 5})
    assert asked(LRU, leaving, seated("b", 5, last_used=2.0), parked("c", 5, 90.0)) == []


def test_in_the_order_of_arrival_only_the_eldest_is_served_and_nobody_is_interrupted() -> None:
    busy = seated("a", 10, busy=True, running=1)
    assert asked(FIFO, busy, parked("b", 10, 90.0)) == []
    assert asked(FIFO, seated("a", 10), parked("b", 10, 90.0), parked("c", 1, 80.0)) == [(Kind.SWAP_OUT, "a")]
    assert asked(FIFO, seated("a", 6), parked("b", 4, 90.0), parked("c", 10, 80.0)) == [(Kind.SWAP_OUT, "a")]
    assert asked(FIFO, seated("a", 6), parked("b", 4, 80.0), parked("c", 3, 90.0)) == [(Kind.SWAP_IN, "b")]


def test_the_eldest_that_is_on_its_way_in_is_waited_for() -> None:
    coming = WorkloadView(name="a", state=State.SWAPPING_IN, need={0: 5}, demand_since=80.0)
    assert asked(FIFO, coming, parked("b", 5, 90.0)) == []
    assert asked(LRU, coming, parked("b", 5, 90.0)) == [(Kind.SWAP_IN, "b")]


def test_the_clairvoyant_sends_away_who_is_wanted_last_and_nobody_who_answers() -> None:
    views = (
        seated("soon", 4, last_used=1.0),
        seated("late", 3, last_used=99.0),
        seated("busy", 3, last_used=0.0, busy=True, running=1),
        parked("b", 3, 95.0),
    )
    assert asked(CLAIRVOYANT, *views, future={"soon": 110.0, "late": 500.0}) == [(Kind.SWAP_OUT, "late")]
    assert asked(CLAIRVOYANT, *views, future={"late": 500.0, "busy": 600.0}) == [(Kind.SWAP_OUT, "soon")]  # never again
    assert asked(LRU, *views) == [(Kind.SWAP_OUT, "soon")]


def test_who_finds_no_room_on_the_host_is_stopped() -> None:
    views = seated("a", 4, last_used=1.0), seated("c", 6, last_used=2.0), parked("b", 10, 90.0)
    assert asked(LRU, *views, host=20) == [(Kind.SWAP_OUT, "a"), (Kind.SWAP_OUT, "c")]
    assert asked(LRU, *views, host=14) == [(Kind.SWAP_OUT, "a"), (Kind.STOP, "c")]
    assert asked(LRU, *views, host=10) == [(Kind.STOP, "a"), (Kind.STOP, "c")]


@st.composite
def tables(draw: st.DrawFn) -> tuple[WorkloadView, ...]:
    """Seated ones that fit on the device of 10, and others that are parked."""
    views, left = [], 10
    for number in range(draw(st.integers(1, 8))):
        nbytes = draw(st.integers(1, 10))
        times = {"last_used": draw(st.floats(0, NOW)), "seated_since": draw(st.floats(0, NOW))}
        if nbytes <= left and draw(st.booleans()):
            left -= nbytes
            busy = draw(st.booleans())
            views.append(seated(f"w{number}", nbytes, busy=busy, running=int(busy), **times))
        else:
            since = draw(st.one_of(st.none(), st.floats(0, NOW)))
            views.append(parked(f"w{number}", nbytes, since, **times))
    return tuple(views)


@given(views=tables(), policy=st.sampled_from(BASELINES), data=st.data())
def test_no_more_come_than_fit_and_none_goes_in_vain(views: Any, policy: Any, data: st.DataObject) -> None:
    future = {view.name: data.draw(st.floats(NOW, 1000)) for view in views}
    by_name = {view.name: view for view in views}
    found = asked(policy, *views, future=future)
    assert len({name for _, name in found}) == len(found)
    held = sum(view.holds.get(0, 0) for view in views)
    coming = [by_name[name] for kind, name in found if kind is Kind.SWAP_IN]
    going = [by_name[name] for kind, name in found if kind in (Kind.SWAP_OUT, Kind.STOP)]
    assert held + sum(view.need[0] for view in coming) <= 10
    assert all(view.demand_since is not None for view in coming)
    assert all(view.state is State.SEATED for view in going)
    demands = [view for view in views if view.demand_since is not None]
    assert not going or demands
    if policy is FIFO:
        assert not any(view.running for view in going)
        assert len(coming) <= 1
    if demands:
        eldest = min(demands, key=lambda view: (view.demand_since, view.name))
        served = eldest in coming or 10 - held + sum(view.holds[0] for view in going) >= eldest.need[0]
        assert served or policy is FIFO  # where all may be sent away, the eldest can always be served


@given(views=tables(), data=st.data())
def test_the_order_in_which_workloads_stand_does_not_matter(views: Any, data: st.DataObject) -> None:
    other = data.draw(st.permutations(views))
    for policy in (FIFO, LRU, STOP_START, CLAIRVOYANT):
        assert asked(policy, *views) == asked(policy, *other)
