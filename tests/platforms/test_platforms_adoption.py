"""Any process tree by its id: `hotseat park PID`."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from platforms_waiting import Listener, eventually

from hotseat.errors import NotFound, Refused, UsageError
from hotseat.linux import proc
from hotseat.platforms import adoption
from hotseat.platforms.port import EventKind, Status
from hotseat.platforms.process import ProcessPlatform
from hotseat.platforms.process_tree import signal_each
from hotseat.platforms.spec import ContainerSpec

BUSYBOX = shutil.which("busybox") or "busybox"


@pytest.fixture
def platform(tmp_path: Path) -> ProcessPlatform:
    return ProcessPlatform(directory=tmp_path / "processes")


@pytest.fixture
async def tree(platform: ProcessPlatform) -> AsyncIterator[asyncio.subprocess.Process]:
    """A shell with two children, started by nobody that hotseat knows."""
    script = "sleep 1000 & sleep 1000 & wait"
    process = await asyncio.create_subprocess_exec(BUSYBOX, "sh", "-c", script, start_new_session=True)
    await eventually(lambda: len(proc.descendants(process.pid)) == 3, what="its children")
    yield process
    signal_each(proc.refs(proc.descendants(process.pid)), signal.SIGKILL)
    await process.wait()


def state(pid: int) -> str:
    found = proc.stat(pid)
    return found.state if found else "gone"


async def test_a_pid_is_a_ref(platform: ProcessPlatform, tree: asyncio.subprocess.Process) -> None:
    container = await platform.inspect(str(tree.pid))
    assert (container.pid, container.name, container.status) == (tree.pid, str(tree.pid), Status.RUNNING)
    assert [process.pid for process in platform.read_pids(container)] == sorted(proc.descendants(tree.pid))
    assert await platform.list() == []  # looking writes nothing down


async def test_pause_stops_the_whole_tree_and_is_found_again(
    platform: ProcessPlatform, tree: asyncio.subprocess.Process, tmp_path: Path
) -> None:
    await platform.pause(await platform.inspect(str(tree.pid)))
    assert {state(pid) for pid in proc.descendants(tree.pid)} == {"T"}
    another = ProcessPlatform(directory=tmp_path / "processes")
    (found,) = await another.list()
    assert (found.name, found.status) == (str(tree.pid), Status.PAUSED)
    await another.unpause(found)
    assert "T" not in {state(pid) for pid in proc.descendants(tree.pid)}


async def test_adopted_under_a_name(
    platform: ProcessPlatform, tree: asyncio.subprocess.Process, unique: Callable[[str], str]
) -> None:
    name = unique("adopted")
    adopted = await platform.adopt(tree.pid, name=name, labels={"a": "b"})
    assert (adopted.name, adopted.labels) == (name, {"a": "b"})
    assert await platform.inspect(name) == adopted
    assert await platform.inspect(str(tree.pid)) == adopted
    assert await platform.list() == [adopted]
    await platform.remove(adopted)
    assert tree.returncode is None  # forgotten, not killed
    with pytest.raises(NotFound):
        await platform.inspect(name)


async def test_a_name_belongs_to_one(
    platform: ProcessPlatform, tree: asyncio.subprocess.Process, unique: Callable[[str], str]
) -> None:
    name = unique("adopted")
    await platform.create(ContainerSpec(name=name, command=("true",)))
    with pytest.raises(Refused, match="is taken"):
        await platform.adopt(tree.pid, name=name)
    with pytest.raises(UsageError):
        await platform.adopt(tree.pid, name="a/b")


async def test_what_ended_is_forgotten(platform: ProcessPlatform, tree: asyncio.subprocess.Process) -> None:
    adopted = await platform.adopt(tree.pid)
    listener = Listener(platform)
    await asyncio.sleep(0.05)
    await platform.kill(adopted)
    await listener.until(adopted.key, [EventKind.EXITED, EventKind.REMOVED])
    assert await platform.list() == []
    await listener.aclose()


async def test_stop_ends_all_of_it(platform: ProcessPlatform, tree: asyncio.subprocess.Process) -> None:
    adopted = await platform.adopt(tree.pid)
    processes = platform.read_pids(adopted)
    await platform.pause(adopted)
    await platform.stop(adopted, grace=10.0)
    await eventually(lambda: not proc.refs([p.pid for p in processes]), what="the end of all")


async def test_it_cannot_be_started_again(platform: ProcessPlatform, tree: asyncio.subprocess.Process) -> None:
    adopted = await platform.adopt(tree.pid)
    with pytest.raises(Refused, match="was not started by hotseat"):
        await platform.start(adopted)


async def test_what_must_not_be_adopted(platform: ProcessPlatform) -> None:
    for pid, rule in ((1, "never init"), (os.getpid(), "never ourselves"), (os.getppid(), "never ourselves")):
        with pytest.raises(Refused) as caught:
            await platform.inspect(str(pid))
        assert caught.value.rule == rule
        assert caught.value.hint


async def test_no_such_process(platform: ProcessPlatform) -> None:
    with pytest.raises(NotFound):
        await platform.inspect(str(1 << 30))
    with pytest.raises(NotFound):
        await platform.adopt(0)


@pytest.fixture
def zombie() -> Iterator[int]:
    child = os.posix_spawn(BUSYBOX, [BUSYBOX, "true"], {})
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    yield child
    os.waitpid(child, 0)


async def test_a_zombie_is_no_process(platform: ProcessPlatform, zombie: int) -> None:
    with pytest.raises(NotFound):
        await platform.inspect(str(zombie))


async def test_a_part_of_a_workload_is_refused(
    platform: ProcessPlatform, tree: asyncio.subprocess.Process, unique: Callable[[str], str]
) -> None:
    adopted = await platform.adopt(tree.pid, name=unique("whole"))
    child = proc.children(tree.pid)[0]
    with pytest.raises(Refused, match=f"part of the workload {adopted.name}"):
        await platform.inspect(str(child))


HEX = "4f1c" * 16


@pytest.mark.parametrize(
    ("membership", "container"),
    [
        (f"0::/system.slice/docker-{HEX}.scope\n", f"docker:{HEX[:12]}"),
        (f"6:freezer:/docker/{HEX}\n0::/\n", f"docker:{HEX[:12]}"),
        (f"0::/machine.slice/libpod-{HEX}.scope/container\n", f"podman:{HEX[:12]}"),
        (f"0::/user.slice/libpod-payload-{HEX}\n", f"podman:{HEX[:12]}"),
        (f"6:freezer:/libpod_parent/libpod-{HEX}\n", f"podman:{HEX[:12]}"),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{HEX}.scope\n", None),
        ("0::/user.slice/user-0.slice/session-1.scope\n", None),
        (f"0::/docker/{HEX[:-1]}\n", None),
    ],
)
def test_a_process_of_a_container_is_known_by_its_cgroup(membership: str, container: str | None) -> None:
    assert adoption.container_of(membership) == container
