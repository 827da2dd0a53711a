"""What state a workload is in: the world wins, the journal explains."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.platforms.port import Container, Status
from hotseat.swap.classify import Verdict, classify
from hotseat.swap.records import Holding, Record
from hotseat.words import ProcessRef, ProcessState, State

A, B, SHELL = ProcessRef(101, 1), ProcessRef(102, 1), ProcessRef(100, 1)
RUNNING, LOCKED, CHECKPOINTED = ProcessState.RUNNING, ProcessState.LOCKED, ProcessState.CHECKPOINTED
CONTAINER = Container(platform="docker", id="1", name="a", image="", status=Status.RUNNING, pid=100, started_at=7.0)
PARKED = Record(
    key="docker:1",
    name="a",
    started_at=7.0,
    state=State.PARKED,
    holdings=(Holding(process=A, restore_thread=1, gpu={0: 5}), Holding(process=B, restore_thread=2, gpu={0: 5})),
    parked={0: 10},
)


def seen(
    status: Status = Status.RUNNING,
    record: Record | None = None,
    states: dict[ProcessRef, ProcessState | None] | None = None,
    *,
    processes: tuple[ProcessRef, ...] = (SHELL, A, B),
    gpu: dict[int, int] | None = None,
    owner_alive: bool = False,
    started_at: float = 7.0,
) -> Verdict:
    return classify(
        container=replace(CONTAINER, status=status, started_at=started_at),
        record=record,
        processes=processes if status in (Status.RUNNING, Status.PAUSED) else (),
        states=states or {},
        gpu_bytes=gpu or {},
        owner_alive=owner_alive,
    )


@pytest.mark.parametrize(
    ("verdict", "state", "note"),
    [
        (seen(states={A: RUNNING}), State.SEATED, ""),
        (seen(), State.SEATED, ""),
        (seen(Status.EXITED), State.STOPPED, ""),
        (seen(Status.RESTARTING), State.STOPPED, ""),
        (seen(Status.PAUSED, gpu={0: 10}), State.PAUSED, "without hotseat"),
        (seen(states={A: CHECKPOINTED}), State.PARKED, "by someone else"),
        (seen(states={A: LOCKED, B: RUNNING}), State.SEATED, "by someone else"),
        (seen(states={A: ProcessState.FAILED}), State.QUARANTINED, "FAILED"),
    ],
)
def test_without_a_record(verdict: Verdict, state: State, note: str):
    assert verdict.state is state
    assert note in verdict.note


@pytest.mark.parametrize(
    ("verdict", "state", "note"),
    [
        (seen(Status.PAUSED, PARKED, {A: None, B: None}), State.PARKED, ""),
        (seen(Status.PAUSED, PARKED, {A: None}, processes=(SHELL, A)), State.PARKED, "102 was killed while parked"),
        (seen(Status.PAUSED, PARKED, {A: None, B: None}, gpu={0: 10}), State.PAUSED, "brought it back and paused"),
        (seen(Status.RUNNING, PARKED, {A: CHECKPOINTED, B: CHECKPOINTED}), State.PARKED, "unpaused behind"),
        (seen(Status.RUNNING, PARKED, {A: None, B: None}), State.PARKED, "unpaused behind"),
        (seen(Status.RUNNING, PARKED, {}), State.PARKED, "unpaused behind"),  # they are there, only not found
        (seen(Status.RUNNING, PARKED, {A: RUNNING, B: RUNNING}), State.SEATED, "brought back behind"),
        (seen(Status.RUNNING, PARKED, {A: LOCKED, B: LOCKED}), State.PARKED, "without unlocking"),
        (seen(Status.RUNNING, PARKED, {}, processes=(SHELL,)), State.SEATED, "killed while parked"),
        (seen(Status.EXITED, PARKED), State.STOPPED, "what was parked is lost"),
        (seen(Status.RUNNING, PARKED, {A: RUNNING}, started_at=9.0), State.SEATED, ""),
        (seen(Status.PAUSED, PARKED, {A: None}, started_at=9.0), State.PAUSED, "without hotseat"),
    ],
)
def test_with_a_record_of_a_parked_workload(verdict: Verdict, state: State, note: str):
    assert verdict.state is state
    assert note in verdict.note


def test_a_swap_under_way_is_told_from_one_that_was_broken_off():
    record = replace(PARKED, state=State.SWAPPING_OUT, step="checkpoint", owner="someone")
    assert seen(record=record, owner_alive=True) == (State.SWAPPING_OUT, "at checkpoint")
    state, note = seen(record=record)
    assert state is State.SWAPPING_OUT
    assert "broken off at checkpoint" in note


def test_a_quarantine_outlives_the_container_and_ends_with_its_next_start():
    record = replace(PARKED, state=State.QUARANTINED, note="restore failed")
    assert seen(record=record, states={A: RUNNING}) == (State.QUARANTINED, "restore failed")
    assert seen(Status.EXITED, record) == (State.QUARANTINED, "restore failed")
    assert seen(record=record, states={A: RUNNING}, started_at=9.0).state is State.SEATED


states = st.dictionaries(st.sampled_from([A, B]), st.sampled_from([None, *ProcessState]))
records = st.sampled_from([None, PARKED, *(replace(PARKED, state=s) for s in State)])


@given(status=st.sampled_from(Status), record=records, states=states, gpu=st.sampled_from([{}, {0: 10}]))
def test_whatever_the_world_shows_nothing_is_called_seated_that_cannot_run(status, record, states, gpu):
    state, _ = seen(status, record, states, gpu=gpu)
    if state is State.SEATED:
        assert status is Status.RUNNING
        assert set(states.values()) != {CHECKPOINTED}
    if status is Status.EXITED:
        assert state in (State.STOPPED, State.QUARANTINED)
    if state is State.PARKED and status is Status.PAUSED:
        assert not gpu
