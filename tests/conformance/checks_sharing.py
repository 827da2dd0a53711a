"""Memory that two processes share by file descriptor."""

import os
import tempfile

from conformance_actors import controller, cycle, target
from conformance_registry import check

SIZE = 16
MIB = 1 << 20


def _shared():
    """(exporter, its address, its handle, importer, its handle): the importer has not mapped it yet."""
    owner, user = target(), target()
    _, address, handles = owner.vmm(SIZE, True)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        owner.start("serve_fd", path, handles[0])
        result, handle = user.fetch_fd(path)
        assert [owner.answer(10), result] == [0, 0], "export or import failed"
    return owner, address, handles[0], user, handle


@check([0, True])
def imported_memory_is_the_same_memory():
    owner, address, _, user, handle = _shared()
    result, mine = user.map_import(handle, SIZE)
    owner.write(address, b"changed after the import")
    return [result, user.sum(mine, SIZE) == owner.sum(address, SIZE)]


@check([0, 0, 801, 2])
def imported_and_mapped_is_lost_at_restore():
    *_, user, handle = _shared()
    control = controller()
    user.map_import(handle, SIZE)
    return [*cycle(control, user.pid, ("lock", "checkpoint", "restore")), control.state(user.pid)[1]]


@check([0, 0, 801, 304, 401], source="run")
def what_is_left_after_that():
    *_, user, handle = _shared()
    control = controller()
    user.map_import(handle, SIZE)
    return cycle(control, user.pid, ("lock", "checkpoint", "restore", "restore", "unlock"))


@check([0, 0, 0, [0, 0, 0, 0]])
def unmapped_and_released_is_no_hindrance():
    *_, user, handle = _shared()
    control = controller()
    result, mine = user.map_import(handle, SIZE)
    return [result, user.unmap(mine, SIZE * MIB), user.release(handle), cycle(control, user.pid)]


@check([0, 0, [0, 0, 801, 401]], source="run")
def unmapped_but_held_is_lost_too():
    *_, user, handle = _shared()
    control = controller()
    result, mine = user.map_import(handle, SIZE)
    return [result, user.unmap(mine, SIZE * MIB), cycle(control, user.pid)]


@check([0, 0, 801, 401], source="run")
def imported_and_never_mapped_is_lost_too():
    *_, user, _ = _shared()
    return cycle(controller(), user.pid)


@check([0, [0, 0, 801, 401]], source="run")
def mapped_and_released_is_lost_too():
    *_, user, handle = _shared()
    user.map_import(handle, SIZE)
    return [user.release(handle), cycle(controller(), user.pid)]


@check(1, source="run")
def imported_handle_cannot_be_exported():
    *_, user, handle = _shared()
    return user.export(handle)[0]


@check([[0, 0, 0, 0], True], source="run")
def exporter_survives_while_others_hold():
    owner, address, _, user, handle = _shared()
    control = controller()
    user.map_import(handle, SIZE)
    before = owner.sum(address, SIZE)
    return [cycle(control, owner.pid), owner.sum(address, SIZE) == before]


@check([0, True])
def memory_outlives_its_exporter():
    owner, address, _, user, handle = _shared()
    before = owner.sum(address, SIZE)
    result, mine = user.map_import(handle, SIZE)
    owner.kill()
    return [result, user.sum(mine, SIZE) == before]


@check(1, source="run")
def plain_memory_cannot_be_exported():
    app = target()
    return app.export(app.vmm(SIZE, False)[2][0])[0]
