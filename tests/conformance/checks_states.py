"""The state machine: every transition, every call in the wrong state, the arguments."""

import time

import conformance_actors as actors
import conformance_driver as driver
from conformance_actors import HANG, controller, cycle, target
from conformance_registry import check

RUNNING, LOCKED, CHECKPOINTED = 0, 1, 2


@check([0, RUNNING, 0, LOCKED, 0, CHECKPOINTED, 0, LOCKED, 0, RUNNING])
def transitions():
    app, control = target(), controller()
    out = [*control.state(app.pid)]
    for name in ("lock", "checkpoint", "restore", "unlock"):
        out += [control.call(name, app.pid), control.state(app.pid)[1]]
    return out


@check([0, 0, 0, 0, 0, 0, 0, 0])
def two_cycles():
    app, control = target(), controller()
    return cycle(control, app.pid) + cycle(control, app.pid)


@check([401, 401, 401, RUNNING])
def wrong_state_running():
    app, control = target(), controller()
    return [*cycle(control, app.pid, ("checkpoint", "restore", "unlock")), control.state(app.pid)[1]]


@check([0, 401, 401, LOCKED, 0])
def wrong_state_locked():
    app, control = target(), controller()
    out = cycle(control, app.pid, ("lock", "lock", "restore"))
    return [*out, control.state(app.pid)[1], control.unlock(app.pid)]


@check([0, 0, 401, 401, 401, CHECKPOINTED, 0, 0])
def wrong_state_checkpointed():
    app, control = target(), controller()
    out = cycle(control, app.pid, ("lock", "checkpoint", "lock", "checkpoint", "unlock"))
    return [*out, control.state(app.pid)[1], *cycle(control, app.pid, ("restore", "unlock"))]


@check([0, 0, RUNNING])
def lock_and_unlock_only():
    app, control = target(), controller()
    return [*cycle(control, app.pid, ("lock", "unlock")), control.state(app.pid)[1]]


@check([600, RUNNING, [0, 0], 0])
def lock_times_out_while_a_call_waits_for_a_kernel():
    app, control = target(), controller()
    app.start("spin_and_wait", 2500)
    time.sleep(0.5)
    out = [control.lock(app.pid, 500), control.state(app.pid)[1]]
    return [*out, app.answer(10), control.lock(app.pid, 500)]


@check([0, 600, RUNNING, 0])
def lock_times_out_while_a_kernel_runs_alone():
    app, control = target(), controller()
    out = [app.spin(2500), control.lock(app.pid, 500), control.state(app.pid)[1]]
    time.sleep(2.5)
    return [*out, control.lock(app.pid, 500)]


@check([0, 0, LOCKED])
def lock_waits_for_a_kernel():
    app, control = target(), controller()
    return [app.spin(1000), control.lock(app.pid, 10000), control.state(app.pid)[1]]


@check([0, HANG, 0])
def lock_without_a_timeout_waits_for_a_kernel():
    app, control = target(), controller()
    out = [app.spin(2500)]
    control.start("lock", app.pid, 0)
    return [*out, control.answer(1.0), control.answer(10.0)]


@check([0, 0, HANG, 0, [0, LOCKED]], source="run")
def state_waits_behind_a_lock_that_waits():
    app, control, other = target(), controller(), controller()
    out = [app.spin(2000)]
    control.start("lock", app.pid, 0)
    time.sleep(0.3)
    out.append(other.tid(app.pid)[0])
    other.start("state", app.pid)
    return [*out, other.answer(0.8), control.answer(10.0), other.answer(10.0)]


@check([HANG, [0, CHECKPOINTED]], source="run")
def state_waits_behind_a_checkpoint():
    app, control, other = target(), controller(), controller()
    app.fill(512)
    other.state(app.pid)
    control.lock(app.pid)
    before = driver.rss_anon(app.pid)
    control.start("checkpoint", app.pid)
    while driver.rss_anon(app.pid) < before + (8 << 20) and control.answer(0.001) == HANG:
        pass  # until the copy is under way
    other.start("state", app.pid)
    return [other.answer(0.05), other.answer(20.0)]


@check([0, HANG, LOCKED, LOCKED], source="run")
def lock_of_a_caller_that_died_happens_all_the_same():
    """It waits for a kernel when its caller is killed."""
    app, control, other = target(), controller(), controller()
    out = [app.spin(2000)]
    control.start("lock", app.pid, 0)
    out.append(control.answer(0.5))
    control.kill()
    out.append(other.state(app.pid)[1])
    time.sleep(3)
    return [*out, other.state(app.pid)[1]]


@check([0, LOCKED, 0], source="run")
def lock_outlives_its_caller():
    app, control, other = target(), controller(), controller()
    out = [control.lock(app.pid)]
    control.kill()
    return [*out, other.state(app.pid)[1], other.unlock(app.pid)]


@check([0, 401], source="run")
def two_callers_lock_at_once():
    app, one, two = target(), controller(), controller()
    one.start("lock", app.pid, 3000)
    two.start("lock", app.pid, 3000)
    return sorted([one.answer(), two.answer()])


@check([1, 1, 1, RUNNING], source="header")
def lock_reserved_fields_must_be_zero():
    app, control = target(), controller()
    out = [control.lock_args(app.pid, "reserved0")]
    out += [control.lock_args(app.pid, "reserved1", index) for index in (0, 6)]
    return [*out, control.state(app.pid)[1]]


@check([0, 1, 1, 0, 1, 1, 0, 1, 0], source="header")
def other_reserved_fields_must_be_zero():
    app, control = target(), controller()
    pid = app.pid
    out = [control.lock(pid), control.plain_args("Checkpoint", pid, 0), control.plain_args("Checkpoint", pid, 7)]
    out += [control.plain_args("Checkpoint", pid, -1)]
    out += [control.restore_args(pid, (), None, True), control.restore_args(pid, (), None, False, True)]
    out += [control.restore_args(pid), control.plain_args("Unlock", pid, 0), control.plain_args("Unlock", pid, -1)]
    return out


@check([0, 0, 0, 0], source="header")
def null_arguments_are_defaults():
    app, control = target(), controller()
    return [control.raw_null(name, app.pid) for name in ("Lock", "Checkpoint", "Restore", "Unlock")]


@check([1, 1], source="header")
def null_results_are_refused():
    app, control = target(), controller()
    return [control.raw_null("GetRestoreThreadId", app.pid), control.raw_null("GetState", app.pid)]


@check([0, 0, 0, 0], source="header")
def restore_on_the_same_gpu_by_uuid():
    app, control = target(), controller()
    out = cycle(control, app.pid, ("lock", "checkpoint"))
    uuid = control.uuid()[1]
    return [*out, control.restore_args(app.pid, ((uuid, uuid),)), control.unlock(app.pid)]


@check([0, 0, 1, CHECKPOINTED, 0, 0], source="run")
def restore_refuses_pairs_without_our_gpu():
    app, control = target(), controller()
    out = cycle(control, app.pid, ("lock", "checkpoint"))
    out.append(control.restore_args(app.pid, ((b"\1" * 16, b"\1" * 16),)))
    return [*out, control.state(app.pid)[1], *cycle(control, app.pid, ("restore", "unlock"))]


@check([0, 0, 0, 0, 0, 0], source="run")
def caller_need_not_call_cuinit():
    app, control = target(), actors.Actor(actors.Loaded)
    return [control.tid(app.pid)[0], control.state(app.pid)[0], *cycle(control, app.pid)]
