"""Plans are data: what must hold of each of them, whatever runs it."""

from __future__ import annotations

import pytest

from hotseat.swap.plan import (
    Do,
    Plan,
    plan_in,
    plan_out,
    plan_pause_again,
    plan_probe,
    plan_rescue,
)
from hotseat.words import Direction, State

PLANS = {
    "out": plan_out(uses_cuda=True),
    "out interposed": plan_out(uses_cuda=True, interposed=True),
    "out custom": plan_out(uses_cuda=True, interposed=True, custom=True),
    "in interposed": plan_in(uses_cuda=True, probe=True, interposed=True),
    "out without cuda": plan_out(uses_cuda=False),
    "pause again": plan_pause_again(),
    "in": plan_in(uses_cuda=True, probe=True),
    "in without cuda": plan_in(uses_cuda=False, probe=True),
    "probe": plan_probe(),
    **{
        f"rescue {goal} {paused} {parked} {interposed}": plan_rescue(
            direction=Direction.OUT,
            goal=goal,
            paused=paused,
            parked_already=parked,
            interposed=interposed,
            custom=interposed,
        )
        for goal in (State.SEATED, State.PARKED)
        for paused in (True, False)
        for parked in (True, False)
        for interposed in (True, False)
    },
}
plans = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
IRREVERSIBLE = (Do.CHECKPOINT, Do.RESTORE)


def effects(plan: Plan) -> list[Do]:
    return [step.effect for step in plan.steps]


@plans
def test_what_cannot_be_undone_comes_after_the_commit(plan: Plan):
    assert not set(effects(plan)[: plan.commit]) & set(IRREVERSIBLE)


@plans
def test_what_changes_the_world_before_the_commit_has_an_undo(plan: Plan):
    changing = {Do.ADMIT, Do.TAKE, Do.LOCK, Do.FREEZE, Do.HOLD, Do.UNPAUSE, Do.RESERVE}
    assert all(step.undo for step in plan.steps[: plan.commit] if step.effect in changing)


@plans
def test_device_memory_is_reserved_before_it_is_taken(plan: Plan):
    did = effects(plan)
    if Do.RESTORE in did:
        assert Do.RESERVE in did[: did.index(Do.RESTORE)]


@plans
def test_all_are_locked_and_then_frozen_before_the_first_checkpoint(plan: Plan):
    did = effects(plan)
    if Do.CHECKPOINT in did:
        assert did.index(Do.LOCK) < did.index(Do.FREEZE) < did.index(Do.CHECKPOINT)


@plans
def test_threads_are_let_go_after_all_that_needs_them_held(plan: Plan):
    did = effects(plan)
    if Do.LET_GO in did:
        rest = set(did[did.index(Do.LET_GO) :])
        assert not rest & {Do.CHECKPOINT, Do.RESTORE, Do.UNLOCK, Do.PAUSE, Do.LOCK}


@plans
def test_driver_calls_that_move_are_verified_by_states(plan: Plan):
    moving = {Do.LOCK, Do.CHECKPOINT, Do.RESTORE, Do.UNLOCK}
    assert all(step.verify is not None for step in plan.steps if step.effect in moving)


@plans
def test_blocks_are_taken_while_nothing_is_locked_and_given_when_all_run(plan: Plan):
    did = effects(plan)
    if Do.TAKE in did:
        assert did.index(Do.TAKE) < did.index(Do.LOCK)
    if Do.GIVE in did:
        assert did.index(Do.UNLOCK) < did.index(Do.LET_GO) < did.index(Do.GIVE)


def test_room_in_the_arena_is_made_before_anything_is_touched():
    assert effects(PLANS["out custom"])[:2] == [Do.ADMIT, Do.TAKE]


def test_without_the_store_a_plan_has_no_step_of_it():
    for plan in (plan_out(uses_cuda=True), plan_in(uses_cuda=True, probe=True)):
        assert not {Do.ADMIT, Do.TAKE, Do.GIVE} & set(effects(plan))


def test_a_swap_out_is_the_order_of_the_design():
    assert effects(PLANS["out"]) == [
        *(Do.LOCK, Do.FREEZE, Do.CATCH_UP),
        *(Do.CHECKPOINT, Do.CONFIRM_RELEASE, Do.PAUSE, Do.LET_GO),
    ]
    assert effects(PLANS["out"])[PLANS["out"].commit] is Do.CHECKPOINT


def test_a_swap_in_is_the_order_of_the_design():
    assert effects(PLANS["in"]) == [
        *(Do.RESERVE, Do.HOLD, Do.UNPAUSE, Do.SETTLE),
        *(Do.RESTORE, Do.UNLOCK, Do.WEIGH, Do.LET_GO, Do.PROBE),
    ]
    assert effects(PLANS["in"])[PLANS["in"].commit] is Do.RESTORE


def test_a_workload_without_cuda_is_only_paused_and_that_is_said():
    plan = plan_out(uses_cuda=False)
    assert effects(plan) == [Do.PAUSE]
    assert "no process of it uses CUDA" in plan.note
