"""Calls that the file declares around a swap (`hooks`), such as vLLM's sleep and wake.

A workload whose `before_park` has begun is noted in the state directory until its `after_seat` has succeeded or it was
started cold. So whatever happens in between, a failed swap or the death of hotseat, it is not left asleep: who is
seated and still noted is woken before it is asked anything.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from hotseat.config import Hook, Workload
from hotseat.errors import EngineFailed, RolledBack

_log = logging.getLogger(__name__)
_SHOWN = 200
"""Bytes of an engine's answer that are told with an error."""


class HookCalls:
    """`directory` is for the notes. Every call is made on a connection of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def before_park(self, name: str, spec: Workload, url: str) -> None:
        """`RolledBack` if a hook fails that must not: it was undone, and the workload runs on."""
        if not spec.hooks.before_park:
            return
        self._note(name)
        try:
            await self._call_all(name, spec.hooks.before_park, url)
        except EngineFailed as error:
            await self.undo(name, spec, url)
            raise RolledBack(f"{name} runs on: {error.message}", hint=error.hint) from error

    async def after_seat(self, name: str, spec: Workload, url: str) -> None:
        """`EngineFailed` if a hook fails that must not."""
        await self._call_all(name, spec.hooks.after_seat, url)
        self.forget(name)

    async def undo(self, name: str, spec: Workload, url: str) -> None:
        """Wake it after a swap out that did not happen. What fails is logged; the next probe tries again."""
        if not self.pending(name):
            return
        try:
            await self.after_seat(name, spec, url)
        except EngineFailed as error:
            _log.warning("after a swap out that did not happen: %s", error.message)

    def pending(self, name: str) -> bool:
        """Whether it may have been put to sleep and was not woken since."""
        return self._path(name).exists()

    def forget(self, name: str) -> None:
        """It was woken, or started cold."""
        self._path(name).unlink(missing_ok=True)

    def _note(self, name: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path(name).touch(mode=0o600)

    def _path(self, name: str) -> Path:
        return self._directory / hashlib.sha256(name.encode()).hexdigest()[:32]

    async def _call_all(self, name: str, hooks: Sequence[Hook], url: str) -> None:
        for hook in hooks:
            try:
                await self._call(name, hook, url)
            except EngineFailed as error:
                if hook.on_error == "fail":
                    raise
                _log.warning("%s; on_error is ignore", error.message)

    async def _call(self, name: str, hook: Hook, url: str) -> None:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        headers = dict(hook.headers)
        if hook.body is not None and not any(key.lower() == "content-type" for key in headers):
            headers["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                hook.method,
                url + hook.path,
                data=hook.body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=hook.timeout),
                allow_redirects=False,
            ) as response:
                said = (await response.content.read(_SHOWN)).decode(errors="replace").strip()
                if response.status // 100 == 2:
                    return
                problem = f"answered {response.status}" + (f": {said}" if said else "")
        except TimeoutError:
            problem = f"did not answer within {hook.timeout:g} s"
        except (aiohttp.ClientError, OSError) as error:
            problem = f"failed: {str(error) or type(error).__name__}"
        raise EngineFailed(
            f"hook {hook.method} {hook.path} of {name} {problem}",
            hint="its engine's log says why; `on_error: ignore` goes on without it",
        )
