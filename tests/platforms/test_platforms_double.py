"""The double in memory passes the suite of the real ones; its faults work as told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from platforms_contract import CHILDREN, COUNTER, FOREST, STUBBORN, TALKER, EnterContract, LimitContract

from hotseat.errors import NotFound, PlatformFailed
from hotseat.platforms.port import Container, Status
from hotseat.platforms.spec import ContainerSpec
from hotseat.testing.platforms import FakePlatform, Program
from hotseat.words import ProcessRef

PROGRAMS = {
    FOREST: Program(children=CHILDREN, says=("hello",), sigterm_code=7),
    COUNTER: Program(chatters=True),
    STUBBORN: Program(children=1, sigterm_code=None),
    TALKER: Program(says=("one", "two", "three")),
}


@dataclass(kw_only=True)
class FakeStage:
    """Plays the programs too: the double knows containers, not shells."""

    platform: FakePlatform = field(default_factory=FakePlatform)

    def spec(self, name: str, script: str, **more: Any) -> ContainerSpec:
        self.platform.program(name, PROGRAMS[script])
        return ContainerSpec(name=name, image="tiny", command=("sh", "-c", script), **more)

    async def create(self, spec: ContainerSpec) -> Container:
        return await self.platform.create(spec)

    async def remove(self, container: Container) -> None:
        await self.platform.remove(container)

    async def person(self, verb: str, container: Container) -> None:
        done = getattr(self.platform.behind, verb)(container.name)
        if done is not None:
            await done

    async def enter(self, container: Container) -> None:
        self.platform.fork(container.name)


class TestDouble(EnterContract, LimitContract):
    @pytest.fixture
    def stage(self) -> Any:
        return FakeStage()


async def seated(platform: FakePlatform) -> Container:
    created = await platform.create(ContainerSpec(name="a", image="tiny", command=("sh",)))
    return await platform.start(created)


async def test_a_fault_before_the_effect_leaves_all_as_it_was() -> None:
    platform = FakePlatform()
    container = await seated(platform)
    platform.fault("pause", PlatformFailed("no"))
    with pytest.raises(PlatformFailed):
        await platform.pause(container)
    assert (await platform.inspect("a")).status is Status.RUNNING
    await platform.pause(container)
    assert (await platform.inspect("a")).status is Status.PAUSED


async def test_a_fault_after_the_effect_hides_it() -> None:
    platform = FakePlatform()
    container = await seated(platform)
    platform.fault("pause", PlatformFailed("no answer"), after=True)
    with pytest.raises(PlatformFailed):
        await platform.pause(container)
    assert (await platform.inspect("a")).status is Status.PAUSED


async def test_a_fault_comes_as_often_as_told() -> None:
    platform = FakePlatform()
    await seated(platform)
    platform.fault("inspect", NotFound("gone"), times=2)
    for _ in range(2):
        with pytest.raises(NotFound):
            await platform.inspect("a")
    assert (await platform.inspect("a")).name == "a"


async def test_calls_are_kept_but_not_what_a_person_does() -> None:
    platform = FakePlatform()
    container = await seated(platform)
    await platform.pause(container)
    platform.behind.unpause("a")
    assert platform.calls == [("create", "a"), ("start", "a"), ("pause", "a")]


async def test_processes_of_another_double_can_be_given() -> None:
    platform = FakePlatform()
    await seated(platform)
    container = platform.set_processes("a", [ProcessRef(70, 1), ProcessRef(60, 2)])
    assert container.pid == 70
    assert platform.read_pids(container) == [ProcessRef(60, 2), ProcessRef(70, 1)]
