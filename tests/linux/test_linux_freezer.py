"""Every thread stands still while it is held, whatever it was doing, and goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from hotseat.errors import FreezeFailed, ProcessGone, Refused
from hotseat.linux import proc


async def test_threads_rest_while_held_and_go_on_after(victim, freezer):
    spin = victim("spin", 4)
    hold = await freezer.seize(spin.family, deadline=5)
    assert (hold.threads, hold.processes) == (4, {spin.ref})
    assert spin.states() == {"t"}
    assert spin.rests()
    await hold.release()
    assert all(spin.runs(index) for index in range(1, 5))


async def test_two_thousand_threads(victim, freezer):
    crowd = victim("sleep", 2000)
    hold = await freezer.seize(crowd.family, deadline=20)
    assert hold.threads == 2000
    assert crowd.states() == {"t"}
    await hold.release()
    assert "t" not in crowd.states()


async def test_many_processes_in_one_hold(victim, freezer):
    many = [victim("doze", 10) for _ in range(6)]
    hold = await freezer.seize(lambda: [one.ref for one in many], deadline=5)
    assert (hold.threads, hold.processes) == (60, {one.ref for one in many})
    assert all(one.rests() for one in many)
    await hold.release()
    assert all(one.runs() for one in many)


async def test_nothing_to_hold_is_a_hold_too(freezer):
    hold = await freezer.seize(list, deadline=5)
    await hold.settle(deadline=5)
    assert (hold.threads, hold.processes) == (0, frozenset())
    await hold.release()


async def test_zombies_are_passed_over(victim, freezer):
    parent = victim("zombie", 3)
    zombies = [pid for pid in proc.children(parent.pid) if proc.stat(pid).state == "Z"]
    assert len(zombies) == 3
    everyone = [parent.ref, *(proc.ref(pid) for pid in zombies)]
    hold = await freezer.seize(lambda: everyone, deadline=5)
    assert hold.processes == {parent.ref}
    assert parent.rests()
    await hold.release()
    assert parent.runs()
    assert sorted(proc.children(parent.pid)) == sorted(zombies)  # left for their parent to wait for


async def test_a_process_whose_first_thread_has_ended_is_held(victim, freezer, until):
    headless = victim("headless")
    await until(lambda: proc.stat(headless.pid).state == "Z")
    hold = await freezer.seize(lambda: [headless.ref], deadline=5)
    assert (hold.threads, hold.processes) == (1, {headless.ref})
    assert headless.rests()
    await hold.release()
    assert headless.runs()


async def test_stopped_by_job_control_before_means_stopped_after(victim, freezer, until):
    stopped = victim("doze", 3)
    os.kill(stopped.pid, signal.SIGSTOP)
    await until(lambda: stopped.states() == {"T"})
    hold = await freezer.seize(stopped.family, deadline=5)
    assert hold.threads == 3
    await hold.release()
    await until(lambda: stopped.states() == {"T"})
    assert stopped.rests()
    os.kill(stopped.pid, signal.SIGCONT)
    assert stopped.runs()


async def test_uninterruptible_sleep_fails_at_the_deadline_and_names_the_thread(victim, freezer, until):
    vfork, bystander = victim("vfork"), victim("doze", 3)
    await until(lambda: vfork.count(2))
    with pytest.raises(FreezeFailed) as caught:  # its child, for which it sleeps, is not listed, so not held
        await freezer.seize(lambda: [bystander.ref, vfork.ref], deadline=0.3)
    assert f"thread {vfork.pid} (victim)" in str(caught.value)
    assert "state D (uninterruptible sleep in " in str(caught.value)
    assert caught.value.hint
    assert proc.status(vfork.pid).tracer == 0
    assert bystander.runs(1)
    assert bystander.runs(3)


async def test_asleep_in_vfork_for_a_held_child_is_as_good_as_held(victim, freezer, until):
    vfork = victim("vfork")
    await until(lambda: vfork.count(2))
    hold = await freezer.seize(vfork.family, deadline=5)
    assert {ref.pid for ref in hold.processes} == {vfork.pid, vfork.count(2)}
    os.kill(vfork.count(2), signal.SIGKILL)  # the child ends, so the parent wakes: it must stop now
    await until(lambda: vfork.states() == {"t"})
    await hold.settle(deadline=5)
    assert hold.processes == {vfork.ref}
    await hold.release()


async def test_a_process_under_a_debugger_is_refused_by_name(victim, freezer):
    doze, other = victim("doze", 2), victim("doze", 2)
    debugger = victim("trace", doze.pid)
    with pytest.raises(Refused) as caught:
        await freezer.seize(lambda: [other.ref, doze.ref], deadline=5)
    assert caught.value.rule == "traced"
    assert f"traced by process {debugger.pid}" in str(caught.value)
    assert "victim trace" in str(caught.value)
    assert str(debugger.pid) in caught.value.hint
    assert proc.status(doze.pid).tracer == debugger.pid
    assert other.runs()
    assert doze.runs()


async def test_what_another_hold_holds_is_refused(victim, freezer):
    doze = victim("doze")
    first = await freezer.seize(doze.family, deadline=5)
    with pytest.raises(Refused, match="traced"):
        await freezer.seize(doze.family, deadline=5)
    assert doze.rests()
    await first.release()
    second = await freezer.seize(doze.family, deadline=5)
    assert second.threads == 1
    await second.release()


async def test_hotseat_does_not_hold_itself(freezer):
    with pytest.raises(Refused) as caught:
        await freezer.seize(lambda: [proc.ref(os.getpid())], deadline=5)
    assert caught.value.rule == "self"


async def test_another_process_under_the_same_pid_is_not_touched(victim, freezer):
    doze = victim("doze")
    stranger = doze.ref._replace(start_time=doze.ref.start_time - 1)
    with pytest.raises(ProcessGone, match="another process"):
        await freezer.seize(lambda: [stranger], deadline=5)
    assert doze.runs()
    assert proc.status(doze.pid).tracer == 0


async def test_processes_that_end_before_they_are_seized_are_passed_over(victim, freezer):
    doze, gone = victim("doze"), victim("doze")
    refs = [doze.ref, gone.ref]
    gone.end()
    hold = await freezer.seize(lambda: refs, deadline=5)
    assert hold.processes == {doze.ref}
    await hold.release()


async def test_only_the_threads_let_run_run(victim, freezer):
    spin = victim("spin", 3)
    tids = proc.task_ids(spin.pid)
    hold = await freezer.seize(spin.family, deadline=5)
    before = [spin.count(index) for index in (1, 2, 3)]
    await hold.let_run([tids[1]], deadline=5)
    assert spin.runs(2)
    assert [spin.count(1), spin.count(3)] == [before[0], before[2]]
    await hold.release()
    assert spin.runs(1)
    assert spin.runs(2)
    assert spin.runs(3)


async def test_letting_run_a_thread_that_is_not_held_says_it_is_gone(victim, freezer):
    doze = victim("doze")
    hold = await freezer.seize(doze.family, deadline=5)
    with pytest.raises(ProcessGone):
        await hold.let_run([1], deadline=5)
    assert doze.rests()
    await hold.release()


async def test_threads_made_by_a_thread_that_was_let_run_run_too(victim, freezer, until):
    driver = victim("clone")
    restore_thread = proc.task_ids(driver.pid)[1]
    hold = await freezer.seize(driver.family, deadline=5)
    first = driver.count(1)
    await hold.let_run([restore_thread], deadline=5)
    driver.set(4, 1)
    await until(lambda: driver.count(2) >= 20)  # it makes a thread and waits for its end, again and again
    assert driver.count(1) == first
    await hold.release()
    assert driver.runs(1)
    assert driver.runs(2)


async def test_release_is_idempotent_and_forgiving(victim, freezer):
    doze = victim("doze", 3)
    hold = await freezer.seize(doze.family, deadline=5)
    os.kill(doze.pid, signal.SIGKILL)
    await hold.release()
    await hold.release()
    with pytest.raises(FreezeFailed, match="released"):
        await hold.settle(deadline=1)


async def test_a_held_process_that_is_killed_dies_at_once_and_its_parent_hears_of_it(victim, freezer, until):
    doze, other = victim("doze", 5), victim("doze")
    hold = await freezer.seize(lambda: proc.refs([doze.pid, other.pid]), deadline=5)
    os.kill(doze.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        await until(lambda: doze.popen.poll() is not None)  # the shell has waited for it
    await hold.settle(deadline=5)
    assert hold.processes == {other.ref}
    assert other.rests()
    await hold.release()


async def test_closing_the_freezer_lets_everything_go(victim, freezer):
    doze = victim("doze")
    await freezer.seize(doze.family, deadline=5)
    await freezer.aclose()
    assert doze.runs()


async def test_a_cancelled_seize_lets_everything_go(victim, freezer, until):
    doze, stuck = victim("doze"), victim("vfork")
    await until(lambda: stuck.count(2))
    task = asyncio.create_task(freezer.seize(lambda: [doze.ref, stuck.ref], deadline=30))
    await until(lambda: proc.status(stuck.pid).tracer != 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert proc.status(stuck.pid).tracer == 0
    assert doze.runs()


async def test_an_idle_hold_uses_no_processor_time(victim, process_freezer):
    crowd = victim("sleep", 300)
    hold = await process_freezer.seize(crowd.family, deadline=5)
    owner = proc.status(crowd.pid).tracer
    before = time.process_time_ns(), _ticks(owner)
    await asyncio.sleep(0.5)
    assert _ticks(owner) - before[1] <= 1
    await hold.release()


def _ticks(pid: int) -> int:
    fields = proc.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12])
