"""Asks an engine whether it can serve."""

from __future__ import annotations

import asyncio

import aiohttp

from hotseat.errors import EngineFailed

ONE_TRY = 5.0
"""Seconds that one question may take. An engine that was frozen may have old connections in its backlog first."""
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0


class Health:
    """Every question goes out on a connection of its own, so none is one that the engine closed while it was frozen."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def wait(self, name: str, url: str, *, within: float) -> None:
        """Return once `url` answers 2xx. `EngineFailed` after `within` seconds, with what it said last."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        pause = FIRST_PAUSE
        said = "nothing"
        while True:
            timeout = aiohttp.ClientTimeout(total=max(0.001, min(ONE_TRY, until - loop.time())))
            try:
                async with self._session.get(url, timeout=timeout, allow_redirects=False) as response:
                    if response.status // 100 == 2:
                        return
                    said = f"status {response.status}"
            except TimeoutError:
                said = "nothing in time"
            except (aiohttp.ClientError, OSError) as error:
                said = str(error) or type(error).__name__
            if loop.time() + pause >= until:
                raise EngineFailed(
                    f"the engine of {name} does not answer {url} within {within:g} s (last: {said})",
                    hint="its log says why; `health` and `health_timeout` say where and how long it is asked",
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
