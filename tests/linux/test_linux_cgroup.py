"""Whose cgroup is which, who is in it, and its freezer: in every version this host has."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid

import pytest

from hotseat.errors import FreezeFailed, PlatformFailed
from hotseat.linux import cgroup, own_cgroup, proc
from hotseat.linux.cgroup import Cgroup

pytestmark = pytest.mark.root


async def test_freeze_and_thaw(victim, own):
    spin = victim("spin", 4, into=own.path)
    assert not own.frozen()
    await own.freeze(deadline=5)
    await own.freeze(deadline=5)
    assert own.frozen()
    assert spin.rests()
    await own.thaw(deadline=5)
    await own.thaw(deadline=5)
    assert not own.frozen()
    assert all(spin.runs(index) for index in range(1, 5))


async def test_a_storm_freezes(victim, own):
    storm = victim("storm", 3, into=own.path)
    for _ in range(5):
        await own.freeze(deadline=10)
        assert storm.rests(0.02)
        await own.thaw(deadline=10)
        assert storm.runs()


@pytest.mark.parametrize(
    ("version", "files", "frozen", "held"),
    [
        (2, {"cgroup.events": "populated 1\nfrozen 0\n", "cgroup.freeze": "0\n"}, False, False),
        (2, {"cgroup.events": "populated 1\nfrozen 1\n", "cgroup.freeze": "1\n"}, True, True),
        # What was frozen and is killed counts as not frozen until it is gone; so does what was born a moment ago.
        (2, {"cgroup.events": "populated 1\nfrozen 0\n", "cgroup.freeze": "1\n"}, False, True),
        (2, {"cgroup.events": "populated 1\nfrozen 1\n", "cgroup.freeze": "0\n"}, True, True),  # by one above
        (1, {"freezer.state": "THAWED\n"}, False, False),
        (1, {"freezer.state": "FREEZING\n"}, False, True),
        (1, {"freezer.state": "FROZEN\n"}, True, True),
    ],
)
def test_who_may_not_run_is_held_also_while_not_all_are_frozen(tmp_path, version, files, frozen, held):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = Cgroup(path=tmp_path, version=version, top=tmp_path)
    assert (found.frozen(), found.held()) == (frozen, held)


async def test_an_empty_cgroup_freezes(own):
    await own.freeze(deadline=5)
    assert own.frozen()
    await own.thaw(deadline=5)


async def test_everybody_below_is_listed(victim, own):
    deep = own.path / "a" / "b"
    deep.mkdir(parents=True)
    top, below = victim("doze", into=own.path), victim("zombie", 2, into=deep)
    assert own.processes() == sorted([top.ref, below.ref])  # the dead are not
    assert set(own.pids()) >= {top.pid, below.pid}
    assert cgroup.at(deep).processes() == [below.ref]
    assert cgroup.at(deep.parent).processes() == [below.ref]


async def test_the_cgroup_of_a_process(victim, own):
    deep = own.path / "inner"
    deep.mkdir()
    doze = victim("doze", into=deep)
    controller = "freezer" if own.version == 1 else cgroup.V2
    found = cgroup.of(doze.pid, controller=controller)
    assert (found.path, found.version, found.top) == (deep, own.version, own.top)
    assert cgroup.of(doze.pid, controller=controller, containing=own.path.name[-8:]).path == own.path
    assert cgroup.of(doze.pid, controller=controller, containing="nobody").path == deep
    assert cgroup.at(own.path) == own


def test_a_private_namespace_does_not_hide_it(own):
    """Pid and cgroup namespaces of its own: seen from the host it is where it is."""
    inside = f"echo 0 > {own.path}/cgroup.procs; exec unshare --cgroup --pid --fork --mount-proc sleep 60"
    child = subprocess.Popen(["/bin/sh", "-c", inside])
    try:
        while len(proc.refs(own.pids())) < 2 or proc.command(own.pids()[-1]) != "sleep 60":
            assert child.poll() is None
        sleep = own.pids()[-1]
        assert proc.status(sleep).ns_pids[-1] == 1
        assert cgroup.of(sleep, controller="freezer" if own.version == 1 else cgroup.V2) == own
    finally:
        for pid in own.pids():
            os.kill(pid, signal.SIGKILL)
        child.wait()


async def test_frozen_by_one_above(victim, own):
    inner = cgroup.at(own.path / "inner")
    inner.path.mkdir()
    doze = victim("doze", into=inner.path)
    await own.freeze(deadline=5)
    assert inner.frozen()
    with pytest.raises(FreezeFailed, match="above it is frozen"):
        await inner.thaw(deadline=5)
    assert doze.rests()
    await own.thaw(deadline=5)
    assert doze.runs()


async def test_what_cannot_freeze_is_named_and_thawed_again(victim, own, monkeypatch):
    """Nothing on a healthy host refuses to freeze, so the kernel's answer is held back here, nothing else."""
    spin = victim("spin", 2, into=own.path)
    monkeypatch.setattr(Cgroup, "frozen", lambda self: False)
    with pytest.raises(FreezeFailed, match=r"did not freeze in 0\.1 s") as caught:
        await own.freeze(deadline=0.1)
    assert caught.value.hint
    monkeypatch.undo()
    assert spin.runs()
    assert not own.frozen()


