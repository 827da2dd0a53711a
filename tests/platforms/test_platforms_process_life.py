"""What a process workload lives through: hotseat's end, its shim's end, orphans, bad programs, damaged records."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from platforms_contract import FOREST, runs
from platforms_waiting import DEADLINE, eventually

from hotseat.errors import NotFound, PlatformFailed, Refused, UsageError
from hotseat.linux import own_cgroup, proc
from hotseat.platforms.port import Container, Status
from hotseat.platforms.process import ProcessPlatform
from hotseat.platforms.process_tree import signal_each
from hotseat.platforms.spec import Bind, ContainerSpec
from hotseat.words import ProcessRef

BUSYBOX = shutil.which("busybox") or "busybox"
Make = Callable[..., Any]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "processes"


@pytest.fixture
def platform(directory: Path) -> ProcessPlatform:
    return ProcessPlatform(directory=directory)


@pytest.fixture(params=["cgroup", "tree"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cgroup where one can be made, and without."""
    if request.param == "tree":
        monkeypatch.setattr(own_cgroup, "create", lambda name: None)


@pytest.fixture
async def make(platform: ProcessPlatform, unique: Callable[[str], str]) -> AsyncIterator[Make]:
    made: list[Container] = []

    async def make(script: str = FOREST, **more: Any) -> Container:
        spec = ContainerSpec(name=unique("p"), command=(BUSYBOX, "sh", "-c", script), **more)
        made.append(await platform.create(spec))
        return await platform.start(made[-1])

    yield make
    for container in made:
        await platform.remove(container)


def cgroups_named(name: str) -> list[str]:
    """`os.walk` goes on where a cgroup of a test beside this one vanishes under it; `Path.glob` raises."""
    return [
        os.path.join(path, each)
        for path, directories, _ in os.walk("/sys/fs/cgroup")
        for each in directories
        if each.startswith(f"{name}-")
    ]


async def said(platform: ProcessPlatform, container: Container, text: str) -> None:
    async with asyncio.timeout(DEADLINE):
        while text not in await platform.logs(container):  # noqa: ASYNC110, the program cannot wake us
            await asyncio.sleep(0.02)


async def test_it_outlives_the_hotseat_process_that_started_it(
    platform: ProcessPlatform, directory: Path, unique: Callable[[str], str]
) -> None:
    name = unique("p")
    script = f"""
import asyncio
from pathlib import Path
from hotseat.platforms.process import ProcessPlatform
from hotseat.platforms.spec import ContainerSpec

async def main():
    platform = ProcessPlatform(directory=Path({str(directory)!r}))
    spec = ContainerSpec(name={name!r}, command=({BUSYBOX!r}, "sh", "-c", {FOREST!r}))
    await platform.start(await platform.create(spec))

asyncio.run(main())
"""
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], check=True, timeout=60)
    found = await platform.inspect(name)
    assert found.status is Status.RUNNING
    await platform.stop(found, grace=DEADLINE)
    assert (await platform.inspect(name)).exit_code == 7  # told by the shim to whoever asks
    await platform.remove(found)


@pytest.mark.usefixtures("both_ways")
async def test_orphans_are_found_and_end_with_it(platform: ProcessPlatform, make: Make) -> None:
    """A process that made itself a daemon: its parent is gone, its session is its own."""
    container = await make("(setsid sh -c 'sleep 1000 & sleep 1000' & ); echo ready; while :; do sleep 0.05; done")
    await said(platform, container, "ready")
    await eventually(lambda: len(platform.read_pids(container)) >= 4, what="the daemon's processes")
    processes = platform.read_pids(container)
    await platform.kill(container)
    await eventually(lambda: not any(runs(process) for process in processes), what="the end of all")


@pytest.mark.usefixtures("both_ways")
async def test_orphans_end_when_it_ends_by_itself(platform: ProcessPlatform, make: Make) -> None:
    container = await make("(setsid sleep 1000 &); sleep 0.2; exit 5")
    processes = platform.read_pids(container)
    await eventually(lambda: not any(runs(process) for process in processes), what="the end of all")
    async with asyncio.timeout(DEADLINE):
        while (after := await platform.inspect(container.id)).status is not Status.EXITED:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert after.exit_code == 5


@pytest.mark.usefixtures("both_ways")
async def test_without_its_shim_it_goes_on_and_can_be_ended(platform: ProcessPlatform, make: Make) -> None:
    container = await make()
    shim = proc.stat(container.pid)
    assert shim is not None
    shim_ref = proc.ref(shim.ppid)
    assert shim_ref is not None
    signal_each([shim_ref], signal.SIGKILL)
    await eventually(lambda: not runs(shim_ref), what="the shim's end")
    assert (await platform.inspect(container.id)).status is Status.RUNNING
    await platform.pause(container)
    assert (await platform.inspect(container.id)).status is Status.PAUSED
    await platform.kill(container)
    after = await platform.inspect(container.id)
    assert (after.status, after.exit_code) == (Status.EXITED, None)  # nobody was there to see it


async def test_a_program_that_is_not_there(platform: ProcessPlatform, unique: Callable[[str], str]) -> None:
    for command in (("no-such-program-at-all",), ("/no/such/program",)):
        container = await platform.create(ContainerSpec(name=unique("p"), command=command))
        with pytest.raises(PlatformFailed) as caught:
            await platform.start(container)
        assert caught.value.hint
        assert (await platform.inspect(container.id)).status is Status.CREATED
        await platform.remove(container)


