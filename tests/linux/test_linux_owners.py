"""The owner of a hold lives apart: whatever dies, nobody stays held, and nobody's wait(2) is disturbed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from hotseat.errors import FreezeFailed
from hotseat.linux import owners, proc
from hotseat.linux.freezer import PtraceFreezer
from hotseat.linux.owners import ProcessOwners, ThreadOwners


async def test_a_held_child_of_this_process_keeps_its_exit_status(process_freezer):
    """asyncio waits for it; it must hear of the death, and of nothing before."""
    child = await asyncio.create_subprocess_exec("/bin/sleep", "60")
    wait = asyncio.create_task(child.wait())
    for _ in range(5):
        hold = await process_freezer.seize(lambda: proc.refs([child.pid]), deadline=5)
        await hold.release()
    hold = await process_freezer.seize(lambda: proc.refs([child.pid]), deadline=5)
    await asyncio.sleep(0.05)
    assert not wait.done()
    os.kill(child.pid, signal.SIGKILL)
    assert await asyncio.wait_for(wait, 10) == -signal.SIGKILL
    await hold.settle(deadline=5)
    assert hold.processes == frozenset()
    await hold.release()


async def test_a_child_of_this_process_with_threads_keeps_its_exit_status(victim, process_freezer):
    child = victim("doze", 8, direct=True)
    hold = await process_freezer.seize(child.family, deadline=5)
    assert child.popen.poll() is None
    child.popen.terminate()  # waits for the release
    await asyncio.sleep(0.02)
    assert child.popen.poll() is None
    await hold.release()
    assert child.popen.wait(10) == -signal.SIGTERM


async def test_when_the_owner_is_killed_the_threads_run_on_and_the_hold_says_so(victim, process_freezer):
    doze = victim("doze", 3)
    hold = await process_freezer.seize(doze.family, deadline=5)
    os.kill(proc.status(doze.pid).tracer, signal.SIGKILL)
    assert doze.runs()
    with pytest.raises(FreezeFailed, match="let all of them go"):
        await hold.let_run(proc.task_ids(doze.pid), deadline=5)
    await hold.release()
    again = await process_freezer.seize(doze.family, deadline=5)
    assert again.threads == 3
    await again.release()


async def test_one_hold_dies_another_stays(victim, process_freezer):
    first, second = victim("doze"), victim("doze")
    one = await process_freezer.seize(first.family, deadline=5)
    two = await process_freezer.seize(second.family, deadline=5)
    os.kill(proc.status(first.pid).tracer, signal.SIGKILL)
    assert first.runs()
    assert second.rests()
    await two.settle(deadline=5)
    await one.release()
    await two.release()


async def test_when_the_forker_is_killed_a_new_one_is_made(victim):
    made_by = ProcessOwners()
    freezer = PtraceFreezer(made_by=made_by)
    doze = victim("doze")
    held = await freezer.seize(doze.family, deadline=5)
    forker = made_by._forker
    forker.kill()
    forker.wait()
    assert doze.rests()  # the owner is not the forker
    await held.release()
    hold = await freezer.seize(doze.family, deadline=5)
    assert hold.threads == 1
    await freezer.aclose()


async def test_an_owner_that_hangs_is_ended_and_everything_let_go(victim, process_freezer, monkeypatch):
    monkeypatch.setattr(owners, "GRACE", 0.2)
    doze = victim("doze")
    hold = await process_freezer.seize(doze.family, deadline=5)
    os.kill(proc.status(doze.pid).tracer, signal.SIGSTOP)
    with pytest.raises(FreezeFailed, match="no answer"):
        await hold.settle(deadline=0.1)
    assert proc.status(doze.pid).tracer == 0
    assert doze.runs()


SCRIPT = """
import asyncio, os, sys
from hotseat.linux import proc
from hotseat.linux.freezer import PtraceFreezer
async def main():
    freezer = PtraceFreezer()
    hold = await freezer.seize(lambda: proc.refs([int(sys.argv[1])]), deadline=5)
    print(hold.threads, flush=True)
    if sys.argv[2] == "die":
        os.kill(os.getpid(), 9)
    await hold.release()
    await freezer.aclose()
asyncio.run(main())
"""


async def test_when_hotseat_is_killed_the_threads_run_on(victim, until):
    doze = victim("doze", 3)
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", SCRIPT, str(doze.pid), "die"], stdout=subprocess.PIPE
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"3\n")
    await until(lambda: proc.status(doze.pid).tracer == 0)
    assert doze.runs()


OF_ITS_OWN = """
import subprocess
child = subprocess.Popen(["./victim", "sleep", "counters", "3"])
while len(proc.task_ids(child.pid)) < 3: pass
sys.argv[1] = str(child.pid)
asyncio.run(main())
child.kill()
child.wait()
"""


@pytest.mark.root
def test_a_user_holds_what_is_the_users_own(nobody):
    done = nobody.python(SCRIPT.replace("asyncio.run(main())", OF_ITS_OWN), "0", "live")
    assert (done.returncode, done.stdout) == (0, b"3\n"), done.stderr.decode()


@pytest.mark.root
def test_a_user_is_refused_what_is_anothers(victim, nobody):
    doze = victim("doze")
    done = nobody.python(SCRIPT, str(doze.pid), "live")
    assert done.returncode == 1
    assert f"Refused: the kernel does not let this user trace process {doze.pid}".encode() in done.stderr
    assert doze.runs()


def test_where_only_ancestors_may_trace_the_owner_is_a_thread(monkeypatch):
    files = {"/proc/self/status": b"CapEff:\t0000000000000000\n"}
    monkeypatch.setattr(proc, "read", files.get)
    assert isinstance(owners.choose(), ProcessOwners)  # no Yama at all
    files["/proc/sys/kernel/yama/ptrace_scope"] = b"0\n"
    assert isinstance(owners.choose(), ProcessOwners)
    files["/proc/sys/kernel/yama/ptrace_scope"] = b"1\n"
    assert isinstance(owners.choose(), ThreadOwners)
    files["/proc/self/status"] = b"CapEff:\t0000000000080000\n"
    assert isinstance(owners.choose(), ProcessOwners)


async def test_nothing_is_left_after_many_holds(victim, freezer):
    def left():
        return len(os.listdir("/proc/self/fd")), len(proc.descendants(os.getpid())), len(proc.task_ids(os.getpid()))

    doze = victim("doze", 3)
    await (await freezer.seize(doze.family, deadline=5)).release()
    before = left()
    for _ in range(20):
        await (await freezer.seize(doze.family, deadline=5)).release()
    until = time.monotonic() + 20
    while any(
        now > then for now, then in zip(left(), before, strict=True)
    ):  # the kernel takes an ended thread off the list a moment later
        assert time.monotonic() < until, (left(), before)
        await asyncio.sleep(0.01)
