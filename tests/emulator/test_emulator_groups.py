"""Communicators: members taken one at a time hang, as NCCL's do; taken together they do not."""

from __future__ import annotations

import pytest
from conformance_actors import HANG, cycle

pytestmark = pytest.mark.emulated


@pytest.fixture
def ranks(start):
    members = [start("Target") for _ in range(2)]
    for member in members:
        assert member.hello() == 0
        assert member.join(77, 2) == 0
    return members


def test_checkpoint_waits_for_the_other_rank_to_be_locked(ranks, start):
    one, two = start("Controller"), start("Controller")
    one.lock(ranks[0].pid)
    one.start("checkpoint", ranks[0].pid)
    assert one.answer(0.4) == HANG
    assert two.lock(ranks[1].pid) == 0
    assert one.answer(10) == 0


def test_unlock_waits_for_the_other_rank_to_be_restored(ranks, start):
    one, two = start("Controller"), start("Controller")
    for name in ("lock", "checkpoint"):
        two.start(name, ranks[1].pid)
        one.start(name, ranks[0].pid)
        assert [one.answer(10), two.answer(10)] == [0, 0]
    assert one.restore(ranks[0].pid) == 0
    one.start("unlock", ranks[0].pid)
    assert one.answer(0.4) == HANG
    assert cycle(two, ranks[1].pid, ("restore", "unlock")) == [0, 0]
    assert one.answer(10) == 0


def test_a_dead_rank_is_not_waited_for(ranks, control):
    ranks[1].kill()
    assert cycle(control, ranks[0].pid) == [0, 0, 0, 0]
