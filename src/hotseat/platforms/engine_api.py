"""One connection to a daemon that speaks the Engine API over a unix socket: Docker's own, or Podman's.

aiodocker carries the requests; deadlines, the check who answers, and the translation of its errors are here and
nowhere else. No knowledge of containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp

from hotseat.errors import HotseatError, NotFound, PlatformFailed, Refused
from hotseat.platforms.sockets import permission_hint

CONNECT_DEADLINE = 5.0
"""Seconds. A listening daemon accepts at once; one that does not is stuck."""
MAX_LINE = 16 << 20
"""Bytes of one line of a stream: an event carries all labels of its container."""

_NOT_THERE = ("image not known", "no such container")
"""What Podman says with status 500: of an image, and of a container that was removed while it was looked at."""
_NO_CONNECTION = 900
"""The status that aiodocker gives to "could not connect"."""

FindSocket = Callable[[], Awaitable[Path]]


class EngineApi:
    """Requests to one daemon. Connects at the first request, and again after the daemon was away."""

    def __init__(self, *, platform: str, find_socket: FindSocket, program: str, start_hint: str) -> None:
        self._platform = platform
        self._find_socket = find_socket
        self._program = program
        self._start_hint = start_hint
        self._client: aiodocker.Docker | None = None
        self._socket: Path | None = None
        self._connecting = asyncio.Lock()

    async def json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        deadline: float = 10.0,
        versioned: bool = True,
    ) -> Any:
        """One request, its answer decoded; None where the answer is empty."""
        answer = await self.raw(
            method,
            path,
            params=params,
            body=None if body is None else json.dumps(body),
            deadline=deadline,
            versioned=versioned,
        )
        if not answer.strip():
            return None
        try:
            return json.loads(answer)
        except ValueError as error:
            raise PlatformFailed(f"{self._platform} answered {method} {path} with something that is no JSON") from error

    async def raw(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        deadline: float = 10.0,
        versioned: bool = True,
    ) -> bytes:
        """One request, its answer as it came. `body` may be text, bytes or an open file."""
        what = f"{method} {path}"
        attempts = 2 if method == "GET" else 1  # a kept connection may die in the moment that it is used
        try:
            async with asyncio.timeout(deadline):
                while True:
                    attempts -= 1
                    try:
                        client = await self._connected()
                        async with client._query(
                            path, method, params=dict(params or {}), data=body, versioned_api=versioned
                        ) as response:
                            return await response.read()
                    except (aiodocker.DockerError, aiohttp.ClientError) as error:
                        if not attempts or getattr(error, "status", _NO_CONNECTION) != _NO_CONNECTION:
                            raise
        except HotseatError:
            raise
        except Exception as error:
            raise self._translated(error, what=what, deadline=deadline) from error

    async def lines(self, path: str, *, params: Mapping[str, Any]) -> AsyncGenerator[bytes]:
        """An endless answer, line by line. Ends when the daemon closes it; raises when the daemon goes away."""
        pending = b""
        async with contextlib.aclosing(self.chunks(path, params=params)) as chunks:
            async for chunk in chunks:
                *whole, pending = (pending + chunk).split(b"\n")
                for line in whole:
                    if line.strip():
                        yield line
                if len(pending) > MAX_LINE:
                    raise PlatformFailed(f"{self._platform} sent a line of more than {MAX_LINE} bytes in {path}")

    async def chunks(self, path: str, *, params: Mapping[str, Any]) -> AsyncGenerator[bytes]:
        """An endless answer as it comes. Ends when the daemon closes it; raises when the daemon goes away."""
        try:
            client = await self._connected()
            async with asyncio.timeout(CONNECT_DEADLINE):
                response = await client._do_query(path, "GET", params=dict(params), timeout=aiohttp.ClientTimeout())
            try:
                async for chunk in response.content.iter_any():
                    yield chunk
            finally:
                response.close()
        except (aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._translated(error, what=f"GET {path}", deadline=CONNECT_DEADLINE) from error

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connected(self) -> aiodocker.Docker:
        """The client, and who answers checked: Docker's socket may be Podman's (the package podman-docker)."""
        async with self._connecting:
            socket = await self._find_socket()
            if self._client is not None and socket == self._socket:
                return self._client
            await self.aclose()
            self._socket = socket
            client = aiodocker.Docker(
                url=f"unix://{socket}", timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_DEADLINE)
            )
            try:
                async with asyncio.timeout(CONNECT_DEADLINE):
                    version = await client._query_json("version", versioned_api=False)
                self._check_identity(version, socket)
                client.api_version = "v" + str(version["ApiVersion"])
            except BaseException:
                await client.close()
                raise
            self._client = client
            return client

    def _check_identity(self, version: Mapping[str, Any], socket: Path) -> None:
        names = " ".join(str(part.get("Name", "")) for part in version.get("Components") or ())
        answers = "podman" if "podman" in names.lower() else "docker"
        if answers != self._platform:
            raise Refused(
                f"{answers} answers at {socket}, not {self._platform}",
                rule="one platform, one daemon",
                hint=f"name the containers by the platform {answers}; {self._start_hint}",
            )

    def _translated(self, error: Exception, *, what: str, deadline: float) -> Exception:
        platform = self._platform
        match error:
            case TimeoutError():
                return PlatformFailed(
                    f"{platform} did not answer {what} within {deadline:g} s",
                    hint=f"see whether `{self._program} ps` answers; if not, restart the daemon",
                )
            case aiodocker.DockerError() if error.status == 404 or any(words in error.message for words in _NOT_THERE):
                return NotFound(f"{platform}: {error.message}", hint=f"`{self._program} ps -a` lists what there is")
            case aiodocker.DockerError(status=status) if status == _NO_CONNECTION:
                return self._unreachable(error, what)
            case aiodocker.DockerError():
                return PlatformFailed(f"{platform}: {error.message.strip()}", status=error.status, request=what)
            case aiohttp.ClientError() | OSError():
                return self._unreachable(error, what)
            case _:
                return error

    def _unreachable(self, error: Exception, what: str) -> PlatformFailed:
        number = _errno(error)
        if number in (errno.EACCES, errno.EPERM) and self._socket is not None:
            return PlatformFailed(
                f"no permission to talk to {self._platform} at {self._socket}", hint=permission_hint(self._socket)
            )
        if number in (errno.ECONNREFUSED, errno.ENOENT):
            return PlatformFailed(f"no {self._platform} daemon answers at {self._socket}", hint=self._start_hint)
        return PlatformFailed(f"{self._platform} went away during {what}: {error}", hint=self._start_hint)


def _errno(error: BaseException | None) -> int | None:
    """The errno behind aiodocker's error: it stands in the exception that it was raised from."""
    while error is not None:
        inner = getattr(error, "os_error", None)
        number = inner.errno if isinstance(inner, OSError) else getattr(error, "errno", None)
        if isinstance(number, int):
            return number
        error = error.__cause__ or error.__context__
    return None
