"""SIGSTOP as the lasting stop, alone and hand in hand with the ptrace hold."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from hotseat.errors import FreezeFailed, Refused
from hotseat.linux import proc, stopper


async def test_stop_and_resume_a_tree(victim):
    parent = victim("storm", 2)
    await stopper.stop(parent.family, deadline=15)
    assert parent.rests()
    assert all(stopper.stopped(ref) for ref in parent.family())
    await stopper.stop(parent.family, deadline=15)
    stopper.resume(parent.family())
    assert all(parent.runs(index) for index in (1, 2, 3))


async def test_every_thread_stands_still_when_it_returns(victim):
    crowd = victim("spin", 8)
    await stopper.stop(crowd.family, deadline=10)
    assert crowd.states() == {"T"}
    before = crowd.everything()
    await asyncio.sleep(0.02)
    assert crowd.everything() == before
    stopper.resume(crowd.family())
    assert crowd.runs()


async def test_from_the_stop_to_the_hold(victim, freezer):
    spin = victim("spin", 6)
    await stopper.stop(spin.family, deadline=10)
    before = spin.everything()
    hold = await freezer.seize(spin.family, deadline=5, wait=False)
    stopper.resume(spin.family())
    await hold.settle(deadline=5)
    await asyncio.sleep(0.02)
    assert spin.everything() == before
    await hold.release()
    assert all(spin.runs(index) for index in range(1, 7))


async def test_from_the_hold_to_the_stop(victim, freezer, until):
    spin = victim("spin", 6)
    hold = await freezer.seize(spin.family, deadline=5)
    before = spin.everything()
    await stopper.stop(spin.family, deadline=10)
    await hold.release()
    await until(lambda: spin.states() == {"T"})
    assert spin.everything() == before
    stopper.resume(spin.family())
    assert all(spin.runs(index) for index in range(1, 7))


async def test_whole_rounds_with_a_thread_that_runs_for_the_driver(victim, freezer, until):
    spin = victim("spin", 4)
    driver = proc.task_ids(spin.pid)[3]
    for _ in range(5):
        hold = await freezer.seize(spin.family, deadline=5)
        await hold.let_run([driver], deadline=5)
        held = [spin.count(index) for index in (1, 2, 3)]
        await stopper.stop(spin.family, deadline=10)
        await hold.release()
        await until(lambda: spin.states() == {"T"})
        assert spin.rests(0.01)
        hold = await freezer.seize(spin.family, deadline=5, wait=False)
        stopper.resume(spin.family())
        await hold.settle(deadline=5)
        await hold.let_run([driver], deadline=5)
        assert spin.runs(4)
        assert [spin.count(index) for index in (1, 2, 3)] == held
        await hold.release()
        assert all(spin.runs(index) for index in range(1, 5))


async def test_what_does_not_stop_is_named_and_all_continued(victim):
    stuck, doze = victim("vfork"), victim("doze")
    with pytest.raises(FreezeFailed, match=f"process {stuck.pid} did not stop") as caught:
        await stopper.stop(lambda: [doze.ref, stuck.ref], deadline=0.3)
    assert caught.value.hint
    assert doze.runs()


async def test_the_dead_and_the_gone_count_as_stopped(victim):
    parent, gone = victim("zombie", 2), victim("doze")
    zombie = proc.ref(proc.children(parent.pid)[0])
    refs = [parent.ref, gone.ref, zombie]
    gone.end()
    await stopper.stop(lambda: refs, deadline=10)
    assert parent.rests()
    stopper.resume(refs)
    assert parent.runs()


async def test_another_process_under_the_same_pid_is_not_signalled(victim):
    doze = victim("doze")
    stranger = doze.ref._replace(start_time=doze.ref.start_time + 1)
    await stopper.stop(lambda: [stranger], deadline=5)
    assert doze.runs()
    os.kill(doze.pid, signal.SIGSTOP)
    stopper.resume([stranger])
    assert doze.rests()


ROUND = """
import asyncio, mmap, struct, subprocess
from hotseat.linux import proc, stopper
from hotseat.linux.freezer import PtraceFreezer

async def main():
    shell = subprocess.Popen(["/bin/sh", "-c", "./victim spin counters 3 & wait"])
    while len(proc.descendants(shell.pid)) < 2: pass
    victim = proc.descendants(shell.pid)[1]
    while len(proc.task_ids(victim)) < 3: pass
    family = lambda: proc.refs(proc.descendants(shell.pid))
    with open("counters", "r+b") as file:
        counters = mmap.mmap(file.fileno(), 4096)
    freezer = PtraceFreezer()
    hold = await freezer.seize(family, deadline=5)
    before = counters[:]
    await stopper.stop(family, deadline=5)
    await hold.release()
    await stopper.stop(family, deadline=5)
    hold = await freezer.seize(family, deadline=5, wait=False)
    stopper.resume(family())
    await hold.settle(deadline=5)
    await asyncio.sleep(0.02)
    print(counters[:] == before, hold.threads)
    await hold.release()
    while counters[:] == before: pass
    await freezer.aclose()
    for ref in reversed(family()):
        with stopper.Process.open(ref) as process:
            process.signal(stopper.signal.SIGKILL)
    shell.wait()
asyncio.run(main())
"""


@pytest.mark.root
def test_a_user_without_rights_parks_so(nobody):
    done = nobody.python(ROUND)
    assert (done.returncode, done.stdout) == (0, b"True 4\n"), done.stderr.decode()


@pytest.mark.root
def test_a_user_is_refused_anothers_process(victim, nobody):
    doze = victim("doze")
    script = f"""
import asyncio
from hotseat.linux import proc, stopper
asyncio.run(stopper.stop(lambda: proc.refs([{doze.pid}]), deadline=5))
"""
    done = nobody.python(script)
    assert f"Refused: the kernel does not let this user signal process {doze.pid}".encode() in done.stderr
    assert doze.runs()


async def test_refusals_name_the_rule_and_the_way_out(victim, monkeypatch):
    doze = victim("doze")

    def denied(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", denied)
    with pytest.raises(Refused) as caught:
        await stopper.stop(lambda: [doze.ref], deadline=5)
    assert caught.value.rule == "permission"
    assert "root" in caught.value.hint
