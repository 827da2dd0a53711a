"""A house on each platform. Engines and image are the whole run's; node, state and workloads are each test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hotseat.demo import image
from hotseat.emulator import EmulatedNode
from hotseat.swap.policy import Policy
from hotseat.swap.port import Deadlines
from hotseat.testing import daemons, engines

pytest.register_assert_rewrite("integration_house")

from integration_house import CONTEXT, IMAGE, MIB, House, open_house  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.emulated)


@pytest.fixture
def kind() -> str:
    """The platform; a test that runs on several parametrises it (`everywhere`, `in_containers`)."""
    return "process"


@pytest.fixture
def devices() -> tuple[int, ...]:
    """Sizes of the node's devices."""
    return (64 * MIB, 64 * MIB)


@pytest.fixture
def preallocate() -> bool:
    """Charge all device memory to this process at once, so that no page of it counts against a container's limit."""
    return False


@pytest.fixture
def control(tmp_path: Path) -> Path:
    """The control socket by which this house would find a store."""
    return tmp_path / "store" / "control.sock"


@pytest.fixture
def deadlines() -> Deadlines | None:
    """None = the defaults, which no busy machine outruns. Tests that wait for a deadline to pass set shorter ones."""
    return None


@pytest.fixture
def policy() -> Policy | None:
    return None


@pytest.fixture
def node(devices: tuple[int, ...], preallocate: bool) -> Iterator[EmulatedNode]:
    with EmulatedNode.temporary(devices=devices, context_bytes=CONTEXT, preallocate=preallocate) as node:
        yield node


@pytest.fixture
def engine(
    kind: str, request: pytest.FixtureRequest, session_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> engines.DockerDaemon | engines.PodmanServer | None:
    """The run's engine with the demo engine's image in it; hotseat finds it as it would a host's own."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("CONTAINER_HOST", "unix:///nonexistent/podman.sock")
    monkeypatch.setenv("HOTSEAT_CONTROL", str(session_directory / "no-daemon.sock"))
    if kind == "process":
        return None
    found: engines.DockerDaemon | engines.PodmanServer = request.getfixturevalue(f"{kind}_engine")
    monkeypatch.setenv("DOCKER_HOST" if kind == "docker" else "CONTAINER_HOST", f"unix://{found.socket}")
    # One at a time. The engine itself is asked: the last test process that used it may have stopped it, images and all.
    with daemons.counted(session_directory / f"integration-image-{kind}"):
        if not engines.has_image(found, reference=IMAGE):
            tar = image.build(session_directory / f"integration-{kind}.tar")
            engines.load_image(found, tar, reference=IMAGE)
            tar.unlink()
    return found


@pytest.fixture
async def house(
    kind: str,
    node: EmulatedNode,
    engine: engines.DockerDaemon | engines.PodmanServer | None,
    deadlines: Deadlines | None,
    policy: Policy | None,
    tmp_path: Path,
) -> AsyncIterator[House]:
    async with open_house(
        kind=kind, node=node, directory=tmp_path, engine=engine, deadlines=deadlines, policy=policy
    ) as house:
        yield house
