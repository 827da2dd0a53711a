"""A host that is over its budget already: `host_memory.parked` was made smaller, or other programs took the memory."""

from hotseat.scheduler import Action, DeviceRoom, HostRoom, Kind, Snapshot, WorkloadView, decide
from hotseat.words import State

NOW = 100.0


def table(*views: WorkloadView, budget: int = 0) -> Snapshot:
    return Snapshot(devices=(DeviceRoom(index=0, size=10),), workloads=views, host=HostRoom(budget=budget))


def seated(name: str, **fields: object) -> WorkloadView:
    return WorkloadView(name=name, state=State.SEATED, holds={0: 8}, need={0: 8}, host_bytes=8, **fields)  # type: ignore[arg-type]


def parked(name: str, **fields: object) -> WorkloadView:
    return WorkloadView(name=name, state=State.PARKED, need={0: 6}, host_bytes=6, demand_since=NOW, **fields)  # type: ignore[arg-type]


def test_who_makes_room_is_stopped_though_that_does_not_mend_the_budget() -> None:
    decision = decide(NOW, table(seated("a", can_start=True), parked("b"), parked("c", can_start=True)))
    assert decision.actions == (Action(kind=Kind.STOP, workload="a", makes_room_for="b"),)
    assert not decision.blocked


def test_nobody_is_parked_that_cannot_be_started_again() -> None:
    decision = decide(NOW, table(seated("a"), parked("b")))
    assert decision.actions == ()
    assert "host memory" in decision.blocked["b"].reason


def test_within_the_budget_it_is_parked() -> None:
    decision = decide(NOW, table(seated("a", can_start=True), parked("b"), budget=14))
    assert decision.actions == (Action(kind=Kind.SWAP_OUT, workload="a", makes_room_for="b"),)


def test_who_could_not_leave_is_worth_waiting_for() -> None:
    stays = seated("a", can_start=True, keep_until=NOW + 4)
    decision = decide(NOW, table(stays, parked("b"), budget=14))
    assert decision.actions == ()
    assert (decision.blocked["b"].again_at, decision.blocked["b"].forever, decision.wake_at) == (
        NOW + 4,
        False,
        NOW + 4,
    )
