"""Signals that come while threads are held are delivered at the release: none lost, none early."""

from __future__ import annotations

import asyncio
import os
import signal

from hotseat.linux import proc

SENDER = 128
"""Counter of the sender of signal S is SENDER + S."""


async def test_signals_that_come_during_a_hold_are_handled_after_it(victim, freezer, until):
    target = victim("signals", 3)
    hold = await freezer.seize(target.family, deadline=5)
    for number in (signal.SIGUSR1, signal.SIGTERM):
        os.kill(target.pid, number)
    for _ in range(5):
        os.kill(target.pid, signal.SIGRTMIN)  # real-time signals queue
    await asyncio.sleep(0.05)
    assert target.rests()
    assert [target.count(number) for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMIN)] == [0, 0, 0]
    await hold.release()
    await until(
        lambda: target.count(signal.SIGRTMIN) >= 5 and target.count(signal.SIGTERM) and target.count(signal.SIGUSR1)
    )
    assert target.count(SENDER + signal.SIGUSR1) == os.getpid()
    assert target.count(signal.SIGUSR1) == target.count(signal.SIGTERM) == 1


async def test_no_handler_of_the_application_runs_while_the_driver_does(victim, freezer, until):
    """The thread that was let run is the only one that could take a signal; it is kept from it until the release."""
    target = victim("signals", 2)
    driver = proc.task_ids(target.pid)[1]
    hold = await freezer.seize(target.family, deadline=5)
    await hold.let_run([driver], deadline=5)
    assert target.runs(301)
    os.kill(target.pid, signal.SIGUSR1)
    os.kill(target.pid, signal.SIGTERM)
    for _ in range(7):
        os.kill(target.pid, signal.SIGRTMIN)
        await asyncio.sleep(0.005)
    assert target.runs(301)
    assert [target.count(number) for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMIN)] == [0, 0, 0]
    await hold.release()
    await until(
        lambda: target.count(signal.SIGRTMIN) >= 7 and target.count(signal.SIGTERM) and target.count(signal.SIGUSR1)
    )
    assert target.count(signal.SIGUSR1) == 1
    assert target.count(signal.SIGRTMIN) == 7
    assert (
        target.count(SENDER + signal.SIGTERM) == os.getpid()
    )  # the sender is the one who sent it, not hotseat's tracer


async def test_signals_under_way_while_threads_are_being_seized_are_not_lost(victim, freezer, until):
    target = victim("signals", 4)
    sent = 0
    for _ in range(15):
        for _ in range(20):
            os.kill(target.pid, signal.SIGRTMIN)
            sent += 1
        hold = await freezer.seize(target.family, deadline=5)
        for _ in range(3):
            os.kill(target.pid, signal.SIGRTMIN)
            sent += 1
        await hold.release()
    await until(lambda: target.count(signal.SIGRTMIN) >= sent)
    assert target.count(signal.SIGRTMIN) == sent


async def test_a_stop_sent_to_a_held_process_takes_effect_at_the_release(victim, freezer, until):
    target = victim("doze", 4)
    hold = await freezer.seize(target.family, deadline=5)
    os.kill(target.pid, signal.SIGSTOP)
    before = target.everything()
    await hold.release()
    await until(lambda: target.states() == {"T"})
    assert target.everything() == before
    os.kill(target.pid, signal.SIGCONT)
    assert all(target.runs(index) for index in range(1, 5))


async def test_a_stop_sent_while_the_driver_runs_lets_it_run_and_stops_all_at_the_release(victim, freezer, until):
    target = victim("doze", 4)
    driver = proc.task_ids(target.pid)[2]
    hold = await freezer.seize(target.family, deadline=5)
    await hold.let_run([driver], deadline=5)
    os.kill(target.pid, signal.SIGSTOP)
    assert target.runs(3)
    before = [target.count(index) for index in (1, 2, 4)]
    await hold.release()
    await until(lambda: target.states() == {"T"})
    assert [target.count(index) for index in (1, 2, 4)] == before
    assert target.rests()
    os.kill(target.pid, signal.SIGCONT)
    assert all(target.runs(index) for index in range(1, 5))


async def test_a_continue_during_the_hold_of_a_stopped_process_lets_it_run_after(victim, freezer, until):
    target = victim("doze", 3)
    os.kill(target.pid, signal.SIGSTOP)
    await until(lambda: target.states() == {"T"})
    before = target.everything()
    hold = await freezer.seize(target.family, deadline=5, wait=False)
    os.kill(target.pid, signal.SIGCONT)
    await hold.settle(deadline=5)
    await asyncio.sleep(0.02)
    assert target.everything() == before
    await hold.release()
    assert all(target.runs(index) for index in range(1, 4))


async def test_a_fault_of_the_thread_that_runs_is_its_own(victim, freezer, until):
    """SIGSEGV by kill(2) is postponed like any signal; by a fault it would come again for ever, so it is delivered."""
    target = victim("fault")
    driver = proc.task_ids(target.pid)[1]
    hold = await freezer.seize(target.family, deadline=5)
    os.kill(target.pid, signal.SIGSEGV)
    await hold.let_run([driver], deadline=5)
    target.set(1, 1)  # now it reads through a bad pointer, once
    await until(lambda: target.count(2))
    assert target.count(signal.SIGSEGV) == 1
    await hold.release()
    await until(lambda: target.count(signal.SIGSEGV) >= 2)
