"""Reads facts about container platforms by their own programs, and about containers by their platforms' adapters."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hotseat.cli.doctor import gather_process
from hotseat.cli.doctor.facts import ContainerFact, PlatformFact, ProcessFact, StoreFact
from hotseat.errors import HotseatError
from hotseat.platforms.port import Container, Platform, Status
from hotseat.swap.way import by_custom
from hotseat.words import DeviceUse

PROGRAM_DEADLINE = 10.0
"""Seconds. `docker info` of a busy daemon."""


async def platform(name: str, adapter: Platform) -> PlatformFact:
    """Whether it answers the adapter, and what its own program says of it."""
    program = shutil.which(name)
    error = ""
    try:
        await adapter.list()
    except HotseatError as failed:
        error = failed.message
    said = await _info(program) if program and not error else {}
    if name == "podman":
        host, version = said.get("host", {}), said.get("version", {})
        return PlatformFact(
            name=name,
            program=program,
            socket=host.get("remoteSocket", {}).get("path"),
            answers=not error,
            version=version.get("Version", ""),
            api=version.get("APIVersion", ""),
            runtime=host.get("ociRuntime", {}).get("name", ""),
            cgroup_driver=host.get("cgroupManager", ""),
            error=error,
        )
    return PlatformFact(
        name=name,
        program=program,
        answers=not error,
        version=said.get("ServerVersion", ""),
        runtime=said.get("DefaultRuntime", ""),
        cgroup_driver=said.get("CgroupDriver", ""),
        error=error,
    )


async def _info(program: str) -> Mapping[str, Any]:
    """`PROGRAM info` as data; empty where it does not say."""
    child = await asyncio.create_subprocess_exec(
        program,
        "info",
        "--format",
        "{{json .}}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PROGRAM_DEADLINE):
            out, _ = await child.communicate()
        said = json.loads(out)
    except (TimeoutError, ValueError):
        return {}
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return said if isinstance(said, dict) else {}


def _with_way(processes: Sequence[ProcessFact], store: StoreFact) -> tuple[ProcessFact, ...]:
    """Of one container: who goes by custom storage, or went."""
    preloads = {process.pid: process.preload for process in processes if process.held_bytes is None}
    able = by_custom(preloads, listed={process.pid: {0: process.gpu_bytes} for process in processes}, offer=store.offer)
    return tuple(replace(one, custom=one.pid in able or one.pid in store.customs) for one in processes)


async def container(
    adapter: Platform, found: Container, *, uses: Sequence[DeviceUse], store: StoreFact
) -> ContainerFact:
    """Its processes as /proc shows them, its memory limit, the devices it uses."""
    fact = ContainerFact(key=found.key, name=found.name, platform=found.platform, status=found.status.value)
    if found.status not in (Status.RUNNING, Status.PAUSED):
        return fact
    try:
        refs = await adapter.pids(found)
        memory = await adapter.memory(found)
    except HotseatError as error:
        return ContainerFact(
            key=found.key, name=found.name, platform=found.platform, status=found.status.value, error=error.message
        )
    held: dict[int, int] = {}
    devices = set()
    for use in uses:
        for ref in refs:
            if ref.pid in use.processes:
                held[ref.pid] = held.get(ref.pid, 0) + use.processes[ref.pid]
                devices.add(use.device.index)
    read = [
        gather_process.process(ref, gpu_bytes=held.get(ref.pid, 0), held_bytes=store.held.get(ref.pid)) for ref in refs
    ]
    return ContainerFact(
        key=found.key,
        name=found.name,
        platform=found.platform,
        status=found.status.value,
        processes=_with_way([process for process in read if process is not None], store),
        devices=frozenset(devices),
        memory_limit=memory.limit,
        memory_used=memory.used,
    )
