"""Stopped processes: lock first, freeze second."""

import os
import signal
import time

import conformance_driver as driver
import conformance_ptrace as ptrace
from conformance_actors import HANG, controller, cycle, target
from conformance_registry import check


@check([0, 0, 0, 0, True])
def locked_then_held_by_ptrace():
    """Only the restore thread runs."""
    app, control = target(), controller()
    _, address = app.fill(16)
    before = app.sum(address, 16)
    out = [control.lock(app.pid)]
    restore_thread = control.tid(app.pid)[1]
    held = ptrace.stop(app.pid)
    ptrace.let_run(restore_thread)
    out += cycle(control, app.pid, ("checkpoint", "restore", "unlock"))
    ptrace.release(held, running=[restore_thread])
    return [*out, app.sum(address, 16) == before]


@check([0, [0, 0], [0, 1], [0, 2], [0, 0]])
def held_process_still_tells():
    """The restore thread alone answers tid and state."""
    app, control = target(), controller()
    restore_thread = control.tid(app.pid)[1]
    control.lock(app.pid)
    held = ptrace.stop(app.pid)
    ptrace.let_run(restore_thread)
    tid = control.tid(app.pid)
    out = [tid[0], [0, tid[1] - restore_thread], control.state(app.pid)]
    control.checkpoint(app.pid)
    out.append(control.state(app.pid))
    out.append(cycle(control, app.pid, ("restore", "unlock")))
    ptrace.release(held, running=[restore_thread])
    return out


@check([HANG, 0])
def held_by_ptrace_then_locked():
    app, control = target(), controller()
    restore_thread = control.tid(app.pid)[1]
    held = ptrace.stop(app.pid)
    ptrace.let_run(restore_thread)
    control.start("lock", app.pid, 500)
    out = [control.answer()]
    control.kill()
    ptrace.release(held, running=[restore_thread])
    return [*out, app.call("info", patience=5)[0] if _settled(app) else "blocked"]


@check([0, 0, 0, 0, True], source="run")
def only_the_driver_threads_run():
    """All threads of the application held first, those that cuInit started left alone."""
    app, control = target(), controller()
    _, address = app.fill(4)
    before = app.sum(address, 4)
    own = [tid for tid in driver.threads(app.pid) if tid != app.pid]
    held = ptrace.stop(app.pid, but=own)
    control.start("lock", app.pid, 500)
    out = [control.answer()]
    out += cycle(control, app.pid, ("checkpoint", "restore", "unlock")) if out == [0] else []
    ptrace.release(held)
    return [*out, app.sum(address, 4) == before]


def _settled(app):
    """A lock that was asked for while the process was held may still come: give it a moment, then unlock."""
    time.sleep(1)
    other = controller()
    if other.state(app.pid)[1] == 1:
        other.unlock(app.pid)
    return True


@check([HANG, 0], source="run")
def lock_of_a_dead_caller_is_dropped():
    """The process was held when it was asked for, and its caller is dead when it runs again."""
    app, control = target(), controller()
    held = ptrace.stop(app.pid)
    control.start("lock", app.pid, 0)
    out = [control.answer(2.0)]
    control.kill()
    ptrace.release(held)
    time.sleep(1.5)
    return [*out, controller().state(app.pid)[1]]


@check([0, HANG, 1], source="run")
def checkpoint_of_a_dead_caller_is_dropped():
    app, control = target(), controller()
    out = [control.lock(app.pid)]
    held = ptrace.stop(app.pid)
    control.start("checkpoint", app.pid)
    out.append(control.answer(2.0))
    control.kill()
    ptrace.release(held)
    time.sleep(1.5)
    return [*out, controller().state(app.pid)[1]]


@check([HANG, HANG, 0])
def stopped_process_answers_nothing():
    """Every thread stopped: state and lock hang; the restore thread's id is still to be had."""
    app, one, two, three = target(), controller(), controller(), controller()
    held = ptrace.stop(app.pid)
    one.start("state", app.pid)
    two.start("lock", app.pid, 500)
    out = [one.answer(), two.answer(0.1), three.tid(app.pid)[0]]
    ptrace.release(held)
    return out


@check([HANG, HANG])
def stopped_process_is_not_checkpointed_or_restored():
    app, one, two = target(), controller(), controller()
    one.lock(app.pid)
    held = ptrace.stop(app.pid)
    one.start("checkpoint", app.pid)
    out = [one.answer()]
    ptrace.release(held)
    one.answer(10)
    held = ptrace.stop(app.pid)
    two.start("restore", app.pid)
    out.append(two.answer())
    ptrace.release(held)
    return out


@check([HANG, 0, 1], source="run")
def sigstop_is_a_freeze_too():
    """The caller waits; what does it get when the process goes on after the caller's time is over?"""
    app, control = target(), controller()
    os.kill(app.pid, signal.SIGSTOP)
    time.sleep(0.2)
    control.start("lock", app.pid, 500)
    out = [control.answer(2.0)]
    os.kill(app.pid, signal.SIGCONT)
    return [*out, control.answer(5.0), controller().state(app.pid)[1]]


@check([0, 0, 0, 0])
def many_threads_held_for_the_whole_cycle():
    app, control = target(), controller()
    app.start_threads(100)
    out = [control.lock(app.pid)]
    restore_thread = control.tid(app.pid)[1]
    held = ptrace.stop(app.pid)
    ptrace.let_run(restore_thread)
    out += cycle(control, app.pid, ("checkpoint", "restore", "unlock"))
    ptrace.release(held, running=[restore_thread])
    return out
