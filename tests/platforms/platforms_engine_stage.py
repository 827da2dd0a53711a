"""The contract's stage on Docker and Podman: hotseat at one terminal, a person with the command line at another."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from hotseat.platforms.docker import DockerPlatform
from hotseat.platforms.podman import PodmanPlatform
from hotseat.platforms.port import Container
from hotseat.platforms.spec import ContainerSpec
from hotseat.testing.engines import TINY_IMAGE, DockerDaemon, PodmanServer

_VERBS = {"stop": ("stop", "--time=10")}


@dataclass(kw_only=True)
class EngineStage:
    platform: DockerPlatform | PodmanPlatform
    engine: DockerDaemon | PodmanServer

    def spec(self, name: str, script: str, **more: Any) -> ContainerSpec:
        return ContainerSpec(name=name, image=TINY_IMAGE, command=("sh", "-c", script), **more)

    async def create(self, spec: ContainerSpec) -> Container:
        return await self.platform.create(spec)

    async def remove(self, container: Container) -> None:
        await self.platform.remove(container)

    async def person(self, verb: str, container: Container) -> None:
        await asyncio.to_thread(self.engine.run, *_VERBS.get(verb, (verb,)), container.name)

    async def enter(self, container: Container) -> None:
        await asyncio.to_thread(self.engine.run, "exec", "--detach", container.name, "sleep", "1234")
