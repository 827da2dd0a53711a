"""One protocol for every container platform. Real: docker, podman, process; double: `hotseat.testing.platforms`.

`tests/platforms/contract.py` runs one suite against all of them.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hotseat.linux.port import HostMemory
from hotseat.words import ProcessRef


class Status(enum.StrEnum):
    """A container's state in the words that all platforms share."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container as its platform sees it now. `key` names it for ever, over renames: "docker:4f1c..."."""

    platform: str
    id: str
    name: str
    image: str
    status: Status
    pid: int | None
    """Host pid of its first process; None unless running or paused."""
    started_at: float
    """Seconds since the epoch (of an adopted process: since the boot); changes with a restart, so it tells one
    incarnation from the next. Never compared with a clock: that may be set meanwhile."""
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    shares_memory_limit: bool = True
    """Memory of its processes counts against a limit of its own."""
    addresses: tuple[str, ...] = ()
    """IP addresses at which the host reaches it; ("127.0.0.1",) for host network."""
    ports: tuple[int, ...] = ()
    """TCP ports that it says it listens on (EXPOSE, --expose, --publish), sorted."""
    published: Mapping[int, int] = field(default_factory=dict)
    """TCP port inside -> port of this host that leads to it."""

    @property
    def key(self) -> str:
        return f"{self.platform}:{self.id}"


class EventKind(enum.StrEnum):
    STARTED = "started"
    EXITED = "exited"
    PAUSED = "paused"
    UNPAUSED = "unpaused"
    REMOVED = "removed"
    CREATED = "created"
    RENAMED = "renamed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformEvent:
    kind: EventKind
    key: str
    name: str
    """Of a rename the new one."""
    at: float


class Platform(Protocol):
    """Containers of one kind. A `ref` is a name or an id (or its prefix); `NotFound` where none fits.

    Every call has a deadline of its own inside the adapter and raises `PlatformFailed` with the daemon's words when
    it says no or does not answer.
    """

    @property
    def name(self) -> str:
        """ "docker", "podman" or "process"."""
        ...

    async def list(self) -> Sequence[Container]:
        """All of them, also those that do not run."""
        ...

    async def inspect(self, ref: str) -> Container: ...

    async def pids(self, container: Container) -> Sequence[ProcessRef]:
        """Every process now in the container, host pids: by cgroup, so with private pid and cgroup namespaces and
        processes that came by `exec` too. Sorted by pid."""
        ...

    def read_pids(self, container: Container) -> Sequence[ProcessRef]:
        """The same, read synchronously from cgroupfs or /proc alone, without the platform's daemon: quick enough
        (well under a millisecond) for the freezer to call again and again. `container` must be running or paused."""
        ...

    async def start(self, container: Container) -> Container:
        """Start it (again). Returns the new incarnation."""
        ...

    async def stop(self, container: Container, *, grace: float) -> None:
        """SIGTERM, `grace` seconds, SIGKILL. A paused container is unpaused to die."""
        ...

    async def kill(self, container: Container) -> None: ...

    async def pause(self, container: Container) -> None:
        """Freeze lastingly: survives hotseat. Idempotent. Returns when every thread is frozen."""
        ...

    async def unpause(self, container: Container) -> None:
        """Idempotent."""
        ...

    async def memory(self, container: Container) -> HostMemory: ...

    async def logs(self, container: Container, *, tail: int = 100) -> str: ...

    def follow_logs(self, container: Container, *, tail: int = 100) -> AsyncIterator[bytes]:
        """The last `tail` lines and then what it writes, as it comes, until it ends. Close it to stop listening."""
        ...

    def events(self) -> AsyncIterator[PlatformEvent]:
        """What happens to containers from now on, whoever does it, within a second. Reconnects by itself; after a gap
        the caller hears what changed meanwhile, as far as it still shows (a pause that was undone does not)."""
        ...

    async def aclose(self) -> None: ...
