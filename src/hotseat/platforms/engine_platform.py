"""Docker and Podman behind `port.Platform`: what both do alike over the Engine API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from hotseat.errors import NotFound, PlatformFailed, ProcessGone, Refused
from hotseat.linux.port import HostMemory
from hotseat.platforms import engine_json, inside, multiplexed
from hotseat.platforms.engine_api import EngineApi
from hotseat.platforms.engine_events import engine_events
from hotseat.platforms.port import Container, PlatformEvent, Status
from hotseat.words import ProcessRef

log = logging.getLogger(__name__)

START_DEADLINE = 60.0
"""Seconds. Mounting an image of many layers from a cold disk takes its time."""
FREEZE_DEADLINE = 10.0
"""Seconds until every thread is frozen after the daemon said so; a thread in uninterruptible sleep is late."""
_AT_ONCE = 16
"""Inspections under way at the same time."""


class EnginePlatform:
    """One daemon. Safe for concurrent use by tasks of one event loop."""

    name: str

    def __init__(self, api: EngineApi) -> None:
        self._api = api
        self._roots = inside.Roots()

    async def list(self) -> Sequence[Container]:
        containers = await self._listed({"all": "true"})
        self._roots.keep_only({container.id for container in containers})
        return containers

    async def labelled(self, label: str) -> Sequence[Container]:
        """Those that have it, whatever its value, also if they do not run."""
        return await self._listed({"all": "true", "filters": json.dumps({"label": [label]})})

    async def _listed(self, params: Mapping[str, str]) -> Sequence[Container]:
        rows = await self._api.json("GET", "containers/json", params=params)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(identity: str) -> Container | None:
            async with gate:
                try:
                    return await self.inspect(identity)
                except NotFound:
                    return None  # removed since the list was made

        found = await asyncio.gather(*(one(row["Id"]) for row in rows))
        return [container for container in found if container is not None]

    async def inspect(self, ref: str) -> Container:
        data = await self._show(ref.removeprefix(f"{self.name}:"))
        addresses = None
        if owner := engine_json.network_owner(data):
            try:
                addresses = engine_json.own_addresses(await self._show(owner))
            except NotFound:
                addresses = []  # its network outlived it
        return self._roots.seen(engine_json.container(self.name, data, addresses=addresses))

    async def pids(self, container: Container) -> Sequence[ProcessRef]:
        return self.read_pids(container)

    def read_pids(self, container: Container) -> Sequence[ProcessRef]:
        return self._roots.of(container).processes()

    async def start(self, container: Container) -> Container:
        await self._api.raw("POST", f"containers/{container.id}/start", deadline=START_DEADLINE)
        return await self.inspect(container.id)

    async def stop(self, container: Container, *, grace: float) -> None:
        await self._thaw_if_frozen_beneath(container)
        # The API knows whole seconds only, and 0 means "at once".
        await self._api.raw(
            "POST", f"containers/{container.id}/stop", params={"t": max(0, round(grace))}, deadline=grace + 20.0
        )

    async def kill(self, container: Container) -> None:
        await self._thaw_if_frozen_beneath(container)
        try:
            await self._api.raw("POST", f"containers/{container.id}/kill", deadline=20.0)
        except PlatformFailed:
            if (await self.inspect(container.id)).status in (Status.RUNNING, Status.PAUSED):
                raise
        await self._gone(container.id)

    async def pause(self, container: Container) -> None:
        root = self._roots.of(container)
        if root.cgroup is None:
            raise Refused(
                f"{container.name} has no cgroup of its own, so {self.name} cannot pause it",
                rule="no cgroup, no pause",
                hint="rootless Podman needs cgroup v2 for it; a container must not run with --cgroups=disabled",
            )
        await self._reach("pause", container, Status.PAUSED)
        await root.wait_frozen(True, deadline=FREEZE_DEADLINE)

    async def unpause(self, container: Container) -> None:
        await self._reach("unpause", container, Status.RUNNING)
        # The daemon's word is not enough: someone may have frozen the cgroup behind its back.
        root = self._roots.of(container)
        await root.thaw(deadline=FREEZE_DEADLINE)
        await root.wait_frozen(False, deadline=FREEZE_DEADLINE)

    async def memory(self, container: Container) -> HostMemory:
        return self._roots.of(container).memory()

    async def logs(self, container: Container, *, tail: int = 100) -> str:
        raw, data = await asyncio.gather(
            self._api.raw(
                "GET",
                f"containers/{container.id}/logs",
                params={"stdout": "true", "stderr": "true", "tail": str(tail)},
                deadline=20.0,
            ),
            self._show(container.id),
        )
        tty = bool((data.get("Config") or {}).get("Tty"))
        return (raw if tty else multiplexed.payload(raw)).decode(errors="replace")

    async def follow_logs(self, container: Container, *, tail: int = 100) -> AsyncGenerator[bytes]:
        data = await self._show(container.id)
        splitter = None if (data.get("Config") or {}).get("Tty") else multiplexed.Splitter()
        params = {"stdout": "true", "stderr": "true", "follow": "true", "tail": str(tail)}
        async with contextlib.aclosing(self._api.chunks(f"containers/{container.id}/logs", params=params)) as chunks:
            async for chunk in chunks:
                if text := chunk if splitter is None else splitter.feed(chunk):
                    yield text

    def events(self) -> AsyncIterator[PlatformEvent]:
        return engine_events(self.name, self._api, self.list, since=time.time())

    async def has_image(self, reference: str) -> bool:
        try:
            await self._api.raw("GET", f"images/{quote(reference, safe='')}/json")
        except NotFound:
            return False
        return True

    async def image_environment(self, reference: str) -> Mapping[str, str]:
        """What its containers have where nobody says otherwise. `NotFound`: no such image here."""
        data = await self._api.json("GET", f"images/{quote(reference, safe='')}/json")
        pairs = (str(item).partition("=") for item in (data.get("Config") or {}).get("Env") or ())
        return {name: value for name, _, value in pairs}

    async def rename(self, container: Container, name: str) -> Container:
        await self._api.raw("POST", f"containers/{container.id}/rename", params={"name": name})
        return await self.inspect(container.id)

    async def remove(self, container: Container) -> None:
        """Kill it if it runs and forget it, with its anonymous volumes. Nothing happens if it is gone already."""
        with contextlib.suppress(NotFound):
            await self._thaw_if_frozen_beneath(container)
            await self._delete(container.id)

    async def aclose(self) -> None:
        await self._api.aclose()

    async def _delete(self, identity: str) -> None:
        params = {"force": "true", "v": "true"}
        await self._api.raw("DELETE", f"containers/{identity}", params=params, deadline=30.0)

    async def _show(self, ref: str) -> Mapping[str, Any]:
        data: Mapping[str, Any] = await self._api.json("GET", f"containers/{quote(ref, safe='')}/json")
        return data

    async def _reach(self, verb: str, container: Container, wanted: Status) -> None:
        """Pause or unpause, once more if somebody does the opposite at the same time."""
        for last in (False, True):
            try:
                await self._api.raw("POST", f"containers/{container.id}/{verb}", deadline=FREEZE_DEADLINE)
                return
            except PlatformFailed:
                # "already paused", "not paused": what was asked for is there, whoever did it.
                data = await self._show(container.id)
                if engine_json.container(self.name, data).status is wanted:
                    return
                if last:
                    raise

    async def _thaw_if_frozen_beneath(self, container: Container) -> None:
        """A frozen cgroup that the daemon takes for running lets no signal through: no stop would ever end."""
        now = await self._show(container.id)
        seen = engine_json.container(self.name, now)
        if seen.status is Status.RUNNING:
            with contextlib.suppress(ProcessGone):
                await self._roots.of(seen).thaw(deadline=FREEZE_DEADLINE)

    async def _gone(self, identity: str, *, deadline: float = 10.0) -> None:
        """Wait until the daemon too has noticed the end."""
        end = time.monotonic() + deadline
        while (await self.inspect(identity)).status in (Status.RUNNING, Status.PAUSED):
            if time.monotonic() > end:
                raise PlatformFailed(f"{self.name} still shows {identity[:12]} running {deadline:g} s after its kill")
            await asyncio.sleep(0.02)
