"""A signal reaches the process it was meant for, or nobody."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from hotseat.errors import ProcessGone
from hotseat.linux import proc
from hotseat.linux.identity import Process


@pytest.fixture
def child():
    made = subprocess.Popen(["/bin/sleep", "60"])
    yield made
    made.kill()
    made.wait()


def test_alive_and_signalled(child):
    with Process.open(proc.ref(child.pid)) as process:
        assert process.alive()
        process.signal(signal.SIGTERM)
        assert child.wait() == -signal.SIGTERM
        assert not process.alive()
        with pytest.raises(ProcessGone) as caught:
            process.signal(signal.SIGTERM)
        assert caught.value.hint


def test_a_zombie_is_not_alive(child):
    with Process.open(proc.ref(child.pid)) as process:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not process.alive()
        process.signal(signal.SIGTERM)  # without effect, not an error


def test_another_process_under_the_pid_is_refused_and_no_descriptor_is_left(child):
    ref = proc.ref(child.pid)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ProcessGone, match="another process"):
        Process.open(ref._replace(start_time=ref.start_time + 1))
    assert os.listdir("/proc/self/fd") == before
    assert child.poll() is None


def test_a_process_that_is_gone_is_refused(child):
    ref = proc.ref(child.pid)
    child.kill()
    child.wait()
    with pytest.raises(ProcessGone):
        Process.open(ref)


def test_a_thread_is_not_a_process(victim):
    crowd = victim("sleep", 2)
    tid = proc.task_ids(crowd.pid)[1]
    with pytest.raises(ProcessGone):
        Process.open(proc.ref(tid))


def test_closing_twice_is_harmless(child):
    process = Process.open(proc.ref(child.pid))
    process.close()
    process.close()
