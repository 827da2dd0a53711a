"""Many swaps and many deaths leave nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conformance_actors import cycle

MIB = 1 << 20
pytestmark = pytest.mark.emulated


def _resources(pid: int) -> tuple[int, int, int]:
    """(descriptors, threads, mappings)."""
    maps = Path(f"/proc/{pid}/maps").read_text().count("\n")
    return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")), maps


def test_fifty_cycles_leak_nothing(node, target, control):
    _, address, _ = target.vmm(8, False, 4)
    target.fill(8)
    before = target.sum(address, 8)
    assert cycle(control, target.pid) == [0, 0, 0, 0]
    app, caller, used = _resources(target.pid), _resources(control.pid), node.report().used_bytes
    for _ in range(50):
        assert cycle(control, target.pid) == [0, 0, 0, 0]
    assert target.sum(address, 8) == before
    assert (_resources(target.pid), _resources(control.pid), node.report().used_bytes) == (app, caller, used)


def test_processes_that_die_anywhere_leave_nothing(node, start):
    """Killed while allocating, copying and freeing; the node's memory is whole again and its slots are free."""
    for seed in range(12):
        app = start("Target")
        app.hello()
        app.start("churn", seed)
        app.answer(0.01 * seed)
        app.kill()
    nvml = start("Watcher")
    assert nvml.memory()[3] == 0
    assert node.report().processes == ()
    assert (node.directory / "nvidia0").stat().st_blocks == 0


def test_allocations_of_many_threads_do_not_mix(target):
    """Each thread writes its own pattern into its own memory, many times."""
    assert target.churn_threads(8, 20) == [0] * 8
