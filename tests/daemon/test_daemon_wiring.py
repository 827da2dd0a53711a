"""Any container or process is found by its name; what is not there, or there twice, says so."""

import os
from pathlib import Path

import pytest

from hotseat import config
from hotseat.daemon.control import _bind
from hotseat.daemon.wiring import Runtime
from hotseat.errors import NotFound, PlatformFailed, Refused, UsageError
from hotseat.events import EventBus
from hotseat.platforms.spec import ContainerSpec
from hotseat.testing.platforms import FakePlatform


@pytest.fixture
async def runtime() -> Runtime:
    docker, podman = FakePlatform(name="docker"), FakePlatform(name="podman")
    for platform, names in ((docker, ("llama", "both")), (podman, ("qwen", "both"))):
        for name in names:
            await platform.start(await platform.create(ContainerSpec(name=name, command=("x",))))
    return Runtime(
        swapper=None,  # type: ignore[arg-type]
        platforms={"docker": docker, "podman": podman},  # type: ignore[dict-item]
        driver=None,  # type: ignore[arg-type]
        devices=None,  # type: ignore[arg-type]
        journal=None,
        events=EventBus(),
        config=config.parse("workloads: {chat: {port: 1, platform: podman, container: qwen}}"),
    )


async def test_by_the_name_in_the_configuration_or_the_containers_own(runtime: Runtime) -> None:
    chat = await runtime.find_workload("chat")
    assert (chat.name, chat.container.name, chat.platform.name) == ("chat", "qwen", "podman")
    assert (await runtime.find_workload("llama")).platform.name == "docker"
    assert (await runtime.find_workload("podman:both")).platform.name == "podman"
    assert (await runtime.find_workload(chat.container.key)).container == chat.container


async def test_one_that_two_platforms_have_must_be_named_with_its_platform(runtime: Runtime) -> None:
    with pytest.raises(UsageError, match="several platforms") as caught:
        await runtime.find_workload("both")
    assert "docker:both or podman:both" in caught.value.hint


async def test_near_names_are_offered(runtime: Runtime) -> None:
    with pytest.raises(NotFound) as caught:
        await runtime.find_workload("lama")
    assert "did you mean llama" in caught.value.hint


async def test_a_platform_that_is_down_hides_nothing_of_the_others(runtime: Runtime) -> None:
    docker = runtime.platforms["docker"]
    assert isinstance(docker, FakePlatform)
    docker.fault("inspect", PlatformFailed("docker does not answer"), times=9)
    assert (await runtime.find_workload("qwen")).platform.name == "podman"
    with pytest.raises(NotFound) as caught:
        await runtime.find_workload("llama")
    assert "docker does not answer" in caught.value.hint


@pytest.mark.root
def test_a_socket_is_not_put_into_another_users_directory(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    with pytest.raises(Refused, match="belongs to another user"):
        _bind(theirs / "c.sock")