async def test_a_cgroup_that_is_gone(tmp_path):
    gone = Cgroup(path=tmp_path / "gone", version=2, top=tmp_path)
    assert (gone.pids(), gone.processes(), gone.exists(), gone.frozen()) == ([], [], False, False)
    with pytest.raises(PlatformFailed):
        await gone.freeze(deadline=1)
    with pytest.raises(PlatformFailed, match="not in a cgroup file system"):
        cgroup.at(tmp_path)
    assert cgroup.of(2**22 + 1, controller="freezer") is None


@pytest.fixture
def made():
    found = own_cgroup.create(f"test-{uuid.uuid4().hex[:12]}")
    yield found
    for pid in found.freezer.pids():
        os.kill(pid, signal.SIGKILL)
    while found.freezer.pids():
        pass
    found.remove()


async def test_own_cgroup_freezes_kills_and_goes(victim, made):
    assert made.freezer.version == 2 or not any(one.version == 2 for one in cgroup.cgroup_mounts.read_mounts())
    storm = victim("storm", 2)
    made.add(storm.pid)
    doze = victim("doze", 3, into=made.freezer.path)
    assert doze.ref in made.freezer.processes()
    await made.freezer.freeze(deadline=10)
    assert doze.rests()
    await made.kill(deadline=10)
    assert made.freezer.processes() == []


async def test_killing_what_version_1_has_frozen(victim, own):
    doze = victim("storm", 2, into=own.path)
    made = own_cgroup.OwnCgroup(freezer=own, memory=None)
    await own.freeze(deadline=10)
    await made.kill(deadline=10)
    assert own.processes() == []
    assert doze.popen.wait(10) is not None


async def test_it_cannot_be_removed_while_in_use(victim, made):
    doze = victim("doze", into=made.freezer.path)
    with pytest.raises(PlatformFailed, match="cannot remove"):
        made.remove()
    assert doze.runs()
    await made.kill(deadline=10)


def test_it_is_found_again_by_its_name(made):
    assert own_cgroup.create(made.freezer.path.name) == made


def test_removing_twice_is_harmless():
    found = own_cgroup.create(f"test-{uuid.uuid4().hex[:12]}")
    (found.freezer.path / "below").mkdir()
    found.remove()
    found.remove()
    assert not found.freezer.exists()


NOWHERE = "from hotseat.linux import own_cgroup; print(own_cgroup.create('test-of-nobody'))"


def test_without_root_and_delegation_there_is_none(nobody):
    done = nobody.python(NOWHERE)
    assert (done.returncode, done.stdout) == (0, b"None\n"), done.stderr.decode()


DELEGATED = """
import os
from hotseat.linux import own_cgroup
open("DIRECTORY/cgroup.procs", "w").write("0")
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
made = own_cgroup.create("x")
print(made.freezer.path)
child = os.fork()
if not child:
    import time; time.sleep(60)
made.add(child)
print(made.freezer.pids() == [child])
os.kill(child, 9); os.waitpid(child, 0)
made.remove()
"""


def test_a_delegated_cgroup_serves_without_root(own):
    """As systemd does for a user's session: the directory and its control files belong to the user."""
    for path in (own.path, *own.path.iterdir()):
        shutil.chown(path, 65534, 65534)
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", DELEGATED.replace("DIRECTORY", str(own.path))],
        env={**os.environ, "PYTHONPATH": str(own_cgroup.__file__).partition("/hotseat/linux/")[0]},
        check=False,
        capture_output=True,
    )
    assert done.stdout == f"{own.path}/hotseat/x\nTrue\n".encode(), done.stderr.decode()
