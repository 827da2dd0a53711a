"""What every `ThreadFreezer` does: the real one, with its owner as a process and as a thread, and the double."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from hotseat.errors import FreezeFailed, ProcessGone, Refused
from hotseat.linux import proc
from hotseat.linux.freezer import PtraceFreezer
from hotseat.linux.owners import ProcessOwners, ThreadOwners
from hotseat.testing.linux import FakeFreezer


class RealWorld:
    def __init__(self, freezer, victim):
        self.freezer, self._victim, self._made = freezer, victim, {}

    def start(self, *, threads=1):
        made = self._victim("doze", threads)
        self._made[made.ref] = made
        return made.ref

    def stuck(self):
        made = self._victim("vfork")
        while not made.count(2):
            time.sleep(0.002)
        return made.ref

    def tids(self, ref):
        return proc.task_ids(ref.pid)

    def runs(self, ref, index):
        """Whether the thread does: by what it counts."""
        counter = self._made[ref].count(index + 1)
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            if self._made[ref].count(index + 1) != counter:
                return True
            time.sleep(0.005)
        return False

    def trace(self, ref):
        return self._victim("trace", ref.pid).pid

    def job_stop(self, ref):
        os.kill(ref.pid, signal.SIGSTOP)
        while self._made[ref].states() != {"T"}:
            time.sleep(0.002)

    def end(self, ref):
        os.kill(ref.pid, signal.SIGKILL)
        self._made[ref].popen.wait(20)


class DoubleWorld:
    def __init__(self):
        self.freezer = FakeFreezer()
        self.kernel = self.freezer.kernel

    def start(self, *, threads=1):
        return self.kernel.start(threads=threads)

    def stuck(self):
        ref = self.kernel.start()
        self.kernel.processes[ref].stuck = True
        return ref

    def tids(self, ref):
        return self.kernel.processes[ref].tids

    def runs(self, ref, index):
        return self.kernel.runs(self.tids(ref)[index])

    def trace(self, ref):
        self.kernel.processes[ref].tracer = 4711
        return 4711

    def job_stop(self, ref):
        self.kernel.processes[ref].stopped = True

    def end(self, ref):
        self.kernel.end(ref)


@pytest.fixture(params=["process", "thread", "double"])
async def world(request, victim):
    if request.param == "double":
        made = DoubleWorld()
    else:
        owners = ProcessOwners() if request.param == "process" else ThreadOwners()
        made = RealWorld(PtraceFreezer(made_by=owners), victim)
    yield made
    await made.freezer.aclose()


async def test_held_threads_rest_and_run_on_after(world):
    one, two = world.start(threads=2), world.start()
    hold = await world.freezer.seize(lambda: [one, two], deadline=5)
    assert hold.processes == {one, two}
    assert hold.threads == 3
    assert not any(world.runs(ref, index) for ref, index in ((one, 0), (one, 1), (two, 0)))
    await hold.release()
    assert all(world.runs(ref, index) for ref, index in ((one, 0), (one, 1), (two, 0)))


async def test_only_what_is_let_run_runs(world):
    one = world.start(threads=3)
    hold = await world.freezer.seize(lambda: [one], deadline=5)
    await hold.let_run([world.tids(one)[1]], deadline=5)
    assert [world.runs(one, index) for index in range(3)] == [False, True, False]
    await hold.let_run([world.tids(one)[1]], deadline=5)
    await hold.release()
    assert all(world.runs(one, index) for index in range(3))


async def test_settling_is_a_step_of_its_own_if_asked_for(world):
    one = world.start(threads=2)
    hold = await world.freezer.seize(lambda: [one], deadline=5, wait=False)
    await hold.settle(deadline=5)
    assert not world.runs(one, 0)
    await hold.settle(deadline=5)
    await hold.let_run([world.tids(one)[0]], deadline=5)
    assert world.runs(one, 0)
    await hold.release()


async def test_settling_finds_what_came_meanwhile(world):
    listed = [world.start()]
    hold = await world.freezer.seize(lambda: listed, deadline=5, wait=False)
    listed.append(world.start())
    await hold.settle(deadline=5)
    assert hold.processes == set(listed)
    assert not world.runs(listed[1], 0)
    await hold.release()


async def test_a_thread_that_does_not_stop_fails_and_everything_is_let_go(world):
    one, stuck = world.start(), world.stuck()
    with pytest.raises(FreezeFailed, match=f"thread {stuck.pid}.*state D") as caught:
        await world.freezer.seize(lambda: [one, stuck], deadline=0.3)
    assert caught.value.hint
    assert world.runs(one, 0)
    again = await world.freezer.seize(lambda: [one], deadline=5)
    await again.release()


async def test_a_traced_process_is_refused_and_nothing_touched(world):
    one, traced = world.start(), world.start()
    tracer = world.trace(traced)
    with pytest.raises(Refused, match=f"traced by process {tracer}") as caught:
        await world.freezer.seize(lambda: [one, traced], deadline=5)
    assert caught.value.rule == "traced"
    assert caught.value.details["tracer"] == tracer
    assert world.runs(one, 0)


async def test_stopped_before_is_stopped_after(world):
    one = world.start(threads=2)
    world.job_stop(one)
    hold = await world.freezer.seize(lambda: [one], deadline=5)
    assert hold.threads == 2
    await hold.release()
    assert not world.runs(one, 0)


async def test_what_ends_during_the_hold_is_no_more_in_it(world):
    one, two = world.start(), world.start()
    hold = await world.freezer.seize(lambda: [one, two], deadline=5)
    world.end(one)
    await hold.settle(deadline=5)
    assert hold.processes == {two}
    await hold.release()
    assert world.runs(two, 0)


async def test_letting_run_what_is_not_held(world):
    one, other = world.start(), world.start()
    hold = await world.freezer.seize(lambda: [one], deadline=5)
    with pytest.raises(ProcessGone):
        await hold.let_run(world.tids(other), deadline=5)
    assert not world.runs(one, 0)
    await hold.release()


async def test_a_released_hold_is_over(world):
    one = world.start()
    hold = await world.freezer.seize(lambda: [one], deadline=5)
    await hold.release()
    await hold.release()
    with pytest.raises(FreezeFailed, match="released"):
        await hold.let_run(world.tids(one), deadline=5)
    with pytest.raises(FreezeFailed, match="released"):
        await hold.settle(deadline=5)


async def test_closing_releases(world):
    one = world.start()
    await world.freezer.seize(lambda: [one], deadline=5)
    await world.freezer.aclose()
    assert world.runs(one, 0)


async def test_the_double_records_and_fails_on_demand():
    double = FakeFreezer()
    ref = double.kernel.start(threads=2)
    double.faults["seize"] = FreezeFailed("no")
    with pytest.raises(FreezeFailed, match="no"):
        await double.seize(lambda: [ref], deadline=1)
    hold = await double.seize(lambda: [ref], deadline=1)
    double.faults["let_run"] = ProcessGone("gone")
    with pytest.raises(ProcessGone):
        await hold.let_run([ref.pid], deadline=1)
    await hold.release()
    assert double.calls == [("seize",), ("seize",), ("settle",), ("let_run", ref.pid), ("release",)]
    assert double.kernel.runs(ref.pid)


async def test_the_double_never_runs_anything_while_settled():
    double = FakeFreezer()
    ref = double.kernel.start()
    hold = await double.seize(lambda: [ref], deadline=1, wait=False)
    with pytest.raises(FreezeFailed, match="not every thread"):
        await hold.let_run([ref.pid], deadline=1)
    await hold.settle(deadline=1)
    await hold.let_run([ref.pid], deadline=1)
    assert double.kernel.runs(ref.pid)


def test_no_process_of_the_freezer_outlives_it():
    script = """
import asyncio
from hotseat.linux.freezer import PtraceFreezer
from hotseat.linux.owners import ProcessOwners
async def main():
    owners = ProcessOwners()
    freezer = PtraceFreezer(made_by=owners)
    await freezer.warm()
    print(owners._forker.pid, flush=True)
    {end}
asyncio.run(main())
"""
    for end in ("await freezer.aclose()", "import os; os._exit(0)"):
        done = subprocess.run([sys.executable, "-c", script.format(end=end)], check=True, stdout=subprocess.PIPE)
        limit = time.monotonic() + 20
        while (found := proc.stat(int(done.stdout))) and found.state not in proc.DEAD:
            assert time.monotonic() < limit
            time.sleep(0.005)
