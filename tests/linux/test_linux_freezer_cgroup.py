"""The ptrace hold and the cgroup freezer hand a workload to each other; it runs no instruction in between."""

from __future__ import annotations

import asyncio

import pytest

from hotseat.errors import FreezeFailed
from hotseat.linux import proc

pytestmark = pytest.mark.root


async def test_from_the_cgroup_to_the_hold(victim, freezer, own):
    spin = victim("spin", 6, into=own.path)
    await own.freeze(deadline=5)
    before = spin.everything()
    hold = await freezer.seize(own.processes, deadline=5, wait=False)
    assert hold.threads == 6
    await own.thaw(deadline=5)
    await hold.settle(deadline=5)
    await asyncio.sleep(0.02)
    assert spin.everything() == before  # six threads that count without a system call
    await hold.release()
    assert all(spin.runs(index) for index in range(1, 7))


async def test_from_the_hold_to_the_cgroup(victim, freezer, own):
    spin = victim("spin", 6, into=own.path)
    hold = await freezer.seize(own.processes, deadline=5)
    before = spin.everything()
    await own.freeze(deadline=5)
    assert own.frozen()
    await hold.release()
    await asyncio.sleep(0.02)
    assert own.frozen()
    assert proc.status(spin.pid).tracer == 0
    assert spin.everything() == before
    await own.thaw(deadline=5)
    assert all(spin.runs(index) for index in range(1, 7))


async def test_a_whole_round_with_a_thread_that_runs_for_the_driver(victim, freezer, own):
    """Out: hold, let the driver's thread run, freeze, release. In: seize, thaw, let it run, release."""
    spin = victim("spin", 4, into=own.path)
    tids = proc.task_ids(spin.pid)
    for _ in range(3):
        hold = await freezer.seize(own.processes, deadline=5)
        await hold.let_run([tids[3]], deadline=5)
        held = [spin.count(index) for index in (1, 2, 3)]
        assert spin.runs(4)
        await own.freeze(deadline=5)
        await hold.release()  # of a running thread that the cgroup has frozen: PTRACE_DETACH would refuse
        await asyncio.sleep(0.01)
        assert spin.rests(0.01)
        hold = await freezer.seize(own.processes, deadline=5, wait=False)
        await own.thaw(deadline=5)
        await hold.settle(deadline=5)
        await hold.let_run([tids[3]], deadline=5)
        assert spin.runs(4)
        assert [spin.count(index) for index in (1, 2, 3)] == held
        await hold.release()
        assert all(spin.runs(index) for index in range(1, 5))


async def test_a_storm_frozen_by_the_cgroup_is_held_whole(victim, freezer, own):
    storm = victim("storm", 2, into=own.path)
    await own.freeze(deadline=10)
    before = storm.everything()
    hold = await freezer.seize(own.processes, deadline=10, wait=False)
    await own.thaw(deadline=5)
    await hold.settle(deadline=10)
    assert storm.everything() == before
    await own.freeze(deadline=5)
    await hold.release()
    assert storm.rests()
    await own.thaw(deadline=5)
    assert storm.runs()


async def test_settling_what_its_cgroup_still_freezes_says_what_to_do(victim, freezer, own):
    doze = victim("doze", 2, into=own.path)
    await own.freeze(deadline=5)
    hold = await freezer.seize(own.processes, deadline=5, wait=False)
    if own.version == 1:  # version 2 lets a tracer stop what it has frozen
        with pytest.raises(FreezeFailed, match="frozen by its cgroup") as caught:
            await hold.settle(deadline=0.1)
        assert "thaw" in caught.value.hint
    else:
        await hold.settle(deadline=5)
    await hold.release()
    assert own.frozen()
    assert doze.rests()
