"""Connections to engines: made, kept, given again, thrown away."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from hotseat.gateway.http.engine import Engine, Head
from hotseat.gateway.http.heads import Heads
from hotseat.gateway.port import Unreachable

MOST_IDLE = 512
"""Connections kept to one engine. More were of a burst."""
IDLE = 60.0
"""Seconds that one is kept."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Of an engine's URL."""

    host: str
    port: int
    authority: bytes
    """For the header Host."""
    tls: bool
    prefix: bytes
    """What stands before every path."""


class Pool:
    """`connect_timeout`: seconds to establish a connection (not to answer)."""

    def __init__(self, *, connect_timeout: float = 10.0) -> None:
        self._timeout = connect_timeout
        self._idle: dict[str, list[Engine]] = {}
        self._origins: dict[str, Origin] = {}
        self._all: set[Engine] = set()
        self._heads: Heads[Head] = Heads()
        self._now = 0.0
        self._tls: ssl.SSLContext | None = None

    def origin(self, url: str) -> Origin:
        found = self._origins.get(url)
        if found is None:
            if len(self._origins) > 4096:  # containers come and go, each with an address of its own
                self._origins.clear()
            found = self._origins[url] = _origin(url)
        return found

    def take(self, url: str) -> Engine | None:
        """The one that was used last, as it is the least likely to be stale."""
        idle = self._idle.get(url)
        while idle:
            engine = idle.pop()
            if engine.alive:
                engine.reused = True
                return engine
        return None

    async def connect(self, url: str) -> Engine:
        """`Unreachable`."""
        origin = self.origin(url)
        loop = asyncio.get_running_loop()
        engine = Engine(origin=url, heads=self._heads, give_back=self._put, forget=self._forget)
        try:
            async with asyncio.timeout(self._timeout):
                await loop.create_connection(
                    lambda: cast(asyncio.Protocol, engine),
                    origin.host,
                    origin.port,
                    ssl=self._trust() if origin.tls else None,
                )
        except TimeoutError as error:
            raise _unreachable(url, f"no connection within {self._timeout:g} s") from error
        except OSError as error:
            raise _unreachable(url, error.strerror or str(error)) from error
        self._all.add(engine)
        return engine

    def flush(self, url: str) -> None:
        """Throw away those that idle: the workload was parked meanwhile, and engines close what idled too long."""
        for engine in self._idle.pop(url, ()):
            engine.close()

    def tick(self, now: float) -> None:
        self._now = now
        for url, idle in list(self._idle.items()):
            fresh = [engine for engine in idle if now - engine.idle_since < IDLE]
            for engine in idle[: len(idle) - len(fresh)]:  # the oldest stand in front
                engine.close()
            if fresh:
                self._idle[url] = fresh
            else:
                del self._idle[url]

    async def aclose(self) -> None:
        for engine in list(self._all):
            engine.abort()
        self._idle.clear()
        for _ in range(10):  # each is forgotten in the loop's next turn
            await asyncio.sleep(0)

    def _trust(self) -> ssl.SSLContext:
        """The host's certificates, read once: that takes tens of milliseconds."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _put(self, engine: Engine) -> None:
        idle = self._idle.get(engine.origin)
        if idle is None:
            idle = self._idle[engine.origin] = []
        if len(idle) >= MOST_IDLE:
            engine.close()
            return
        engine.idle_since = self._now
        idle.append(engine)

    def _forget(self, engine: Engine) -> None:
        self._all.discard(engine)
        idle = self._idle.get(engine.origin)
        if idle and engine in idle:
            idle.remove(engine)


def _origin(url: str) -> Origin:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise _unreachable(url, str(error)) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _unreachable(url, "an engine is reached by http://HOST:PORT")
    return Origin(
        host=parts.hostname,
        port=port,
        tls=parts.scheme == "https",
        authority=parts.netloc.rpartition("@")[2].encode("idna" if not parts.netloc.isascii() else "ascii"),
        prefix=parts.path.rstrip("/").encode(),
    )


def _unreachable(url: str, said: str) -> Unreachable:
    return Unreachable(
        f"the engine at {url} cannot be reached: {said}",
        hint="does it listen there? `hotseat ps` shows whether it runs",
    )
