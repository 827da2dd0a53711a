"""Serves a `gateway.site.Site` alone, with the gateway's rules of who is an admin, for tests of pages."""

from __future__ import annotations

import contextlib
import json
from types import TracebackType
from typing import Self

from aiohttp import web

from hotseat.errors import HotseatError, NotFound
from hotseat.gateway.local import host_is_local
from hotseat.gateway.site import Inquiry, Site


class SiteServer:
    """`async with SiteServer(site) as server`. `key`: the only admin key; "" where there are no keys."""

    def __init__(self, site: Site, *, key: str = "", port: int = 0) -> None:
        self._site = site
        self._key = key
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """The same port may be taken again by `start`."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            assert runner.server is not None
            for connection in list(runner.server.connections):
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        inquiry = Inquiry(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=headers,
            body=await request.read(),
            admin=headers.get("authorization") == f"Bearer {self._key}" if self._key else host_is_local(headers),
        )
        try:
            handler = self._site.find(request.method, request.path)
            if handler is None:
                raise NotFound(f"no page {request.path}")
            reply = await handler(inquiry)
        except HotseatError as error:
            body = json.dumps({"error": error.as_dict()}).encode()
            return web.Response(status=error.http_status, body=body, content_type="application/json")
        if isinstance(reply.body, bytes):
            return web.Response(status=reply.status, headers=list(reply.headers), body=reply.body)
        response = web.StreamResponse(status=reply.status, headers=list(reply.headers))
        chunks = reply.body
        try:
            await response.prepare(request)
            async for chunk in chunks:
                await response.write(chunk)
        except ConnectionError:
            return response
        finally:
            if (close := getattr(chunks, "aclose", None)) is not None:
                with contextlib.suppress(RuntimeError):
                    await close()
        return response
