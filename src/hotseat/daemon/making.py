"""Containers and processes that hotseat makes itself, as the file has them: what to create, when, and when not.

A container that hotseat made carries the fingerprint of the settings that it was made of. Where the file says something
else by now it is made anew, at the next start only: what runs or is parked is never replaced, and the old one goes when
the new one is there. A container of that name which somebody else made is left as it is.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from hotseat.config import Workload, labels
from hotseat.config.run import publish_parts, volume_parts
from hotseat.errors import HotseatError, NotFound, PlatformFailed, Unavailable
from hotseat.gpu.preload import PRELOAD
from hotseat.platforms.interposed import Interposer, interposed
from hotseat.platforms.port import Container, Platform, Status
from hotseat.platforms.spec import Bind, ContainerSpec, Publish, Volume

_log = logging.getLogger(__name__)

MODELS = labels.PREFIX + "models"
"""For `hotseat ps` without a daemon."""
_ASIDE = ".replaced"
"""What the old container is called until the new one is there."""
_NO_GPU = ("could not select device driver", "cdi device", "unresolvable cdi", "unknown or invalid runtime")
"""What Docker and Podman say where they cannot hand GPUs to a container."""


@runtime_checkable
class Creates(Protocol):
    """A platform on which hotseat makes the workload itself."""

    async def create(self, spec: ContainerSpec) -> Container: ...

    async def remove(self, container: Container) -> None: ...


@runtime_checkable
class Images(Creates, Protocol):
    """One that makes containers of images."""

    async def image_environment(self, reference: str) -> Mapping[str, str]: ...


@runtime_checkable
class Renames(Creates, Protocol):
    async def rename(self, container: Container, name: str) -> Container: ...


async def made(name: str, spec: Workload, platform: Platform, *, interposer: Interposer | None = None) -> Container:
    """The container of `spec`, made if it is not there or the file has changed. `NotFound`: not ours to make.
    `Unavailable`: it cannot be made here, and what to do about it. `interposer`: it is made with that."""
    wanted = container_spec(name, spec)
    try:
        container = await platform.inspect(spec.ref(name))
    except NotFound as error:
        if not spec.made_here or not isinstance(platform, Creates):
            raise NotFound(f"no {spec.platform} container {wanted.name}", hint="create it first") from error
        return await _create(spec, wanted, platform, interposer)
    if not spec.made_here or container.status in (Status.RUNNING, Status.PAUSED, Status.RESTARTING):
        return container
    of = container.labels.get(labels.MADE_FROM)
    if of == wanted.labels[labels.MADE_FROM] or not isinstance(platform, Creates):
        return container
    if of is None:
        _log.warning(
            "%s container %s was not made by hotseat, so `image` and `run` of %s do not count for it; remove it, and "
            "hotseat makes its own",
            *(spec.platform, wanted.name, name),
        )
        return container
    _log.info("%s container %s is made anew: hotseat.yaml has changed since it was made", spec.platform, wanted.name)
    return await _replace(spec, wanted, container, platform, interposer)


def container_spec(name: str, spec: Workload) -> ContainerSpec:
    """What the file asks for. Pure."""
    own = {MODELS: ",".join(spec.models or ()), labels.MADE_FROM: fingerprint(spec)}
    common = ContainerSpec(name=spec.container or name, command=tuple(spec.command or ()), env=spec.env, labels=own)
    if spec.image is None:
        return replace(common, workdir=str(spec.workdir) if spec.workdir else None)
    run = spec.run
    volumes = [volume_parts(text) for text in run.volumes]
    return replace(
        common,
        image=spec.image,
        entrypoint=tuple(run.entrypoint) if run.entrypoint is not None else None,
        labels={**run.labels, **own},
        binds=tuple(Bind(source=Path(s), target=t, read_only=ro) for s, t, ro in volumes if s.startswith("/")),
        volumes=tuple(Volume(name=s, target=t, read_only=ro) for s, t, ro in volumes if not s.startswith("/")),
        publish=tuple(
            Publish(address=address, host=host, inside=inside)
            for address, host, inside in (publish_parts(text) for text in run.publish)
        ),
        expose=(spec.port,) if spec.port is not None else (),
        gpus="all" if run.gpus == "all" else () if run.gpus == "none" else tuple(run.gpus),
        devices=tuple(run.devices),
        network=run.network,
        shm_size=run.shm_size,
        memory_limit=run.memory,
        user=run.user,
        workdir=run.workdir,
        ulimits=run.ulimits,
    )


def fingerprint(spec: Workload) -> str:
    """Of the settings that make it. A name of a model makes no other container."""
    settings = {"command", "env", "image", "run"} if spec.image is not None else {"command", "env", "workdir", "models"}
    if spec.interposed != "auto":  # what is there while it is made is no change of the file
        settings.add("interposed")
    text = json.dumps(spec.model_dump(mode="json", include=settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def explained(error: HotseatError, spec: Workload) -> HotseatError:
    """Why its container cannot be made or started, in words that say what to do."""
    said = error.message.lower()
    if isinstance(error, NotFound) and "image" in said:
        return Unavailable(
            f"the image {spec.image} is not on this host",
            rule="hotseat pulls nothing",
            hint=f"{spec.platform} pull {spec.image}",
        )
    if any(words in said for words in _NO_GPU):
        return Unavailable(
            f"{spec.platform} cannot give a GPU to a container: {error.message}",
            rule="GPUs come by the NVIDIA Container Toolkit",
            hint="install it (`hotseat doctor` says how), or set `run: {gpus: none}` and name `devices`",
        )
    if isinstance(error, NotFound):
        return Unavailable(error.message, rule="its container cannot be made", hint="correct `run` in hotseat.yaml")
    return error


async def _create(spec: Workload, wanted: ContainerSpec, platform: Creates, interposer: Interposer | None) -> Container:
    try:
        if interposer is not None:
            image: Mapping[str, str] = {}
            if wanted.image and isinstance(platform, Images):
                image = await platform.image_environment(wanted.image)
            wanted = interposed(wanted, interposer, preloaded=image.get(PRELOAD, ""))
        return await platform.create(wanted)
    except (NotFound, PlatformFailed) as error:
        raise explained(error, spec) from error


async def _replace(
    spec: Workload, wanted: ContainerSpec, old: Container, platform: Creates, interposer: Interposer | None
) -> Container:
    if spec.image is None or not isinstance(platform, Renames):
        await platform.remove(old)  # a process' entry in our own register: nothing that could be lost
        return await _create(spec, wanted, platform, interposer)
    aside = await platform.rename(old, wanted.name + _ASIDE)
    try:
        new = await _create(spec, wanted, platform, interposer)
    except BaseException:
        await platform.rename(aside, wanted.name)
        raise
    await platform.remove(aside)
    return new
