"""Which processes there are: those without CUDA, dead ones, the caller itself, forked children."""

import os
import subprocess

import conformance_actors as actors
import conformance_driver as driver
from conformance_actors import Actor, controller, cycle, target
from conformance_registry import check


@check([0, True, True])
def restore_thread_is_a_thread_of_the_process():
    app, control = target(), controller()
    result, tid = control.tid(app.pid)
    return [result, tid in driver.threads(app.pid), tid != app.pid]


@check([0, True])
def restore_thread_stays_the_same():
    app, control = target(), controller()
    before = control.tid(app.pid)
    results = cycle(control, app.pid)
    return [max(results), control.tid(app.pid) == before]


@check([0, 1, 2], source="run")
def threads_of_the_driver():
    """None by loading it, the restore thread by cuInit, an event handler with the first context."""
    app, loaded = Actor(actors.InitOnly), Actor(actors.Loaded)
    loaded.error_name()
    app.error_name()
    with_context = target()
    base = len(driver.threads(loaded.pid))
    return [base - 1, len(driver.threads(app.pid)) - base, len(driver.threads(with_context.pid)) - base]


@check([3, 3, 3, 3, 3, 3])
def process_without_cuda():
    app, control = Actor(actors.Plain), controller()
    app.hello()
    out = [control.tid(app.pid)[0], control.state(app.pid)[0]]
    return [*out, *cycle(control, app.pid)]


@check([3, 3, 3], source="run")
def process_that_only_loaded_libcuda():
    app, control = Actor(actors.Loaded), controller()
    return [control.tid(app.pid)[0], control.state(app.pid)[0], control.lock(app.pid, 1000)]


@check([0, 0, 0, 0, 0, 0], source="run")
def process_without_a_context():
    app, control = Actor(actors.InitOnly), controller()
    app.tid(1)
    return [control.tid(app.pid)[0], control.state(app.pid)[0], *cycle(control, app.pid)]


@check([3, 3], source="run")
def init_process():
    control = controller()
    return [control.tid(1)[0], control.state(1)[0]]


def _unused_pid():
    gone = subprocess.Popen(["true"])
    gone.wait()
    return gone.pid


@check([304, 304, 304, 304, 304, 304], source="run")
def process_that_is_gone():
    control, pid = controller(), _unused_pid()
    return [control.tid(pid)[0], control.state(pid)[0], *cycle(control, pid)]


@check([3, 3], source="run")
def zombie():
    app, control = target(), controller()
    os.kill(app.pid, 9)
    os.waitid(os.P_PID, app.pid, os.WEXITED | os.WNOWAIT)
    return [control.tid(app.pid)[0], control.state(app.pid)[0]]


@check([304, 304, 304, 304], source="run")
def pids_that_cannot_be():
    control = controller()
    return [control.tid(0)[0], control.state(0)[0], control.tid(-1)[0], control.state(-1)[0]]


@check([0, True, 0, 0], source="run")
def caller_asks_about_itself():
    control = controller()
    result, tid = control.tid(control.pid)
    return [result, tid in driver.threads(control.pid), *control.state(control.pid)]


@check([0, 0], source="run")
def caller_locks_itself():
    control = controller()
    control.start("lock", control.pid, 1000)
    out = [control.answer()]
    control.start("unlock", control.pid)
    return [*out, control.answer()]


@check([3, 3, 3])
def forked_child_has_no_cuda():
    return target().fork_and_try()


@check([3, 3, 0, 0, 0, 0], source="run")
def forked_child_is_not_a_cuda_process():
    app, control = target(), controller()
    child = app.fork_sleeper()
    out = [control.tid(child)[0], control.state(child)[0]]
    out += cycle(control, app.pid)
    os.kill(child, 9)
    return out


@check([0, 0, 304], source="run")
def killed_while_checkpointed():
    app, control = target(), controller()
    out = cycle(control, app.pid, ("lock", "checkpoint"))
    app.kill()
    return [*out, control.state(app.pid)[0]]


@check([0, 0, 0, 0])
def several_processes_all_then_all():
    apps, controls = [target() for _ in range(3)], [controller() for _ in range(3)]
    out = []
    for name in ("lock", "checkpoint", "restore", "unlock"):
        for app, control in zip(apps, controls, strict=True):
            control.start(name, app.pid)
        out.append(max(control.answer(60) for control in controls))
    return out


@check([0, 0, 0, True, 0, 0])
def others_run_on_meanwhile():
    parked, runs, control = target(), target(), controller()
    out = cycle(control, parked.pid, ("lock", "checkpoint"))
    result, address = runs.fill(8)
    before = runs.sum(address, 8)
    out.append(result)
    results = cycle(control, parked.pid, ("restore", "unlock"))
    return [*out, runs.sum(address, 8) == before, *results]


@check([True, 2], source="run")
def caller_killed_in_the_middle():
    """The checkpoint goes on without the caller that asked for it."""
    app, control, other = target(), controller(), controller()
    app.fill(256)
    control.lock(app.pid)
    control.start("checkpoint", app.pid)
    answered = control.answer(0.02) != actors.HANG
    control.kill()
    state = other.call("state", app.pid)
    return [not answered or state[1] == 2, state[1]]
