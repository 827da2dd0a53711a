"""Containers with the label `hotseat.model` are found, adopted and forgotten by themselves.

A platform's events say when to look; a look every few seconds finds what they miss (a gap). A platform that
does not answer keeps what was found on it: silence is no removal. A label with a mistake costs its own container only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from hotseat.config import Config, Workload, labels
from hotseat.daemon.sources import Sources
from hotseat.errors import HotseatError
from hotseat.platforms.port import Container, EventKind, Platform

_log = logging.getLogger(__name__)

PLATFORMS = ("docker", "podman")
FIRST_LOOK = 5.0
"""Seconds that the start of the daemon waits for platforms to say what they have; who is later is found later."""
_TELLING = (EventKind.CREATED, EventKind.STARTED, EventKind.REMOVED, EventKind.RENAMED)


@runtime_checkable
class Labels(Protocol):
    """A platform whose containers have labels that it can look for."""

    async def labelled(self, label: str) -> Sequence[Container]: ...


class Discovery:
    """`config` gives the configuration that counts now. `period`: seconds between looks that nothing asked for."""

    def __init__(
        self,
        sources: Sources,
        *,
        platforms: Mapping[str, Platform],
        config: Callable[[], Config],
        period: float = 5.0,
    ) -> None:
        self._sources = sources
        self._config = config
        self._period = period
        self._platforms = {name: platforms[name] for name in PLATFORMS if name in platforms}
        self._again = {name: asyncio.Event() for name in self._platforms}
        self._told: dict[str, tuple[Mapping[str, Workload], Mapping[str, str]]] = {}
        self._said: dict[str, str] = {}
        self._answered: set[str] = set()

    async def first(self) -> None:
        """One look at each platform. Returns when all have answered, or after `FIRST_LOOK`."""
        looks = [asyncio.create_task(self.look(name)) for name in self._platforms]
        if looks:
            await asyncio.wait(looks, timeout=FIRST_LOOK)
        for task in looks:
            task.cancel()
        for outcome in await asyncio.gather(*looks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name in self._platforms:
                group.create_task(self._keep_looking(name, group))

    def again(self, config: Config) -> None:
        """The configuration has changed: look soon."""
        for event in self._again.values():
            event.set()

    def seek(self, name: str) -> None:
        """A container that was found on this platform is not there any more: look soon."""
        if (event := self._again.get(name)) is not None:
            event.set()

    async def look(self, name: str) -> None:
        """Take what `name` has now. Does not fail: what the platform cannot say stays as it was."""
        if not getattr(self._config().discovery, name):
            return await self._tell(name, {}, {})
        platform = self._platforms[name]
        if not isinstance(platform, Labels):
            return
        try:
            containers = await platform.labelled(labels.MODEL)
        except HotseatError as error:
            self._silent(name, error)
            return
        self._answered.add(name)
        self._said.pop(name, None)
        await self._tell(name, *self._read(name, containers))

    def _read(self, name: str, containers: Sequence[Container]) -> tuple[dict[str, Workload], dict[str, str]]:
        """The workloads, and why others are none. Two that would have one name: the older keeps it.

        A container that is a workload already stays that one under any new name, unless another is called so by now."""
        found: dict[str, Workload] = {}
        unfit: dict[str, str] = {}
        fit: list[tuple[str, Workload]] = []
        config = self._config()
        defaults, ours = config.defaults, config.discovery.labels.items()
        for container in sorted(containers, key=lambda one: (one.started_at or float("inf"), one.name)):
            if not labels.wanted(container.labels) or not ours <= container.labels.items():
                continue
            if self._sources.claims(container):
                continue
            read = labels.read(
                container.labels, platform=name, container=container.name, ports=container.ports, defaults=defaults
            )
            if read.workload is None:
                unfit[container.name] = "; ".join(read.mistakes)
            else:
                fit.append((read.name, read.workload.of(container.id)))
        called = {name for name, _ in fit}
        known = {spec.identity: name for name, spec in self._told.get(name, ({}, {}))[0].items()}
        for own, workload in fit:
            before = known.get(workload.identity, own)
            kept = own if before in called else before
            if kept in found:
                message = f"{labels.PREFIX}name: container {found[kept].container} is workload {kept} already"
                unfit[workload.container or own] = message
            else:
                found[kept] = workload
        return found, unfit

    async def _tell(self, name: str, found: Mapping[str, Workload], unfit: Mapping[str, str]) -> None:
        if (found, unfit) == self._told.get(name, ({}, {})):
            return
        for container, message in unfit.items():
            if message != self._told.get(name, ({}, {}))[1].get(container):
                _log.warning("%s container %s is not adopted: %s", name, container, message)
        await self._sources.found(name, found, unfit=unfit)
        self._told[name] = (found, unfit)

    async def _keep_looking(self, name: str, group: asyncio.TaskGroup) -> None:
        listening = False
        while True:
            try:
                async with asyncio.timeout(self._period):
                    await self._again[name].wait()
            except TimeoutError:
                pass
            self._again[name].clear()
            await self.look(name)
            if name in self._answered and not listening:
                listening = True
                group.create_task(self._listen(name))

    async def _listen(self, name: str) -> None:
        while True:
            try:
                async for event in self._platforms[name].events():
                    if event.kind in _TELLING:
                        self._again[name].set()
            except HotseatError as error:
                self._silent(name, error)
            await asyncio.sleep(self._period)  # the looks go on meanwhile

    def _silent(self, name: str, error: HotseatError) -> None:
        """Said once. That a platform is not there at all is no news: discovery is on by default."""
        if self._said.get(name) != error.message:
            level = logging.WARNING if name in self._answered else logging.DEBUG
            _log.log(level, "containers of %s cannot be discovered: %s", name, error.message)
        self._said[name] = error.message
