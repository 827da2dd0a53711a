"""What a workload's container has written, for the control API and the page."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping

from hotseat.daemon.actor import Actor
from hotseat.errors import NotFound
from hotseat.platforms.port import Platform


class Logs:
    def __init__(self, actor: Actor, platforms: Mapping[str, Platform]) -> None:
        self._actor = actor
        self._platforms = platforms

    async def read(self, name: str, *, tail: int, follow: bool) -> AsyncGenerator[bytes]:
        """`NotFound` if there is no such workload, or no container of it."""
        record = self._actor.records.get(name)
        if record is None:
            raise NotFound(f"no workload {name}", hint="there are: " + ", ".join(self._actor.records))
        platform = self._platforms[record.spec.platform]
        container = await platform.inspect(record.spec.ref(name))
        if not follow:
            yield (await platform.logs(container, tail=tail)).encode()
            return
        following = platform.follow_logs(container, tail=tail)
        try:
            async for chunk in following:
                yield chunk
        finally:
            if (close := getattr(following, "aclose", None)) is not None:
                with contextlib.suppress(RuntimeError):
                    await close()
