"""Who says which workloads there are: the file, and labels on containers. Merges them; the file wins.

What cannot be taken (a name, a model or a container that another has already) is left out, told as one event and kept
as a note. It is never a reason to fail: a label that somebody writes must not stop the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hotseat.config import HostMemory, Workload
from hotseat.daemon.actor import Actor
from hotseat.daemon.changing import Changes
from hotseat.daemon.messages import Configure
from hotseat.events import EventBus
from hotseat.platforms.port import Container

FILE = "file"
_SHORTEST_ID = 8


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Conflict:
    """One workload of `source` that was left out, or lacks a model, and why."""

    source: str
    workload: str
    message: str


class Sources:
    """The sources of one daemon. Each tells all of its workloads at a time; the actor gets what follows from them."""

    def __init__(
        self, actor: Actor, *, events: EventBus, file: Mapping[str, Workload], caps: Mapping[int, int]
    ) -> None:
        self._actor = actor
        self._events = events
        self._told: dict[str, Mapping[str, Workload]] = {FILE: file}
        self._caps = caps
        self._host: HostMemory | None = None
        self._unfit: dict[str, Mapping[str, str]] = {}
        self._conflicts: tuple[Conflict, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What is left out now, and why; for people."""
        return [f"{c.workload} ({c.source}): {c.message}" for c in self._conflicts]

    def names(self, source: str) -> frozenset[str]:
        """The names that `source` has told."""
        return frozenset(self._told.get(source, ()))

    async def file(
        self, workloads: Mapping[str, Workload], *, caps: Mapping[int, int], host: HostMemory | None = None
    ) -> Changes:
        """The file says this now."""
        self._caps = caps
        self._host = host
        return await self.found(FILE, workloads)

    def claims(self, container: Container) -> bool:
        """Whether the file names this container: then its labels say nothing."""
        return any(
            spec.platform == container.platform
            and (spec.container == container.name or _is_id(spec.container or name, container.id))
            for name, spec in self._told[FILE].items()
        )

    async def found(
        self, source: str, workloads: Mapping[str, Workload], *, unfit: Mapping[str, str] | None = None
    ) -> Changes:
        """`source` ("docker", "podman", ...) has found these now; all others that it told before are gone from it.
        `unfit`: containers that are no workloads though they would be, and why."""
        self._told[source] = dict(workloads)
        self._unfit[source] = dict(unfit or {})
        merged, conflicts = merge(self._told)
        conflicts = (
            *conflicts,
            *(
                Conflict(source=where, workload=name, message=message)
                for where, containers in sorted(self._unfit.items())
                for name, message in containers.items()
            ),
        )
        for conflict in conflicts:
            if conflict not in self._conflicts:
                self._events.publish("config", workload=conflict.workload, change="left out", note=conflict.message)
        self._conflicts = conflicts
        changes: Changes = await self._actor.ask(
            lambda answer: Configure(specs=merged, caps=self._caps, host=self._host, answer=answer),
        )
        return changes


def _is_id(ref: str, identity: str) -> bool:
    """An id or its beginning, long enough to be no accident."""
    return len(ref) >= _SHORTEST_ID and identity.startswith(ref)


def merge(told: Mapping[str, Mapping[str, Workload]]) -> tuple[dict[str, Workload], tuple[Conflict, ...]]:
    """One set of workloads of all sources; the file's first, the others by name. Pure."""
    merged: dict[str, Workload] = {}
    containers: dict[tuple[str, str | None], str] = {}
    models: dict[str, str] = {}
    conflicts: list[Conflict] = []
    for source in sorted(told, key=lambda source: (source != FILE, source)):
        for name, spec in told[source].items():
            key = (spec.platform, spec.container or name)
            if key in containers:
                message = f"{spec.platform} container {key[1]} is workload {containers[key]} already"
                conflicts.append(Conflict(source=source, workload=name, message=message))
                continue
            if name in merged:
                message = f"there is a workload of this name already, {merged[name].platform}:{merged[name].container}"
                conflicts.append(Conflict(source=source, workload=name, message=message))
                continue
            kept = []
            for model in spec.models or [name]:
                if (owner := models.setdefault(model, name)) == name:
                    kept.append(model)
                else:
                    message = f"model {model} belongs to workload {owner} already"
                    conflicts.append(Conflict(source=source, workload=name, message=message))
            if kept:
                merged[name] = spec if kept == spec.models else spec.model_copy(update={"models": kept})
                containers[key] = name
    return merged, tuple(conflicts)
