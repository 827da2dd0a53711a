"""Podman where nobody runs its service, and Podman without root."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from platforms_contract import FOREST
from platforms_waiting import DEADLINE, Listener, eventually

from hotseat.errors import NotFound, PlatformFailed, Refused
from hotseat.linux import cgroup_mounts
from hotseat.linux.cgroup_mounts import Layout
from hotseat.platforms import sockets
from hotseat.platforms.podman import PodmanPlatform
from hotseat.platforms.podman_service import PodmanService
from hotseat.platforms.port import EventKind, Status
from hotseat.platforms.spec import ContainerSpec
from hotseat.testing import engines
from hotseat.testing.engines import TINY_IMAGE, PodmanServer

ROOTLESS_USER = "hotseat-rootless"


@pytest.fixture
def lonely(podman_engine: PodmanServer, short_directory: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment in which no Podman service listens."""
    monkeypatch.setattr(sockets, "podman_candidates", lambda env: [short_directory / "none.sock"])
    return {**podman_engine.env, "XDG_RUNTIME_DIR": str(short_directory)}


def service_directories(runtime: Path) -> list[Path]:
    return list(runtime.glob("hotseat-podman-*"))


@pytest.mark.podman
@pytest.mark.root
async def test_hotseat_starts_the_service_itself(
    podman_engine: PodmanServer, lonely: dict[str, str], short_directory: Path
) -> None:
    platform = PodmanPlatform(command=podman_engine.command, env=lonely)
    assert isinstance(await platform.list(), list)
    (directory,) = service_directories(short_directory)
    assert platform._service is not None
    process = platform._service._process
    assert process is not None
    # It ends when idle; then, or when somebody kills it, the next request starts another.
    process.kill()
    await process.wait()
    with pytest.raises(NotFound):
        await platform.inspect("no-such-thing")
    second = platform._service._process
    assert second is not None
    assert second.pid != process.pid
    await platform.aclose()
    assert second.returncode is not None
    assert not directory.exists()


async def test_a_service_that_ends_at_once_is_told_with_its_words(tmp_path: Path) -> None:
    program = tmp_path / "podman"
    program.write_text("#!/bin/sh\necho 'no such store' >&2\nexit 125\n")
    program.chmod(0o755)
    service = PodmanService(command=(str(program),), env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": os.environ["PATH"]})
    with pytest.raises(PlatformFailed, match="ended with 125: no such store") as caught:
        await service.socket()
    assert caught.value.hint
    await service.aclose()
    assert service_directories(tmp_path) == []


async def test_no_service_and_no_program(tmp_path: Path) -> None:
    env = {"CONTAINER_HOST": f"unix://{tmp_path}/none.sock", "PATH": str(tmp_path)}
    platform = PodmanPlatform(env=env)
    with pytest.raises(PlatformFailed, match="no podman service listens") as caught:
        await platform.list()
    assert "podman.socket" in caught.value.hint
    await platform.aclose()


def remove_user() -> None:
    """userdel refuses while a process of the user waits for init to reap it."""
    end = time.monotonic() + DEADLINE
    while True:
        done = subprocess.run(["userdel", ROOTLESS_USER], check=False, timeout=30, capture_output=True, text=True)
        if done.returncode in (0, 6):  # 6: no such user
            return
        if time.monotonic() > end:
            pytest.fail(done.stderr)
        time.sleep(0.2)


@pytest.fixture
def rootless(short_directory: Path, tiny_image: Path) -> Iterator[PodmanServer]:
    """Podman of an ordinary user, made for this and removed after it."""
    remove_user()  # of a run that was killed
    subprocess.run(["useradd", "--no-create-home", ROOTLESS_USER], check=True, timeout=30)
    user = pwd.getpwnam(ROOTLESS_USER)
    engine = PodmanServer(directory=short_directory / "podman", user=(user.pw_uid, user.pw_gid))
    try:
        engine.start()
        engines.load_image(engine, tiny_image)
        yield engine
    finally:
        engine.stop()
        remove_user()


@pytest.fixture
async def rootless_platform(rootless: PodmanServer) -> AsyncIterator[PodmanPlatform]:
    platform = PodmanPlatform(socket=rootless.socket)
    yield platform
    await platform.aclose()


@pytest.mark.podman
@pytest.mark.root
@pytest.mark.xdist_group("rootless")
async def test_rootless(
    rootless: PodmanServer, rootless_platform: PodmanPlatform, unique: Callable[[str], str]
) -> None:
    """All but the pause works everywhere; the pause needs cgroup v2, and says so where there is none."""
    platform = rootless_platform
    listener = Listener(platform)
    spec = ContainerSpec(name=unique("r"), image=TINY_IMAGE, command=("sh", "-c", FOREST))
    container = await platform.start(await platform.create(spec))
    await listener.until(container.key, [EventKind.CREATED, EventKind.STARTED])
    assert container.status is Status.RUNNING
    await asyncio.to_thread(rootless.run, "exec", "--detach", container.name, "sleep", "1234")
    await eventually(lambda: len(platform.read_pids(container)) >= 5, what="its processes, with the one by exec")
    owners = {os.stat(f"/proc/{ref.pid}").st_uid for ref in platform.read_pids(container)}
    assert owners == {pwd.getpwnam(ROOTLESS_USER).pw_uid}
    if cgroup_mounts.layout(cgroup_mounts.read_mounts()) is Layout.V2:
        await platform.pause(container)
        assert (await platform.inspect(container.id)).status is Status.PAUSED
        await platform.unpause(container)
    else:
        with pytest.raises(Refused) as caught:
            await platform.pause(container)
        assert caught.value.rule == "no cgroup, no pause"
        assert "cgroup v2" in caught.value.hint
        assert (await platform.inspect(container.id)).status is Status.RUNNING
    await platform.stop(container, grace=DEADLINE)
    assert (await platform.inspect(container.id)).exit_code == 7
    await listener.aclose()
