"""Opens what doctor looks through (GPU worker, platforms), gathers, judges, closes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from hotseat.cli.doctor.facts import Finding
from hotseat.cli.doctor.gather import gather
from hotseat.cli.doctor.judge import judge
from hotseat.config import paths
from hotseat.errors import HotseatError, NotFound, PlatformFailed
from hotseat.gpu.client import GpuClient
from hotseat.platforms.docker import DockerPlatform
from hotseat.platforms.podman import PodmanPlatform
from hotseat.platforms.port import Container, Platform
from hotseat.platforms.process import ProcessPlatform


async def look(name: str | None) -> list[Finding]:
    """All findings; with `name` those of the machine and of that container alone. `NotFound` if it is nowhere."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(GpuClient())
        platforms: dict[str, Platform] = {
            "docker": DockerPlatform(),
            "podman": PodmanPlatform(),
            "process": ProcessPlatform(),
        }
        for platform in platforms.values():
            stack.push_async_callback(platform.aclose)
        only = await find(platforms, name) if name is not None else None
        return judge(await gather(client, platforms, store_socket=paths.store_socket(), only=only))


async def find(platforms: Mapping[str, Platform], name: str) -> tuple[Platform, Container]:
    """ "docker:llama" in Docker alone, "4711" as a process, "llama" wherever it is."""
    prefix, _, rest = name.partition(":")
    if rest and prefix in platforms:
        return platforms[prefix], await platforms[prefix].inspect(rest)
    order = ["process"] if name.isdigit() else list(platforms)
    silent: list[HotseatError] = []
    for platform in (platforms[key] for key in order):
        try:
            return platform, await platform.inspect(name)
        except NotFound:
            continue
        except PlatformFailed as error:
            silent.append(error)  # not installed, or does not answer: its own finding says which
    asked = ", ".join(order)
    raise NotFound(
        f"no container or process tree named {name!r} ({asked} asked)",
        hint="; ".join(error.message for error in silent) or "`hotseat ps --all` lists what there is",
    )
