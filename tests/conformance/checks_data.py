"""What survives: bytes, addresses, handles; and what is released meanwhile."""

import time

import conformance_driver as driver
from conformance_actors import Actor, Watcher, controller, cycle, target
from conformance_registry import check

MIB = 1 << 20


@check([0, [0, 0, 0, 0], True])
def allocation_survives():
    app, control = target(), controller()
    result, address = app.fill(64)
    before = app.sum(address, 64)
    return [result, cycle(control, app.pid), app.sum(address, 64) == before]


@check([0, [0, 0, 0, 0], True])
def small_allocations_survive():
    app, control = target(), controller()
    addresses = [app.alloc(1000 + i)[1] for i in range(50)]
    result = max(app.write(a, driver.pattern(1000, i)) for i, a in enumerate(addresses))
    before = [app.crc(a, 1000) for a in addresses]
    return [result, cycle(control, app.pid), [app.crc(a, 1000) for a in addresses] == before]


@check([0, [0, 0, 0, 0], True])
def virtual_memory_survives():
    app, control = target(), controller()
    result, address, _ = app.vmm(64, False, 4)
    before = app.sum(address, 64)
    return [result, cycle(control, app.pid), app.sum(address, 64) == before]


@check([0, 0, [0, 0, 0, 0], 0, True])
def unmapped_handle_survives():
    app, control = target(), controller()
    result, address, handles = app.vmm(16)
    before = app.sum(address, 16)
    out = [result, app.unmap(address, 16 * MIB), cycle(control, app.pid), app.map(address, 16 * MIB, handles[0])]
    return [*out, app.sum(address, 16) == before]


@check([0, [0, 0, 0, 0], [0, 0, 0]])
def stream_and_event_survive():
    app, control = target(), controller()
    return [app.stream_and_event(), cycle(control, app.pid), app.use_stream_and_event()]


@check([0, [0, 0, 0, 0], True, 0], source="run")
def pinned_host_memory_survives():
    app, control = target(), controller()
    result, address = app.fill(1)
    out = [result or app.pin(address, MIB), cycle(control, app.pid)]
    return [*out, app.pinned_crc() == app.sum(address, 1)[1], app.unpin()]


@check([[0, 0, 0, 0], 0, 0, 0])
def allocates_and_frees_after_a_cycle():
    app, control = target(), controller()
    _, address = app.fill(16)
    out = [cycle(control, app.pid), app.cuMemFree_v2(address)]
    result, address = app.fill(16)
    return [*out, result, app.cuMemFree_v2(address)]


def _soon(condition):
    """NVML may lag a release by up to a second."""
    end = time.monotonic() + 3
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@check([True, [0, 0], True, [0, 0], True])
def nvml_lists_the_process_only_while_it_holds():
    app, control, nvml = target(), controller(), Actor(Watcher)
    app.fill(64)
    out = [nvml.processes()[1].get(app.pid, 0) >= 64 * MIB, cycle(control, app.pid, ("lock", "checkpoint"))]
    out.append(_soon(lambda: app.pid not in nvml.processes()[1]))
    out.append(cycle(control, app.pid, ("restore", "unlock")))
    return [*out, _soon(lambda: nvml.processes()[1].get(app.pid, 0) >= 64 * MIB)]


@check([True, True, True], alone=True)
def checkpoint_releases_the_device():
    nvml, control = Actor(Watcher), controller()
    empty = nvml.memory()[3]
    app = target()
    app.fill(256)
    full = nvml.memory()[3]
    cycle(control, app.pid, ("lock", "checkpoint"))
    released = _soon(lambda: nvml.memory()[3] <= empty + 8 * MIB)
    app.kill()
    return [full >= empty + 256 * MIB, released, _soon(lambda: nvml.memory()[3] <= empty + 8 * MIB)]


@check([True, True], alone=True)
def killed_process_releases_the_device():
    nvml = Actor(Watcher)
    empty = nvml.memory()[3]
    app = target()
    app.fill(128)
    full = nvml.memory()[3] >= empty + 128 * MIB
    app.kill()
    return [full, _soon(lambda: nvml.memory()[3] <= empty + 8 * MIB)]


@check([True, True])
def bytes_go_to_the_process_own_memory():
    app, control = target(), controller()
    app.fill(128)
    before = driver.rss_anon(app.pid)
    cycle(control, app.pid, ("lock", "checkpoint"))
    grown = driver.rss_anon(app.pid) - before
    cycle(control, app.pid, ("restore", "unlock"))
    return [grown >= 120 * MIB, driver.rss_anon(app.pid) - before < 120 * MIB]


@check([0, True])
def controller_holds_no_memory():
    control, nvml = controller(), Actor(Watcher)
    return [control.tid(control.pid)[0], control.pid not in nvml.processes()[1]]


@check([0, True, True])
def memory_information_agrees():
    app, nvml = target(), Actor(Watcher)
    result, free, total = app.info()
    return [result, 0 < free < total, abs(total - nvml.memory()[1]) < 2048 * MIB]


@check([0, 0, 2, 304, 304, 401, 2], alone=True)
def restore_without_room_is_final():
    app, hog, control = target(), target(), controller()
    app.fill(256)
    out = cycle(control, app.pid, ("lock", "checkpoint"))
    size = hog.info()[1] // MIB
    while size >= 2:
        if hog.alloc_only(size)[0] != 0:
            size //= 2
    out.append(control.restore(app.pid))
    hog.kill()
    time.sleep(1)
    out += cycle(control, app.pid, ("restore", "restore", "unlock"))
    return [*out, control.state(app.pid)[1]]


@check([0, [0, 801, 0], 0], source="run")
def managed_memory():
    app, control = target(), controller()
    out = [app.managed(16), cycle(control, app.pid, ("lock", "checkpoint", "unlock"))]
    return [*out, app.info()[0]]
