"""Builds the real adapters, for the daemon and for commands that work without one."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotseat.config import Config, paths
from hotseat.errors import NotFound, PlatformFailed, UsageError
from hotseat.events import EventBus
from hotseat.gpu.client import GpuClient
from hotseat.gpu.port import CheckpointDriver, DeviceTruth
from hotseat.linux.freezer import PtraceFreezer
from hotseat.platforms.docker import DockerPlatform
from hotseat.platforms.podman import PodmanPlatform
from hotseat.platforms.port import Container, Platform
from hotseat.platforms.process import ProcessPlatform
from hotseat.store.client import StoreClient
from hotseat.swap.journal import Journal
from hotseat.swap.policy import Policy
from hotseat.swap.port import Deadlines, Swapper, Workload
from hotseat.swap.swapper import ContainerSwapper


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The parts, ready to use. A platform whose daemon does not run is among them; its calls say so."""

    swapper: Swapper
    platforms: Mapping[str, Platform]
    driver: CheckpointDriver
    devices: DeviceTruth
    journal: Journal | None
    events: EventBus
    config: Config | None = None

    async def find_workload(self, ref: str) -> Workload:
        """A workload by its name in the configuration, or any container or process by name, id or "platform:ref".

        `NotFound` lists near names; `UsageError` if several platforms have one.
        """
        spec = self.config.workloads.get(ref) if self.config is not None else None
        if spec is not None:
            platform = self.platforms[spec.platform]
            return Workload(name=ref, container=await platform.inspect(spec.ref(ref)), platform=platform)
        prefix, colon, rest = ref.partition(":")
        known = bool(colon) and prefix in self.platforms
        if not ref or (known and not rest):
            raise UsageError("NAME is empty", hint="hotseat ps --all lists what there is")
        if known:
            return _workload(await self.platforms[prefix].inspect(rest), self.platforms[prefix])
        if ref.isdigit() and "process" in self.platforms:
            # A number is a process. As the beginning of a container's id it would be an accident.
            return _workload(await self.platforms["process"].inspect(ref), self.platforms["process"])
        found, silent = await self._ask_all(ref)
        exact = [workload for workload in found if workload.container.name == ref] or found
        if len(exact) == 1:
            return exact[0]
        if exact:
            names = " or ".join(f"{workload.container.platform}:{ref}" for workload in exact)
            raise UsageError(f"several platforms have a {ref}", hint=f"say which: {names}")
        raise await self._unknown(ref, silent)

    async def _ask_all(self, ref: str) -> tuple[list[Workload], list[PlatformFailed]]:
        """Who knows it, and which platforms did not answer."""
        answers = await asyncio.gather(
            *(platform.inspect(ref) for platform in self.platforms.values()), return_exceptions=True
        )
        found: list[Workload] = []
        silent: list[PlatformFailed] = []
        for platform, answer in zip(self.platforms.values(), answers, strict=True):
            if isinstance(answer, Container):
                found.append(_workload(answer, platform))
            elif isinstance(answer, PlatformFailed):
                silent.append(answer)
            elif not isinstance(answer, NotFound):
                raise answer
        return found, silent

    async def _unknown(self, ref: str, silent: list[PlatformFailed]) -> NotFound:
        lists = await asyncio.gather(*(platform.list() for platform in self.platforms.values()), return_exceptions=True)
        names = [container.name for found in lists if not isinstance(found, BaseException) for container in found]
        if self.config is not None:
            names += self.config.workloads
        near = difflib.get_close_matches(ref, names, n=3, cutoff=0.5)
        hints = [f"did you mean {' or '.join(near)}?" if near else "hotseat ps --all lists what there is"]
        hints += [error.message for error in silent]
        return NotFound(f"no container or process {ref}", hint="; ".join(hints), near=near)


@contextlib.asynccontextmanager
async def build(
    config: Config | None = None,
    *,
    state: Path | None = None,
    environ: Mapping[str, str] | None = None,
    deadlines: Deadlines | None = None,
    policy: Policy | None = None,
    warm: bool = False,
) -> AsyncIterator[Runtime]:
    """The adapters of this host, closed again at the end. Nothing is asked of GPU or platforms before it is needed.

    `state`: the state directory, by default that of `config` or of this user; all hotseat processes that are to know
    of one another share it. `environ`: the environment of the driver's worker processes, where an emulated node is
    named; by default this process's own. `warm`: a swap will come: start what it needs beside whatever comes before, so
    that the first one does not pay for it.
    """
    directory = state or (config.state if config is not None else paths.state_directory())
    events = EventBus()
    async with contextlib.AsyncExitStack() as stack:
        journal = Journal(directory=directory)
        stack.callback(journal.close)
        gpu = GpuClient(environ=environ)
        stack.push_async_callback(gpu.aclose)
        store = _store(config, environ)
        if store is not None:
            stack.push_async_callback(store.aclose)
        freezer = PtraceFreezer()
        stack.push_async_callback(freezer.aclose)
        platforms: dict[str, Platform] = {
            "docker": DockerPlatform(),
            "podman": PodmanPlatform(),
            "process": ProcessPlatform(directory=directory / "processes"),
        }
        for platform in platforms.values():
            stack.push_async_callback(platform.aclose)
        swapper = ContainerSwapper(
            driver=gpu,
            devices=gpu,
            freezer=freezer,
            store=store,
            journal=journal,
            events=events,
            deadlines=deadlines,
            policy=policy,
        )
        if warm:
            stack.push_async_callback(_end, [asyncio.create_task(part) for part in (freezer.warm(), gpu.start())])
        yield Runtime(
            swapper=swapper,
            platforms=platforms,
            driver=gpu,
            devices=gpu,
            journal=journal,
            events=events,
            config=config,
        )


def _store(config: Config | None, environ: Mapping[str, str] | None) -> StoreClient | None:
    """Nothing is asked of it here: none may be there."""
    if config is None:
        return StoreClient(paths.store_socket(env=environ))
    return StoreClient(config.store.control) if config.store.use != "off" else None


async def _end(warming: list[asyncio.Task[Any]]) -> None:
    """What failed in warming fails again, and is told, at the first call that needs it."""
    for task in warming:
        task.cancel()
    await asyncio.gather(*warming, return_exceptions=True)


def _workload(container: Container, platform: Platform) -> Workload:
    return Workload(name=container.name, container=container, platform=platform)
