"""Contexts that stay on a device while their workloads are parked: counted, given up where their room is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hotseat.scheduler import Decision, DeviceRoom, HostRoom, Kind, Snapshot, WorkloadView, decide
from hotseat.words import State

NOW = 100.0


def table(*views: WorkloadView, size: int = 20, host: int | None = None) -> Snapshot:
    room = None if host is None else HostRoom(budget=host)
    return Snapshot(devices=(DeviceRoom(index=0, size=size),), workloads=views, host=room)


def seated(name: str, blocks: int, context: int = 1, **fields: Any) -> WorkloadView:
    holds = {0: blocks + context}
    return WorkloadView(name=name, state=State.SEATED, holds=holds, need=holds, context={0: context}, **fields)


def parked(name: str, blocks: int, context: int = 1, *, since: float | None = None, **fields: Any) -> WorkloadView:
    fields = {"state": State.PARKED, "holds": {0: context}, "context": {0: context}, **fields}
    return WorkloadView(name=name, need={0: blocks + context}, demand_since=since, **fields)


def gone(name: str, nbytes: int, *, since: float | None = None, **fields: Any) -> WorkloadView:
    """Parked, and nothing of it stayed."""
    return WorkloadView(name=name, state=State.PARKED, need={0: nbytes}, demand_since=since, **fields)


def begun(decision: Decision) -> Sequence[tuple[str, str, bool]]:
    return [(action.kind.value, action.workload, action.whole) for action in decision.actions]


def test_what_it_has_there_already_need_not_be_free() -> None:
    assert begun(decide(NOW, table(seated("a", 9), parked("b", 9, since=NOW)))) == [("swap in", "b", False)]


def test_who_leaves_keeps_its_context_where_there_is_room_for_both() -> None:
    views = (seated("a", 15), parked("b", 15, since=NOW))
    assert begun(decide(NOW, table(*views))) == [("swap out", "a", False)]


def test_it_leaves_wholly_where_its_context_is_in_the_way() -> None:
    views = (seated("a", 15), parked("b", 19, since=NOW))
    assert begun(decide(NOW, table(*views))) == [("swap out", "a", True)]


def test_of_several_only_as_many_contexts_leave_as_must() -> None:
    views = (parked("a", 5, rate=1.0), parked("b", 5), parked("c", 5, rate=0.5), gone("d", 18, since=NOW))
    assert begun(decide(NOW, table(*views))) == [("swap out", "b", True)]
    assert begun(decide(NOW, table(*views[:3], gone("d", 19, since=NOW)))) == [
        ("swap out", "b", True),
        ("swap out", "c", True),
    ]


def test_a_context_leaves_rather_than_somebody_who_sits() -> None:
    views = (seated("a", 9), parked("b", 5), gone("c", 10, since=NOW))
    assert begun(decide(NOW, table(*views))) == [("swap out", "b", True)]


def test_none_leaves_that_does_not_help() -> None:
    views = (seated("a", 15), parked("b", 5), gone("c", 19, since=NOW))
    assert begun(decide(NOW, table(*views))) == [("swap out", "a", True)]


def test_while_one_leaves_its_room_is_promised() -> None:
    leaving = replace(parked("b", 5), state=State.SWAPPING_OUT, context={})
    views = (seated("a", 9), leaving, gone("c", 10, since=NOW))
    assert begun(decide(NOW, table(*views))) == []


def test_what_will_stay_of_one_on_its_way_out_is_not_promised() -> None:
    leaving = replace(seated("a", 15, context=2), state=State.SWAPPING_OUT)
    assert begun(decide(NOW, table(leaving, parked("c", 5), gone("b", 18, since=NOW)))) == [("swap out", "c", True)]
    assert begun(decide(NOW, table(leaving, gone("b", 18, since=NOW)))) == []


def test_two_that_wait_do_not_take_each_others_contexts_in_turn() -> None:
    views = (seated("s", 9), parked("a", 10, since=NOW - 2), parked("b", 10, since=NOW - 1))
    decision = decide(NOW, table(*views, size=12))
    assert begun(decision) == [("swap out", "s", True)]  # a sits then; b's context is not in its way


def test_who_waits_and_has_lost_its_context_to_an_elder_waits_for_that_first() -> None:
    views = (gone("a", 20, since=NOW - 2), parked("b", 5, since=NOW - 1))
    assert begun(decide(NOW, table(*views))) == [("swap out", "b", True)]


def test_a_stored_ones_context_counts_too() -> None:
    views = (parked("a", 5, state=State.STORED), gone("b", 20, since=NOW))
    assert begun(decide(NOW, table(*views))) == [("swap out", "a", True)]


def test_one_that_would_not_leave_is_not_asked_for_a_while() -> None:
    views = (parked("a", 5, keep_until=NOW + 5), gone("b", 20, since=NOW))
    decision = decide(NOW, table(*views))
    assert (begun(decision), decision.blocked["b"].again_at) == ([], NOW + 5)


def test_under_a_cap_that_came_later_contexts_leave_before_seats() -> None:
    assert begun(decide(NOW, table(seated("a", 9), parked("b", 5, context=3), size=11))) == [("swap out", "b", True)]


views = st.builds(
    lambda away, blocks, context, since, rate: (away, blocks, context, since, rate),
    st.booleans(),
    st.integers(1, 12),
    st.integers(0, 3),
    st.one_of(st.none(), st.integers(0, 50)),
    st.sampled_from([0.0, 0.1, 1.0]),
)


def test_one_that_stays_takes_no_room_on_the_host() -> None:
    views = (seated("a", 15, can_start=True), parked("b", 15, since=NOW))
    assert begun(decide(NOW, table(*views, host=0))) == [("swap out", "a", False)]
    assert begun(decide(NOW, table(*views, gone("c", 4, host_bytes=4), host=0))) == [("swap out", "a", False)]


def test_one_that_must_leave_is_ended_where_the_host_has_no_room_or_does_not_leave() -> None:
    target = gone("b", 20, since=NOW)
    assert begun(decide(NOW, table(seated("a", 15), target, host=1))) == [("swap out", "a", True)]
    assert begun(decide(NOW, table(seated("a", 15, can_start=True), target, host=0))) == [("stop", "a", False)]
    decision = decide(NOW, table(seated("a", 15), target, host=0))
    assert (begun(decision), "host memory" in decision.blocked["b"].reason) == ([], True)


def test_so_is_one_that_stayed_but_never_with_answers_frozen_in_it() -> None:
    target = gone("b", 20, since=NOW)
    assert begun(decide(NOW, table(parked("a", 5), target, host=1))) == [("swap out", "a", True)]
    assert begun(decide(NOW, table(parked("a", 5, can_start=True), target, host=0))) == [("stop", "a", False)]
    for away in (parked("a", 5), parked("a", 5, can_start=True, busy=True)):
        decision = decide(NOW, table(away, target, host=0))
        assert (begun(decision), "host memory" in decision.blocked["b"].reason) == ([], True)


def test_another_is_asked_where_the_host_has_no_room_for_the_cheapest_ones_context() -> None:
    views = (seated("a", 6, context=4), seated("c", 9, last_used=NOW), gone("b", 10, since=NOW))
    assert begun(decide(NOW, table(*views, host=4))) == [("swap out", "a", True)]
    assert begun(decide(NOW, table(*views, host=1))) == [("swap out", "c", True)]


def test_contexts_that_leave_together_share_the_room_on_the_host() -> None:
    views = (parked("a", 5), seated("c", 9, can_start=True), gone("b", 20, since=NOW))
    assert begun(decide(NOW, table(*views, host=2))) == [("swap out", "a", True), ("swap out", "c", True)]
    assert begun(decide(NOW, table(*views, host=1))) == [("stop", "c", False), ("swap out", "a", True)]


def test_under_a_cap_a_context_leaves_only_where_the_host_has_room() -> None:
    views = (seated("a", 9), parked("b", 5, context=3))
    assert begun(decide(NOW, table(*views, size=11, host=2))) == []
    assert begun(decide(NOW, table(*views, size=11, host=3))) == [("swap out", "b", True)]


@settings(max_examples=300, deadline=None)
@given(st.lists(views, min_size=1, max_size=5))
def test_whoever_can_sit_comes_to_sit_and_nothing_is_given_twice(given: list[tuple[Any, ...]]) -> None:
    """Run to the end: at no moment is more held than there is, and the eldest that fits at all gets its seat."""
    size, now = 16, NOW
    world: dict[str, dict[str, Any]] = {}
    free = size
    for number, (away, blocks, fitting, since, rate) in enumerate(given):
        context = fitting if fitting <= free else 0
        holds = context if away or free < blocks + context else blocks + context
        free -= holds
        sits = holds > context
        world[f"w{number}"] = {
            "state": State.SEATED if sits else State.PARKED,
            "need": blocks + context,
            "context": context,
            "holds": holds,
            "since": None if sits or since is None else float(since),
            "rate": rate,
        }

    def view(name: str, one: Mapping[str, Any]) -> WorkloadView:
        stays = one["context"] if one["state"] is State.SEATED else one["holds"]
        return WorkloadView(
            name=name, state=one["state"], holds={0: one["holds"]}, need={0: one["need"]}, context={0: stays},
            demand_since=one["since"], rate=one["rate"],
        )  # fmt: skip

    waiting = [one for one in world.values() if one["since"] is not None and one["need"] <= size]
    for _ in range(60):
        decision = decide(now, table(*[view(name, one) for name, one in world.items()], size=size))
        for action in sorted(decision.actions, key=lambda action: action.kind is Kind.SWAP_IN):
            one = world[action.workload]
            if action.kind is Kind.SWAP_IN:
                one.update(state=State.SEATED, holds=one["need"], since=None)
            else:
                assert action.kind is Kind.SWAP_OUT
                assert one["state"] is State.SEATED or action.whole, "what is parked leaves wholly or not at all"
                one.update(state=State.PARKED, holds=0 if action.whole else one["context"])
        assert sum(one["holds"] for one in world.values()) <= size
        now += 10.0
        if not decision.actions:
            break
    assert all(one["since"] is None for one in waiting), (world, decision)
