"""What the daemon does not know, the kernel does: frozen cgroups, cgroups within, processes of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from platforms_contract import FOREST
from platforms_waiting import DEADLINE, eventually

from hotseat.errors import NotFound, Refused
from hotseat.linux import cgroup, proc
from hotseat.linux.cgroup import Cgroup
from hotseat.platforms.docker import DockerPlatform
from hotseat.platforms.podman import PodmanPlatform
from hotseat.platforms.port import Container, Status
from hotseat.platforms.process import ProcessPlatform
from hotseat.platforms.spec import Bind, ContainerSpec
from hotseat.testing.engines import TINY_IMAGE

Engine = DockerPlatform | PodmanPlatform


@pytest.fixture(
    params=[
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.root]),
        pytest.param("podman", marks=[pytest.mark.podman, pytest.mark.root]),
    ]
)
def platform(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.getfixturevalue(request.param)
    return engine


@pytest.fixture
def person(platform: Engine, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Runs the platform's own command line."""
    run: Callable[..., str] = request.getfixturevalue(f"{platform.name}_engine").run
    return run


@pytest.fixture
async def make(platform: Engine, unique: Callable[[str], str]) -> AsyncIterator[Callable[..., Any]]:
    made: list[Container] = []

    async def make(script: str = FOREST, **more: Any) -> Container:
        spec = ContainerSpec(name=unique("b"), image=TINY_IMAGE, command=("sh", "-c", script), **more)
        made.append(await platform.create(spec))
        return await platform.start(made[-1])

    yield make
    for container in reversed(made):  # Podman keeps what another one leans on
        await platform.remove(container)


def freezer(container: Container) -> Cgroup:
    assert container.pid is not None
    found = cgroup.of(container.pid, controller="freezer", containing=container.id)
    assert found is not None
    assert container.id in found.path.name
    return found


async def test_frozen_by_hand_shows_as_paused_and_can_be_unpaused(platform: Engine, make: Callable[..., Any]) -> None:
    container = await make()
    await freezer(container).freeze(deadline=DEADLINE)
    assert (await platform.inspect(container.id)).status is Status.PAUSED
    listed = {one.key: one.status for one in await platform.list()}
    assert listed[container.key] is Status.PAUSED
    await platform.unpause(container)
    assert (await platform.inspect(container.id)).status is Status.RUNNING
    assert not freezer(container).frozen()


async def test_frozen_by_hand_can_be_stopped(platform: Engine, make: Callable[..., Any]) -> None:
    container = await make("trap 'exit 7' TERM; while :; do sleep 0.05; done")
    await eventually(lambda: len(platform.read_pids(container)) >= 2, what="the loop")
    await freezer(container).freeze(deadline=DEADLINE)
    await platform.stop(container, grace=DEADLINE)
    assert (await platform.inspect(container.id)).exit_code == 7


async def test_frozen_by_hand_can_be_removed(platform: Engine, make: Callable[..., Any]) -> None:
    container = await make()
    await freezer(container).freeze(deadline=DEADLINE)
    await platform.remove(container)
    with pytest.raises(NotFound):
        await platform.inspect(container.id)


async def test_processes_in_cgroups_within_the_container_are_found(platform: Engine, make: Callable[..., Any]) -> None:
    """As systemd or a container engine inside the container makes them."""
    container = await make()
    own = freezer(container)
    await eventually(lambda: len(platform.read_pids(container)) >= 4, what="its processes")
    inner = own.path / "inner"
    inner.mkdir()
    moved = next(ref for ref in platform.read_pids(container) if ref.pid != container.pid and proc.same(ref))
    (inner / "cgroup.procs").write_text(str(container.pid))
    assert container.pid in [ref.pid for ref in platform.read_pids(container)]
    assert moved in platform.read_pids(container)
    fresh = await platform.inspect(container.id)
    assert container.pid in [ref.pid for ref in platform.read_pids(fresh)]
    await platform.pause(fresh)
    assert (await platform.inspect(container.id)).status is Status.PAUSED
    await platform.unpause(fresh)
    (own.path / "cgroup.procs").write_text(str(container.pid))
    await eventually(lambda: not (inner / "cgroup.procs").read_text(), what="an empty inner cgroup")
    inner.rmdir()


async def test_private_cgroups_hide_nothing(
    platform: Engine, make: Callable[..., Any], person: Callable[..., str]
) -> None:
    """The container sees "/" for its cgroup; hotseat, outside, sees all of it."""
    container = await make(private_cgroups=True)
    await eventually(lambda: len(platform.read_pids(container)) >= 5, what="its processes")
    before = len(platform.read_pids(container))
    await asyncio.to_thread(person, "exec", "--detach", container.name, "sleep", "1234")
    await eventually(lambda: len(platform.read_pids(container)) > before, what="the process by exec")
    assert "/\n" in await asyncio.to_thread(person, "exec", container.name, "cat", "/proc/1/cgroup")
    await platform.pause(container)
    assert freezer(container).frozen()
    await platform.unpause(container)


async def test_a_process_of_a_container_is_not_adopted(
    platform: Engine, make: Callable[..., Any], tmp_path: Any
) -> None:
    container = await make()
    with pytest.raises(Refused, match="part of the container") as caught:
        await ProcessPlatform(directory=tmp_path).inspect(str(container.pid))
    assert container.id[:12] in caught.value.hint


async def test_the_spec_is_honoured(platform: Engine, make: Callable[..., Any], tmp_path: Any) -> None:
    (tmp_path / "note").write_text("bound")
    container = await make(
        "echo $(cat /here/note); echo $WHO; ulimit -n; pwd; touch /here/x || echo readonly; ls /dev/full; sleep 1000",
        env={"WHO": "me"},
        binds=(Bind(source=tmp_path, target="/here", read_only=True),),
        ulimits={"nofile": 128},
        workdir="/tmp",
        devices=("/dev/full",),
        cap_add=("SYS_PTRACE",),
        cap_drop=("NET_RAW",),
    )
    async with asyncio.timeout(DEADLINE):
        while "/dev/full" not in (log := await platform.logs(container)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    for word in ("bound", "me", "128", "/tmp", "readonly"):
        assert word in log.split()
    capabilities = int(proc_field(container.pid, "CapEff"), 16)
    assert capabilities >> 19 & 1  # CAP_SYS_PTRACE
    assert not capabilities >> 13 & 1  # CAP_NET_RAW


async def test_an_image_that_is_not_here(platform: Engine, unique: Callable[[str], str]) -> None:
    with pytest.raises(NotFound):
        await platform.create(ContainerSpec(name=unique("b"), image="no-such-image:at-all", command=("x",)))


async def test_a_shared_network_has_its_owners_addresses(platform: Engine, make: Callable[..., Any]) -> None:
    owner = await make()
    guest = await make(network=f"container:{owner.id}")
    assert guest.addresses == ("127.0.0.1",)
    alone = await make(network="none")
    assert alone.addresses == ()


def proc_field(pid: int, name: str) -> str:
    data = (proc.read(f"{proc.PROC}/{pid}/status") or b"").decode()
    return next(line.split()[1] for line in data.splitlines() if line.startswith(f"{name}:"))
