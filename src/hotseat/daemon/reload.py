"""`hotseat.yaml` again, while everybody is served: on SIGHUP, on request, and when the file changes.

What can change does; what cannot is said. A file with mistakes changes nothing and says every one of them. The file is
found changed by looking at it each second (device, inode, times, size), which sees a write in place, a rename over it
and the swap of a symbolic link above it (Kubernetes' config maps) alike, on every file system.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotseat.config import Config, load
from hotseat.daemon.changing import Changes
from hotseat.daemon.sources import Sources
from hotseat.errors import ConfigError, HotseatError, NotFound, UsageError
from hotseat.events import EventBus

_log = logging.getLogger(__name__)

NEEDS_RESTART = ("control", "state", "store", "gateway.host", "gateway.port")
"""Settings that a running daemon keeps as it has them."""
LOOK_EVERY = 1.0
"""Seconds between looks at the file. It is taken once it is the same in two looks: not half written."""

Taker = Callable[[Config], None]
"""A part of the daemon that takes its settings from the configuration; does not fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """What one reload did."""

    file: str
    workloads: Changes = field(default_factory=Changes)
    settings: tuple[str, ...] = ()
    """Others that count from now on."""
    needs_restart: tuple[str, ...] = ()
    """Differ from what runs, and stay as they run until the daemon is restarted."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "file": self.file,
            **self.workloads.as_dict(),
            "settings": list(self.settings),
            "needs_restart": list(self.needs_restart),
        }


class Reloader:
    """`file` None: the configuration came from no file. `config` is what counts now.

    `asked` is set by whoever wants a reload soon (SIGHUP); `around` is told of the begin and the end of each.
    """

    def __init__(
        self,
        config: Config,
        *,
        file: Path | None,
        sources: Sources,
        events: EventBus,
        asked: asyncio.Event | None = None,
        takers: Sequence[Taker] = (),
        around: Callable[[bool], None] = lambda reloading: None,
        period: float = LOOK_EVERY,
    ) -> None:
        self.config = config
        self._running = config
        """As it was at the start: where the daemon listens and what it holds."""
        self._file = file.absolute() if file is not None else None
        self._sources = sources
        self._events = events
        self._takers = takers
        self._around = around
        self._period = period
        self._one_at_a_time = asyncio.Lock()
        self._asked = asked or asyncio.Event()
        self._taken = _signature(self._file)
        self._mistakes = ""
        self._needs_restart: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What people should know of the file now."""
        notes = [self._mistakes] if self._mistakes else []
        if self._needs_restart:
            notes.append(f"{', '.join(self._needs_restart)}: changed in the file, counts after a restart of the daemon")
        return notes

    async def reload(self) -> Reloaded:
        """Read the file and take it. `ConfigError` (with every mistake), `NotFound`: nothing has changed."""
        if self._file is None:
            raise UsageError("this daemon was started without a file", hint="start it with hotseat up --config FILE")
        async with self._one_at_a_time:
            self._around(True)
            try:
                return await self._take(self._file)
            finally:
                self._around(False)

    async def run(self) -> None:
        """Looks at the file and takes it when it has changed, or when asked."""
        seen = self._taken
        while True:
            asked = await self._within_a_period()
            before, seen = seen, await asyncio.to_thread(_signature, self._file)
            changed = seen == before and seen != self._taken and seen is not None
            if asked or changed:
                self._taken = seen
                try:
                    await self.reload()
                except HotseatError as error:
                    _log.warning("the configuration was not taken:\n%s", error.message)

    async def _within_a_period(self) -> bool:
        """Whether somebody asked within it."""
        try:
            async with asyncio.timeout(self._period):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    async def _take(self, file: Path) -> Reloaded:
        try:
            new = await asyncio.to_thread(load, file)
        except (ConfigError, NotFound) as error:
            first, *more = error.message.splitlines() or [""]
            self._mistakes = f"{file} was not taken: {first}" + (f" (and {len(more)} more mistakes)" if more else "")
            self._events.publish("config", change="not taken", error=error.as_dict())
            raise
        self._mistakes = ""
        needs = [name for name in _differences(self._running, new) if name in NEEDS_RESTART]
        if not self._running.gateway.loopback and not new.keys and not new.gateway.public:
            # The file closes the gateway by its address, which counts only after a restart: until then, by its keys.
            new = new.model_copy(update={"keys": self.config.keys})
            needs.append("keys")
        old, self.config = self.config, new
        self._needs_restart = tuple(needs)
        for taker in self._takers:
            taker(new)
        done = Reloaded(
            file=str(file),
            workloads=await self._sources.file(new.workloads, caps=new.caps(), host=new.host_memory),
            settings=tuple(name for name in _differences(old, new) if name not in NEEDS_RESTART),
            needs_restart=self._needs_restart,
        )
        self._events.publish("config", change="reloaded", **done.as_dict())
        _log.info("reloaded %s: %s", file, summary(done))
        return done


def summary(done: Reloaded) -> str:
    """In one line; names of settings, never their values."""
    parts = []
    if done.workloads.added:
        parts.append("added " + ", ".join(done.workloads.added))
    if done.workloads.removed:
        parts.append("removed " + ", ".join(done.workloads.removed))
    parts += [f"{name}: {', '.join(fields)}" for name, fields in done.workloads.changed.items()]
    parts += [f"{name} at its next start: {', '.join(f)}" for name, f in done.workloads.at_next_start.items()]
    parts += [", ".join(done.settings)] if done.settings else []
    parts += [f"needs a restart: {', '.join(done.needs_restart)}"] if done.needs_restart else []
    return "; ".join(parts) or "nothing changed"


def _differences(old: Config, new: Config) -> list[str]:
    """Names of settings outside the workloads that differ; those of `gateway` one by one."""
    names = [
        name
        for name in type(new).model_fields
        if name not in ("workloads", "defaults", "gateway") and getattr(old, name) != getattr(new, name)
    ]
    fields = type(new.gateway).model_fields
    return names + [f"gateway.{name}" for name in fields if getattr(old.gateway, name) != getattr(new.gateway, name)]


def _signature(file: Path | None) -> tuple[int, ...] | None:
    if file is None:
        return None
    try:
        seen = os.stat(file)
    except OSError:
        return None
    return (seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_size)
