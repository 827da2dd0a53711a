"""/proc is read right whatever a process calls itself and however fast it goes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotseat.linux import proc, ptrace_abi

numbers = st.integers(0, 2**40)
names = st.binary(max_size=64).filter(lambda name: b"\0" not in name)


@settings(deadline=None)
@given(numbers, names, st.sampled_from("RSDTtZXI"), numbers, numbers, numbers)
def test_stat_survives_any_name(pid, name, state, ppid, threads, start_time):
    fields = [str(ppid)] + ["7"] * 15 + [str(threads), "0", str(start_time)] + ["8"] * 30
    line = b"%d (%b) %b %b\n" % (pid, name, state.encode(), " ".join(fields).encode())
    found = proc.parse_stat(line)
    assert found == (pid, name.decode(errors="replace"), state, ppid, threads, start_time)


@settings(deadline=None)
@given(st.text("abc ():\\\t", max_size=15), numbers, numbers, numbers, st.lists(numbers, min_size=1, max_size=4))
def test_status_survives_any_name(name, tgid, tracer, rss, ns_pids):
    text = (
        f"Name:\t{name}\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t{tgid}\nNgid:\t0\nPid:\t{ns_pids[0]}\nPPid:\t1\n"
        f"TracerPid:\t{tracer}\nNSpid:\t{chr(9).join(map(str, ns_pids))}\nVmRSS:\t   {rss} kB\nThreads:\t3\n"
    )
    found = proc.parse_status(text.encode())
    assert found.name == name.strip()
    assert (found.state, found.tgid, found.pid, found.tracer, found.threads) == ("S", tgid, ns_pids[0], tracer, 3)
    assert found.ns_pids == tuple(ns_pids)
    assert found.rss_bytes == rss * 1024


def test_status_of_a_kernel_thread_and_a_zombie_lacks_memory():
    text = b"Name:\tkthreadd\nState:\tZ (zombie)\nTgid:\t2\nPid:\t2\nPPid:\t0\n"
    found = proc.parse_status(text)
    assert (found.rss_bytes, found.tracer, found.ns_pids) == (0, 0, (2,))


@settings(deadline=None)
@given(st.dictionaries(st.text("abcXYZ_()", min_size=1, max_size=12), numbers, max_size=8))
def test_fields_are_bytes(fields):
    text = "".join(f"{name}:   {value} kB\n" for name, value in fields.items()) + "HugePages_Total:  3\nrubbish\n"
    assert proc.parse_fields(text.encode()) == {name: value * 1024 for name, value in fields.items()}


def test_this_process():
    found, status = proc.stat(os.getpid()), proc.status(os.getpid())
    assert found.pid == status.pid == status.tgid == os.getpid()
    assert found.ppid == status.ppid == os.getppid()
    assert found.state in "RS"
    assert status.ns_pids[-1] == os.getpid()
    assert status.rss_bytes > 1 << 20
    assert os.getpid() in proc.task_ids(os.getpid())
    assert proc.pss_bytes(os.getpid()) > 1 << 20
    assert "python" in proc.command(os.getpid())


@pytest.mark.parametrize("name", ["a) R 1 (b", "x\ny z", "((()", ") Z 0 0", ""])
def test_a_thread_with_a_hostile_name(name):
    seen = []

    def run():
        ptrace_abi.set_name(name)
        tid = threading.get_native_id()
        seen.append((tid, proc.stat(tid), proc.status(tid)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    (tid, stat, status) = seen[0]
    assert (stat.pid, stat.name, stat.ppid) == (tid, name, os.getppid())
    assert (status.pid, status.tgid) == (tid, os.getpid())


def test_processes_that_vanish_read_as_nothing():
    """A pid that dies under the reader's hands: short-lived children read all the time."""
    for _ in range(30):
        child = subprocess.Popen(["/bin/true"])
        while (found := proc.stat(child.pid)) is not None and found.state != "Z":
            proc.status(child.pid), proc.task_ids(child.pid), proc.children(child.pid), proc.wchan(child.pid)
            proc.pss_bytes(child.pid), proc.command(child.pid)
        child.wait()
    assert proc.stat(child.pid) is None
    assert proc.status(child.pid) is None
    assert proc.ref(child.pid) is None
    assert proc.refs([child.pid]) == []
    assert proc.task_ids(child.pid) == []
    assert proc.children(child.pid) == []
    assert proc.pss_bytes(child.pid) is None
    assert (proc.wchan(child.pid), proc.command(child.pid)) == ("", "")


def test_a_file_longer_than_a_page_is_read_whole():
    maps = proc.read("/proc/self/smaps")
    assert maps.count(b"\nVmFlags:") == proc.read("/proc/self/maps").count(b"\n")


def test_identity_is_pid_and_start_time():
    child = subprocess.Popen(["/bin/sleep", "60"])
    try:
        ref = proc.ref(child.pid)
        assert proc.same(ref)
        assert not proc.same(ref._replace(start_time=ref.start_time + 1))
        assert proc.refs([child.pid, child.pid]) == [ref]
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert proc.same(ref)  # a zombie still has its pid ...
        assert proc.refs([child.pid]) == []  # ... but does not live
    finally:
        child.kill()
        child.wait()
    assert not proc.same(ref)


def test_a_tree_is_listed_parents_first_also_from_second_threads():
    script = """
import subprocess, sys, threading
def run():
    child = subprocess.Popen(["/bin/sh", "-c", "sleep 60 & echo; wait"], stdout=subprocess.PIPE)
    child.stdout.readline(); print(child.pid, flush=True); child.wait()
threading.Thread(target=run).start()
"""
    root = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    tree = []
    try:
        shell = int(root.stdout.readline())
        tree = proc.descendants(root.pid)
        assert tree[:2] == [root.pid, shell]
        assert len(tree) == 3
        assert proc.stat(tree[2]).ppid == shell
        until = time.monotonic() + 10
        while proc.command(tree[2]) != "sleep 60":  # the shell spoke before its child had exec'ed
            assert time.monotonic() < until, proc.command(tree[2])
            time.sleep(0.01)
    finally:
        for pid in reversed(tree):
            os.kill(pid, 9)
        root.wait()
        root.stdout.close()


def test_the_kernel_function_a_thread_sleeps_in():
    child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    try:
        end = threading.Event()
        while "pipe" not in proc.wchan(child.pid):
            assert not end.wait(0.002)
    finally:
        child.stdin.close()
        child.wait()


def test_nothing_here_needs_libc_beyond_what_is_declared():
    libc = ctypes.CDLL(None)
    assert all(hasattr(libc, name) for name in ("ptrace", "signalfd", "prctl", "syscall"))
