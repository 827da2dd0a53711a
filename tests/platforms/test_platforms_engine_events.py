"""Events over the daemon's death: what happened meanwhile is told when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from platforms_waiting import Listener

from hotseat.errors import PlatformFailed
from hotseat.platforms.docker import DockerPlatform
from hotseat.platforms.engine_events import engine_events
from hotseat.platforms.podman import PodmanPlatform
from hotseat.platforms.port import EventKind, Status
from hotseat.platforms.spec import ContainerSpec
from hotseat.testing import engines
from hotseat.testing.engines import TINY_IMAGE, DockerDaemon, PodmanServer

CREATED, STARTED, EXITED = EventKind.CREATED, EventKind.STARTED, EventKind.EXITED
PAUSED, UNPAUSED, REMOVED = EventKind.PAUSED, EventKind.UNPAUSED, EventKind.REMOVED


@pytest.fixture
async def mortal_docker(short_directory: Path, tiny_image: Path) -> AsyncIterator[DockerDaemon]:
    """A daemon of this test's own, to kill. Its containers outlive it."""
    engine = DockerDaemon(directory=short_directory / "e", live_restore=True)
    await asyncio.to_thread(engine.start)
    await asyncio.to_thread(engines.load_image, engine, tiny_image)
    yield engine
    await asyncio.to_thread(engine.stop)


@pytest.mark.docker
@pytest.mark.root
async def test_docker_dies_and_comes_back(mortal_docker: DockerDaemon) -> None:
    platform = DockerPlatform(socket=mortal_docker.socket)
    listener = Listener(platform)
    spec = ContainerSpec(name="mortal", image=TINY_IMAGE, command=("sleep", "1000"))
    dies = await platform.start(await platform.create(spec))
    await listener.until(dies.key, [CREATED, STARTED])
    pid = next(ref for ref in platform.read_pids(dies) if ref.pid == dies.pid)

    await asyncio.to_thread(mortal_docker.halt)
    with pytest.raises(PlatformFailed) as caught:
        await platform.list()
    assert caught.value.hint
    assert platform.read_pids(dies) == [pid]  # asked of the kernel: the daemon is not needed
    await asyncio.to_thread(mortal_docker.start)
    await platform.kill(dies)
    await listener.until(dies.key, [CREATED, STARTED, EXITED])
    await platform.start(dies)
    await listener.until(dies.key, [CREATED, STARTED, EXITED, STARTED])
    await platform.remove(dies)
    await listener.until(dies.key, [CREATED, STARTED, EXITED, STARTED, EXITED, REMOVED])
    await listener.aclose()
    await platform.aclose()


@pytest.mark.podman
@pytest.mark.root
async def test_podmans_service_dies_and_comes_back(
    short_directory: Path, tiny_image: Path, unique: Callable[[str], str]
) -> None:
    """Its containers do not need it: all that happens to them meanwhile is told afterwards."""
    engine = PodmanServer(directory=short_directory / "e")
    await asyncio.to_thread(engine.start)
    try:
        await asyncio.to_thread(engines.load_image, engine, tiny_image)
        platform = PodmanPlatform(socket=engine.socket)
        listener = Listener(platform)
        made = []
        for name in ("paused", "killed", "restarted", "removed", "untouched"):
            spec = ContainerSpec(name=unique(name), image=TINY_IMAGE, command=("sleep", "1000"))
            made.append(await platform.start(await platform.create(spec)))
        for container in made:
            await listener.until(container.key, [CREATED, STARTED])
        paused, killed, restarted, removed, untouched = made

        await asyncio.to_thread(engine.halt)
        for arguments in (
            ("pause", paused.name),
            ("kill", killed.name),
            ("restart", "--time=0", restarted.name),
            ("rm", "--force", "--time=0", removed.name),
        ):
            await asyncio.to_thread(engine.run, *arguments)
        await asyncio.to_thread(engine.start)

        await listener.until(paused.key, [CREATED, STARTED, PAUSED])
        await listener.until(killed.key, [CREATED, STARTED, EXITED])
        await listener.until(restarted.key, [CREATED, STARTED, EXITED, STARTED])
        await listener.until(removed.key, [CREATED, STARTED, EXITED, REMOVED])
        assert listener.kinds(untouched.key) == [CREATED, STARTED]
        # And the stream goes on where the looks ended.
        await platform.unpause(paused)
        await listener.until(paused.key, [CREATED, STARTED, PAUSED, UNPAUSED])
        assert (await platform.inspect(paused.id)).status is Status.RUNNING
        await listener.aclose()
        await platform.aclose()
    finally:
        await asyncio.to_thread(engine.stop)


async def test_a_daemon_that_is_away_is_said_once(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    platform = DockerPlatform(socket=tmp_path / "none.sock")
    looks = 0

    async def look() -> list[object]:
        nonlocal looks
        looks += 1
        return list(await platform.list())

    stream = engine_events("docker", platform._api, look, since=0.0)  # type: ignore[arg-type]
    listening = asyncio.ensure_future(anext(stream))
    async with asyncio.timeout(20):
        while looks < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await stream.aclose()
    await platform.aclose()
    assert len([record for record in caplog.records if "no events" in record.getMessage()]) == 1
