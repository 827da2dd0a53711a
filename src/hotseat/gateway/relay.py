"""The relay on aiohttp's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp
from yarl import URL

from hotseat.errors import EngineFailed
from hotseat.gateway.port import Unreachable

_STALE = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError)
"""How a connection shows that its other end was closed before."""


@dataclass(slots=True)
class _Connection:
    """What the tracer tells about the connection that a request went out on."""

    reused: bool = False


class AiohttpAnswer:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def reason(self) -> str:
        return self._response.reason or ""

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        return tuple(self._response.headers.items())

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, ConnectionError) as error:
            raise EngineFailed(
                f"the engine broke off in the middle of its answer: {error or type(error).__name__}",
                hint="its log says why; hotseat ps shows whether it runs",
            ) from error

    async def aclose(self) -> None:
        # At the end of the body the connection went back to the pool by itself and this does nothing.
        self._response.close()


class AiohttpRelay:
    """`connect_timeout`: seconds to establish a connection (not to answer)."""

    def __init__(self, *, connect_timeout: float = 10.0) -> None:
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout)
        self._pooled = self._session(aiohttp.TCPConnector(limit=0))
        # After a workload was parked all its pooled connections may be stale at once, so the retry takes none of them.
        self._fresh = self._session(aiohttp.TCPConnector(limit=0, force_close=True))

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_reused)
        return aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            trace_configs=[trace],
            max_line_size=64 * 1024,
            max_field_size=64 * 1024,
        )

    async def open(self, *, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> AiohttpAnswer:
        connection = _Connection()
        try:
            return await self._open(self._pooled, connection, method=method, url=url, headers=headers, body=body)
        except _STALE as error:
            if not connection.reused:
                raise _broke_off(error) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _broke_off(error) from error
        try:
            return await self._open(self._fresh, connection, method=method, url=url, headers=headers, body=body)
        except (aiohttp.ClientError, ConnectionResetError, TimeoutError) as error:
            raise _broke_off(error) from error

    async def _open(
        self,
        session: aiohttp.ClientSession,
        connection: _Connection,
        *,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
    ) -> AiohttpAnswer:
        try:
            response = await session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                trace_request_ctx=connection,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(
                f"the engine at {URL(url).origin()} cannot be reached: {error or type(error).__name__}",
                hint="does it listen there? `hotseat ps` shows whether it runs",
            ) from error
        return AiohttpAnswer(response)

    async def aclose(self) -> None:
        await self._pooled.close()
        await self._fresh.close()
        # Lets transports finish closing; aiohttp documents one turn of the loop for plain TCP.
        await asyncio.sleep(0)


async def _reused(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    connection = context.trace_request_ctx
    if isinstance(connection, _Connection):
        connection.reused = True


def _broke_off(error: BaseException) -> EngineFailed:
    said = str(error) or type(error).__name__
    return EngineFailed(f"the engine gave no answer: {said}", hint="its log says why; hotseat ps shows whether it runs")
