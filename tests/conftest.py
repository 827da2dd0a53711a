"""What every test folder may ask for: private container engines, started once for all test processes, stopped after."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from hotseat.testing import engines

# A busy machine is no bug: what a test may take at most is pytest-timeout's business. CI judges a change, so it draws
# the same examples each time; everywhere else new ones are looked for.
settings.register_profile("hotseat", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("hotseat")


@pytest.fixture(scope="session")
def session_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all test processes of this run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def engines_directory(session_directory: Path) -> Path:
    """The same for all test processes, and short: Podman allows 50 characters, a socket's path 107."""
    mark = hashlib.sha256(str(session_directory).encode()).hexdigest()[:8]
    return Path(tempfile.gettempdir()) / f"hs-{mark}"


@pytest.fixture(scope="session")
def tiny_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar of a root file system with busybox alone."""
    return engines.tiny_image(tmp_path_factory.mktemp("image") / "tiny.tar")


@pytest.fixture(scope="session")
def docker_engine(engines_directory: Path, session_directory: Path, tiny_image: Path) -> Iterator[engines.DockerDaemon]:
    """A private dockerd that has the image `engines.TINY_IMAGE`. Tests remove the containers that they made."""
    engine = engines.DockerDaemon(directory=engines_directory / "d")
    with engines.shared(engine, users=session_directory / "dockerd.users", image=tiny_image):
        yield engine
    remove_if_empty(engines_directory)


@pytest.fixture(scope="session")
def podman_engine(engines_directory: Path, session_directory: Path, tiny_image: Path) -> Iterator[engines.PodmanServer]:
    """A private Podman store and service that has the image `engines.TINY_IMAGE`."""
    engine = engines.PodmanServer(directory=engines_directory / "p")
    with engines.shared(engine, users=session_directory / "podman.users", image=tiny_image):
        yield engine
    remove_if_empty(engines_directory)


def remove_if_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):  # another test process still has an engine in it
        directory.rmdir()
