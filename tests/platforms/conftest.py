"""Names that are unique, and platforms on the engines of the whole test run."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from hotseat.platforms.docker import DockerPlatform
from hotseat.platforms.podman import PodmanPlatform
from hotseat.testing.engines import DockerDaemon, PodmanServer

pytest.register_assert_rewrite("platforms_contract")

_numbers = itertools.count()


@pytest.fixture
def unique() -> Callable[[str], str]:
    """A name that no other test and no other test process uses."""
    return lambda stem: f"{stem}-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """For engines and sockets: Podman allows 50 characters, a socket's path 107. Open to other users."""
    directory = Path(tempfile.mkdtemp(prefix="hs-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def docker(docker_engine: DockerDaemon) -> AsyncIterator[DockerPlatform]:
    platform = DockerPlatform(socket=docker_engine.socket)
    yield platform
    await platform.aclose()


@pytest.fixture
async def podman(podman_engine: PodmanServer) -> AsyncIterator[PodmanPlatform]:
    platform = PodmanPlatform(socket=podman_engine.socket)
    yield platform
    await platform.aclose()
