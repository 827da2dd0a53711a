"""Who is connected, within which limits, and the one clock by which all of them are watched.

A timer a request would cost more than the request; so every `tick` all connections are looked at, and times are as
exact as that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hotseat.gateway.http.heads import Heads
from hotseat.gateway.http.request import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes, seconds and counts; see docs/configuration.md."""

    max_header: int = 64 * 2**10
    max_body: int = 64 * 2**20
    max_upload: int = 2**30
    max_connections: int = 4096
    slow_client: float = 60.0
    idle: float = 120.0
    """Seconds that a connection without a request is kept."""
    tick: float = 1.0
    """Seconds between two looks."""


class Watched(Protocol):
    idle_since: float | None

    def tick(self, now: float) -> None: ...

    def close(self) -> None: ...

    def cut(self) -> None: ...

    def last_request(self) -> None: ...


class Register:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.heads: Heads[Head] = Heads()
        """Of requests, for all connections."""
        self._connections: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.also: list[Callable[[float], None]] = []
        """Called at every tick too."""
        self.now = asyncio.get_running_loop().time()
        """As of the last tick."""

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def all(self) -> list[Watched]:
        return list(self._connections)

    def start(self) -> None:
        self._beat()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def configure(self, limits: Limits) -> None:
        self.limits = limits

    def add(self, connection: Watched) -> bool:
        """False: there are too many, and none of them is idle."""
        if len(self._connections) >= self.limits.max_connections:
            idle = [(one.idle_since, one) for one in self._connections if one.idle_since is not None]
            if not idle:
                return False
            min(idle, key=lambda pair: pair[0])[1].close()
        self._connections.add(connection)
        return True

    def remove(self, connection: Watched) -> None:
        self._connections.discard(connection)

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        for connection in list(self._connections):
            connection.tick(self.now)
        for also in self.also:
            also(self.now)
        self._timer = loop.call_later(self.limits.tick, self._beat)
