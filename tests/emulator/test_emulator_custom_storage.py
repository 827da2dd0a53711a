"""Checkpoints to custom storage, as NVIDIA's documentation of CUDA 13.4 words them; what that leaves open is as
docs/emulated-driver.md says. No real driver has been asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hotseat.emulator import EmulatedNode, Fault, FaultKind

MIB = 1 << 20
INVALID_VALUE, OUT_OF_MEMORY, NOT_INITIALIZED, INVALID_CONTEXT = 1, 2, 3, 201
OPERATING_SYSTEM, ILLEGAL_STATE, NOT_SUPPORTED = 304, 401, 801
RUNNING, LOCKED, CHECKPOINTED, CHECKPOINTING, RESTORING = 0, 1, 2, 4, 5
pytestmark = pytest.mark.emulated


@pytest.fixture
def node() -> Iterator[EmulatedNode]:
    with EmulatedNode.temporary(devices=[256 * MIB, 256 * MIB], custom_storage=True) as made:
        yield made


@pytest.fixture
def storer(start: Callable[..., Any]) -> Any:
    actor = start("Storer")
    assert actor.retain(0) == 0
    return actor


def held(node: EmulatedNode, actor: Any) -> dict[int, int]:
    return next(one.bytes for one in node.report().processes if one.pid == actor.pid)


def test_memory_goes_out_and_comes_back_by_the_caller(node: EmulatedNode, target: Any, storer: Any) -> None:
    first, second = target.fill(6, 3)[1], target.fill(4, 4)[1]
    before = [target.sum(first, 6), target.sum(second, 4)]
    used = node.report().used_bytes[0]
    assert storer.lock(target.pid) == 0
    assert storer.begin("Checkpoint", target.pid) == (0, [(0, 10 * MIB)])
    assert storer.state(target.pid) == (0, CHECKPOINTING)
    assert node.report().used_bytes[0] == used  # mapped, not copied: nothing more, nothing less
    assert storer.pull() == 0
    assert storer.complete() == 0
    assert storer.state(target.pid) == (0, CHECKPOINTED)
    assert held(node, target) == {}
    assert storer.begin("Restore", target.pid) == (0, [(0, 10 * MIB)])
    assert storer.state(target.pid) == (0, RESTORING)
    assert storer.peek() == (0, b"\xa5" * 16)  # whoever does not write it has rubbish
    assert storer.push() == 0
    assert storer.complete() == 0
    assert storer.state(target.pid) == (0, LOCKED)
    assert storer.unlock(target.pid) == 0
    assert [target.sum(first, 6), target.sum(second, 4)] == before
    assert node.report().used_bytes[0] == used


def test_of_memory_that_fills_no_whole_granule_the_range_has_what_was_asked_for(target: Any, storer: Any) -> None:
    result, address = target.alloc(3 * MIB + 700)
    assert (result, target.write(address, b"x" * (3 * MIB + 700))) == (0, 0)
    storer.lock(target.pid)
    assert storer.begin("Checkpoint", target.pid) == (0, [(0, 3 * MIB + 1024)])
    assert storer.beyond() == INVALID_VALUE
    assert (storer.pull(), storer.complete()) == (0, 0)
    assert storer.begin("Restore", target.pid)[1] == [(0, 3 * MIB + 1024)]
    assert (storer.push(), storer.complete(), storer.unlock(target.pid)) == (0, 0, 0)
    assert target.crc(address, 3 * MIB + 700)[1] != 0


def test_each_device_is_an_entry_of_its_own(start: Callable[..., Any], storer: Any) -> None:
    two = start("Target")
    assert (two.hello(), two.fill(4)[0], two.use(1), two.fill(6)[0]) == (0, 0, 0, 0)
    storer.lock(two.pid)
    assert storer.begin("Checkpoint", two.pid)[0] == INVALID_CONTEXT  # of the second one there is no context here
    assert storer.state(two.pid) == (0, LOCKED)
    assert storer.retain(1) == 0
    assert storer.begin("Checkpoint", two.pid) == (0, [(0, 4 * MIB), (1, 6 * MIB)])
    assert (storer.pull(), storer.complete()) == (0, 0)
    assert storer.begin("Restore", two.pid) == (0, [(0, 4 * MIB), (1, 6 * MIB)])


def test_who_may_not(node: EmulatedNode, target: Any, start: Callable[..., Any], storer: Any) -> None:
    bare = start("Storer")
    assert storer.begin("Checkpoint", target.pid)[0] == ILLEGAL_STATE  # it runs
    storer.lock(target.pid)
    assert bare.begin("Checkpoint", target.pid)[0] == INVALID_CONTEXT
    assert storer.begin("Checkpoint", storer.pid)[0] == NOT_SUPPORTED  # of itself
    assert storer.state(target.pid) == (0, LOCKED)
    assert storer.unlock(target.pid) == 0


def test_a_handle_is_good_for_one_call(target: Any, storer: Any) -> None:
    target.fill(2)
    storer.lock(target.pid)
    storer.begin("Checkpoint", target.pid)
    assert storer.complete_rubbish() == INVALID_VALUE
    assert storer.state(target.pid) == (0, CHECKPOINTING)
    assert storer.complete() == 0
    assert storer.again() == INVALID_VALUE
    assert storer.state(target.pid) == (0, CHECKPOINTED)


def test_nothing_leads_back_from_the_middle(target: Any, storer: Any, start: Callable[..., Any]) -> None:
    target.fill(2)
    other = start("Storer")
    other.retain(0)
    storer.lock(target.pid)
    storer.begin("Checkpoint", target.pid)
    again = [other.unlock(target.pid), other.checkpoint(target.pid), other.begin("Checkpoint", target.pid)[0]]
    assert again == [ILLEGAL_STATE] * 3
    assert [other.restore(target.pid), other.lock(target.pid)] == [ILLEGAL_STATE] * 2
    assert (storer.pull(), storer.complete()) == (0, 0)


def test_with_the_caller_goes_the_process(node: EmulatedNode, target: Any, storer: Any, start: Any) -> None:
    target.fill(2)
    storer.lock(target.pid)
    storer.begin("Checkpoint", target.pid)
    storer.kill()
    other = start("Storer")
    other.retain(0)
    assert other.state(target.pid) == (0, CHECKPOINTING)
    assert [other.unlock(target.pid), other.begin("Checkpoint", target.pid)[0]] == [ILLEGAL_STATE] * 2
    assert held(node, target)[0] > 2 * MIB  # until it is killed
    target.kill()
    assert node.report().used_bytes[0] == 16 * MIB  # the other's context


def test_a_caller_that_dies_in_a_restore_leaves_it_restoring(target: Any, storer: Any, start: Any) -> None:
    target.fill(2)
    storer.lock(target.pid)
    storer.begin("Checkpoint", target.pid)
    assert (storer.pull(), storer.complete()) == (0, 0)
    assert storer.begin("Restore", target.pid)[0] == 0
    storer.kill()
    other = start("Storer")
    other.retain(0)
    assert other.state(target.pid) == (0, RESTORING)
    assert [other.unlock(target.pid), other.begin("Restore", target.pid)[0]] == [ILLEGAL_STATE] * 2


def test_a_process_that_dies_meanwhile_keeps_its_memory_mapped(
    node: EmulatedNode, target: Any, storer: Any, start: Any
) -> None:
    _, address = target.fill(200)
    assert address
    storer.lock(target.pid)
    storer.begin("Checkpoint", target.pid)
    target.kill()
    other = start("Target")
    assert other.alloc_only(200)[0] == OUT_OF_MEMORY  # nobody else's while it is mapped
    assert storer.pull() == 0
    assert storer.complete() == OPERATING_SYSTEM
    assert storer.again() == INVALID_VALUE
    assert other.alloc_only(200)[0] == 0


def test_a_restore_without_room_is_final(node: EmulatedNode, target: Any, storer: Any, start: Any) -> None:
    target.fill(100)
    storer.lock(target.pid)
    storer.begin("Checkpoint", target.pid)
    assert (storer.pull(), storer.complete()) == (0, 0)
    other = start("Target")
    assert other.alloc_only(180)[0] == 0
    assert storer.begin("Restore", target.pid)[0] == OUT_OF_MEMORY
    other.kill()
    assert storer.begin("Restore", target.pid)[0] == OPERATING_SYSTEM
    assert storer.unlock(target.pid) == ILLEGAL_STATE


def test_what_went_one_way_does_not_come_back_the_other(target: Any, storer: Any) -> None:
    target.fill(2)
    storer.lock(target.pid)
    storer.begin("Checkpoint", target.pid)
    assert (storer.pull(), storer.complete()) == (0, 0)
    assert storer.restore(target.pid) == INVALID_VALUE
    assert storer.state(target.pid) == (0, CHECKPOINTED)
    assert storer.begin("Restore", target.pid)[0] == 0
    assert (storer.push(), storer.complete()) == (0, 0)
    assert storer.checkpoint(target.pid) == 0
    assert storer.begin("Restore", target.pid)[0] == INVALID_VALUE
    assert [storer.restore(target.pid), storer.unlock(target.pid)] == [0, 0]


def test_managed_memory_is_refused_and_the_process_runs_on(target: Any, storer: Any) -> None:
    target.managed(1)
    storer.lock(target.pid)
    assert storer.begin("Checkpoint", target.pid)[0] == NOT_SUPPORTED
    assert storer.unlock(target.pid) == 0


def test_faults_in_each_call(node: EmulatedNode, target: Any, storer: Any) -> None:
    target.fill(2)
    storer.lock(target.pid)
    node.set_fault(Fault(kind=FaultKind.RESULT, op="checkpoint", value=999))
    assert storer.begin("Checkpoint", target.pid)[0] == 999
    assert storer.state(target.pid) == (0, LOCKED)
    storer.begin("Checkpoint", target.pid)
    node.set_fault(Fault(kind=FaultKind.RESULT, op="cuCheckpointOperationComplete", value=998))
    assert storer.complete() == 998  # did nothing at all
    assert storer.pull() == 0
    node.set_fault(Fault(kind=FaultKind.RESULT, op="complete", value=997))
    assert storer.complete() == 997  # ended the operation, and the process knows nothing of it
    assert storer.again() == INVALID_VALUE
    assert storer.state(target.pid) == (0, CHECKPOINTING)


def test_it_dies_when_told(node: EmulatedNode, target: Any, storer: Any) -> None:
    target.fill(2)
    storer.lock(target.pid)
    storer.begin("Checkpoint", target.pid)
    node.set_fault(Fault(kind=FaultKind.DIE, op="complete", value=0))
    assert storer.complete() == OPERATING_SYSTEM


def test_a_byte_goes_wrong_when_told(node: EmulatedNode, target: Any, storer: Any) -> None:
    _, address = target.fill(2)
    before = target.sum(address, 2)
    storer.lock(target.pid)
    storer.begin("Checkpoint", target.pid)
    assert (storer.pull(), storer.complete()) == (0, 0)
    node.set_fault(Fault(kind=FaultKind.CORRUPT))
    storer.begin("Restore", target.pid)
    assert (storer.push(), storer.complete(), storer.unlock(target.pid)) == (0, 0, 0)
    assert target.sum(address, 2) != before


def test_an_older_driver_knows_nothing_of_it(start: Callable[..., Any]) -> None:
    """There the pointer lies in bytes that must be zero."""
    with EmulatedNode.temporary(devices=[256 * MIB]) as old:
        target, storer = start("Target", env=old.environment()), start("Storer", env=old.environment())
        assert (target.hello(), storer.retain(0), storer.lock(target.pid)) == (0, 0, 0)
        assert storer.begin("Checkpoint", target.pid)[0] == INVALID_VALUE
        assert storer.state(target.pid) == (0, LOCKED)
        assert storer.checkpoint(target.pid) == 0
        assert storer.begin("Restore", target.pid)[0] == INVALID_VALUE
        assert (storer.restore(target.pid), storer.unlock(target.pid)) == (0, 0)
        assert storer.complete_rubbish() == NOT_SUPPORTED


def test_it_says_which_driver_it_is(start: Callable[..., Any], storer: Any) -> None:
    name = b"cuCheckpointOperationComplete"
    assert (storer.version(), storer.has(name, 13040), storer.has(name, 13000)) == ((0, 13040), True, False)
    with EmulatedNode.temporary(devices=[256 * MIB]) as old:
        older = start("Storer", env=old.environment())
        assert (older.version(), older.has(name, 13040)) == ((0, 13000), False)
