"""Processes that make threads and processes, or run another program, while they are being frozen."""

from __future__ import annotations

import asyncio

import pytest

from hotseat.linux import proc


@pytest.mark.parametrize("round_", range(3))
async def test_a_storm_of_forks_and_threads_is_held_whole(victim, freezer, round_):
    storm = victim("storm", 3)
    hold = await freezer.seize(storm.family, deadline=15)
    assert set(storm.family()) <= hold.processes
    assert storm.rests()
    for ref in storm.family():
        assert {proc.stat(tid).state for tid in proc.task_ids(ref.pid)} <= {"t", "Z"}
    await hold.release()
    assert all(storm.runs(index) for index in (1, 2, 3))


async def test_programs_started_meanwhile_are_held_or_done(victim, freezer):
    """posix_spawn's way: the parent sleeps uninterruptibly in vfork until the child runs another program."""
    spawn = victim("spawn")
    for _ in range(25):
        hold = await freezer.seize(spawn.family, deadline=5)
        assert spawn.rests(0.005)
        await hold.release()
        assert spawn.runs()


async def test_a_process_of_many_threads_that_runs_another_program_meanwhile(victim, freezer):
    """execve kills the other threads and waits until their tracer has reaped them, holding what PTRACE_SEIZE needs."""
    program = victim("exec", 60)
    for _ in range(25):
        hold = await freezer.seize(program.family, deadline=10)
        starts = program.count(1)
        assert {proc.stat(tid).state for tid in proc.task_ids(program.pid)} <= {"t", "Z"}
        await asyncio.sleep(0.005)
        assert program.count(1) == starts
        await hold.release()
        assert program.runs()


async def test_a_thread_that_was_let_run_may_run_another_program(victim, freezer):
    """No driver does, yet it must not confuse the hold."""
    program = victim("sleep", 3)
    hold = await freezer.seize(program.family, deadline=5)
    assert hold.threads == 3
    await hold.let_run([proc.task_ids(program.pid)[1]], deadline=5)
    await hold.settle(deadline=5)
    await hold.release()