async def test_the_environment_and_directory_are_the_specs(
    platform: ProcessPlatform, make: Make, tmp_path: Path
) -> None:
    container = await make(
        "echo $WHO in $PWD limit $(ulimit -n)", env={"WHO": "me"}, workdir=str(tmp_path), ulimits={"nofile": 99}
    )
    await said(platform, container, f"me in {tmp_path} limit 99")


async def test_secrets_are_for_the_owner_alone(platform: ProcessPlatform, make: Make, directory: Path) -> None:
    container = await make(env={"TOKEN": "secret"})
    here = directory / container.name
    assert here.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 or file.name in ("run.json", "lock") for file in here.iterdir())
    assert not (here / "start.json").exists()


async def test_names_are_taken_once(platform: ProcessPlatform, make: Make) -> None:
    container = await make()
    with pytest.raises(Refused, match="is taken"):
        await platform.create(ContainerSpec(name=container.name, command=("true",)))


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "1234", "a b", "x" * 200])
async def test_names_that_cannot_be(platform: ProcessPlatform, name: str) -> None:
    with pytest.raises(UsageError):
        await platform.create(ContainerSpec(name=name, command=("true",)))


async def test_two_starts_at_once_run_it_once(directory: Path, make: Make, platform: ProcessPlatform) -> None:
    container = await make()
    await platform.kill(container)
    others = [ProcessPlatform(directory=directory) for _ in range(4)]
    results = await asyncio.gather(*(other.start(container) for other in others), return_exceptions=True)
    started = [result for result in results if isinstance(result, Container)]
    assert started
    assert {one.pid for one in started} == {(await platform.inspect(container.id)).pid}
    assert all(isinstance(result, Container | PlatformFailed) for result in results)


@pytest.mark.parametrize(
    ("file", "text"),
    [("workload.json", "{"), ("workload.json", "[]"), ("workload.json", '{"id": 1}'), ("run.json", '{"pid": "x"}')],
)
async def test_a_damaged_record_hides_no_other(
    platform: ProcessPlatform, make: Make, directory: Path, file: str, text: str
) -> None:
    whole = await make()
    damaged = await platform.create(ContainerSpec(name=f"damaged-{whole.name}", command=("true",)))
    (directory / damaged.name / file).write_text(text)
    assert [container.key for container in await platform.list()] == [whole.key]
    with pytest.raises((PlatformFailed, NotFound)):
        await platform.inspect(damaged.name)


async def test_a_pid_of_another_boot_is_nobodys(platform: ProcessPlatform, make: Make, directory: Path) -> None:
    container = await make()
    path = directory / container.name / "run.json"
    run = json.loads(path.read_text())
    path.write_text(json.dumps({**run, "boot_id": "another"}))
    assert (await platform.inspect(container.id)).status is Status.EXITED
    path.write_text(json.dumps(run))


async def test_a_reused_pid_is_never_touched(platform: ProcessPlatform, make: Make, directory: Path) -> None:
    """The record names the pid of a process that was born at another time: ours to leave alone."""
    container = await make()
    bystander = await asyncio.create_subprocess_exec(BUSYBOX, "sleep", "1000")
    path = directory / container.name / "run.json"
    run = json.loads(path.read_text())
    path.write_text(json.dumps({**run, "pid": bystander.pid, "start_time": 1, "shim_start_time": 1}))
    fresh = ProcessPlatform(directory=directory)
    stale = await fresh.inspect(container.name)
    assert stale.status is Status.EXITED
    await fresh.kill(stale)
    await fresh.stop(stale, grace=0.1)
    signal_each([ProcessRef(bystander.pid, 1)], signal.SIGKILL)
    assert bystander.returncode is None
    os.kill(bystander.pid, 0)
    bystander.kill()
    await bystander.wait()
    path.write_text(json.dumps(run))


async def test_what_a_bare_process_cannot_have(platform: ProcessPlatform) -> None:
    for more in ({"image": "x"}, {"binds": (Bind(source=Path("/"), target="/x"),)}, {"network": "none"}, {"user": "u"}):
        with pytest.raises(UsageError, match="a bare process tree cannot have"):
            await platform.create(ContainerSpec(name="x", command=("true",), **more))
    with pytest.raises(UsageError, match="needs a command"):
        await platform.create(ContainerSpec(name="x", command=()))


async def test_a_limit_without_a_cgroup_is_refused(
    platform: ProcessPlatform, monkeypatch: pytest.MonkeyPatch, unique: Callable[[str], str]
) -> None:
    monkeypatch.setattr(own_cgroup, "create", lambda name: None)
    container = await platform.create(ContainerSpec(name=unique("p"), command=("true",), memory_limit=1 << 20))
    with pytest.raises(Refused, match="no memory limit"):
        await platform.start(container)


@pytest.mark.root
async def test_no_cgroup_is_left_behind(platform: ProcessPlatform, make: Make) -> None:
    container = await make()
    await platform.kill(container)
    assert cgroups_named(container.name) == []


def test_a_start_closes_no_descriptor_of_others(directory: Path, unique: Callable[[str], str]) -> None:
    """On uvloop, where the daemon runs: what is opened right after a start gets the numbers that it has let go of."""

    async def main() -> list[int]:
        platform = ProcessPlatform(directory=directory)
        container = await platform.create(ContainerSpec(name=unique("p"), command=(BUSYBOX, "true")))
        await platform.start(container)
        opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
        for _ in range(10):  # what still has to be closed is closed in the loop's next turns
            await asyncio.sleep(0)
        lost = []
        for number in opened:
            try:
                os.close(number)
            except OSError:
                lost.append(number)
        await platform.remove(container)
        await platform.aclose()
        return lost

    assert uvloop.run(main()) == []
