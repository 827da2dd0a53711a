"""Every fault does what its description says, to whom it says, as often as it says."""

from __future__ import annotations

import time

import pytest
from conformance_actors import HANG, cycle

from hotseat.emulator import Fault, FaultKind
from hotseat.errors import NotFound, UsageError

MIB = 1 << 20
NOT_READY, OUT_OF_MEMORY, OPERATING_SYSTEM, ILLEGAL_STATE = 600, 2, 304, 401
pytestmark = pytest.mark.emulated


def state(node, actor) -> str:
    return next(p.state for p in node.report().processes if p.pid == actor.pid)


def test_lock_times_out_once(node, target, control):
    node.set_fault(Fault(kind=FaultKind.LOCK_TIMEOUT))
    assert control.call("lock", target.pid, 50) == NOT_READY
    assert state(node, target) == "running"
    assert control.call("lock", target.pid, 50) == 0


def test_hang_lasts_until_it_is_cleared(node, target, control):
    index = node.set_fault(Fault(kind=FaultKind.HANG, op="checkpoint", times=None))
    control.lock(target.pid)
    control.start("checkpoint", target.pid)
    assert control.answer(0.3) == HANG
    assert state(node, target) == "locked"
    node.clear_fault(index)
    assert control.answer(10) == 0


def test_hang_in_a_function_of_the_application(node, target):
    index = node.set_fault(Fault(kind=FaultKind.HANG, op="cuMemGetInfo_v2", times=None))
    target.start("info")
    assert target.answer(0.3) == HANG
    node.clear_fault(index)
    assert target.answer(10)[0] == 0


def test_nth_call_of_a_function_fails(node, target):
    node.set_fault(Fault(kind=FaultKind.RESULT, op="cuMemAlloc_v2", value=OUT_OF_MEMORY, skip=2))
    assert [target.alloc_only(2)[0] for _ in range(4)] == [0, 0, OUT_OF_MEMORY, 0]
    (fault,) = node.faults()
    assert (fault.fired, fault.times) == (1, 0)


def test_sticky_result_until_cleared(node, target, control):
    index = node.set_fault(Fault(kind=FaultKind.RESULT, op="lock", value=999, times=None))
    assert [control.lock(target.pid) for _ in range(3)] == [999, 999, 999]
    node.clear_fault(index)
    assert control.lock(target.pid) == 0


def test_fault_for_one_process_spares_the_others(node, target, control, start):
    other = start("Target")
    other.hello()
    node.set_fault(Fault(kind=FaultKind.RESULT, op="lock", value=999, pid=target.pid, times=None))
    assert [control.lock(other.pid), control.lock(target.pid)] == [0, 999]


def test_restore_without_memory_is_final(node, target, control):
    node.set_fault(Fault(kind=FaultKind.OOM_RESTORE))
    results = cycle(control, target.pid, ("lock", "checkpoint", "restore", "restore", "unlock"))
    assert results == [0, 0, OUT_OF_MEMORY, OPERATING_SYSTEM, ILLEGAL_STATE]
    (lost,) = (p for p in node.report().processes if p.pid == target.pid)
    assert (lost.state, lost.lost, lost.bytes) == ("checkpointed", True, {})


def test_slow_copy_takes_its_time(node, target, control):
    target.fill(32)
    node.set_fault(Fault(kind=FaultKind.SLOW_COPY, op="checkpoint", value=64 * MIB))
    control.lock(target.pid)
    begun = time.monotonic()
    assert control.checkpoint(target.pid) == 0
    assert time.monotonic() - begun >= 0.5  # 32 MiB at 64 MiB/s; a lower bound, so no load can break it


@pytest.mark.parametrize(("op", "percent"), [("checkpoint", 0), ("checkpoint", 50), ("restore", 0), ("restore", 50)])
def test_death_in_the_middle_leaves_nothing_behind(node, target, control, op, percent):
    target.fill(16)
    names = ["lock", "checkpoint", "restore"][: 2 if op == "checkpoint" else 3]
    node.set_fault(Fault(kind=FaultKind.DIE, op=op, value=percent))
    assert cycle(control, target.pid, names)[-1] == OPERATING_SYSTEM
    assert target.ended() == -9
    assert node.report().used_bytes == (0, 0)


def test_late_release_shows_in_nvml_only(node, target, control, start):
    nvml = start("Watcher")
    target.fill(16)
    node.set_fault(Fault(kind=FaultKind.LATE_RELEASE, value=400, times=None))
    control.lock(target.pid)
    control.checkpoint(target.pid)
    assert nvml.memory()[3] >= 16 * MIB
    assert node.report().used_bytes[0] == 0
    deadline = time.monotonic() + 10
    while nvml.memory()[3] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert nvml.memory()[3] == 0


def test_silent_failure_keeps_the_memory(node, target, control, start):
    """The call succeeds, the world disagrees: what verification is for."""
    _, address = target.fill(16)
    before = target.sum(address, 16)
    node.set_fault(Fault(kind=FaultKind.KEEP_MEMORY))
    assert cycle(control, target.pid, ("lock", "checkpoint")) == [0, 0]
    assert state(node, target) == "checkpointed"
    assert start("Watcher").processes()[1][target.pid] == 32 * MIB
    assert cycle(control, target.pid, ("restore", "unlock")) == [0, 0]
    assert target.sum(address, 16) == before


def test_corruption_changes_a_byte(node, target, control):
    _, address = target.fill(16)
    before = target.sum(address, 16)
    node.set_fault(Fault(kind=FaultKind.CORRUPT))
    assert cycle(control, target.pid) == [0, 0, 0, 0]
    assert target.sum(address, 16) != before


def test_clearing_all_frees_the_table(node):
    for _ in range(32):
        node.set_fault(Fault(kind=FaultKind.HANG))
    with pytest.raises(UsageError):
        node.set_fault(Fault(kind=FaultKind.HANG))
    node.clear_faults()
    assert node.faults() == ()
    assert node.set_fault(Fault(kind=FaultKind.HANG, op="restore", skip=3, times=None)) == 0
    (fault,) = node.faults()
    assert (fault.op, fault.skip, fault.times, fault.index) == ("restore", 3, None, 0)


def test_fault_for_a_process_that_is_not_there(node):
    with pytest.raises(NotFound):
        node.set_fault(Fault(kind=FaultKind.HANG, pid=2**22 - 1))
