"""The simplest streaming proxy on aiohttp, for comparison: bare.py PORT ENGINE_URL."""

from __future__ import annotations

import sys

import aiohttp
import uvloop
from aiohttp import web

HOP = {"connection", "transfer-encoding", "keep-alive", "host", "content-length"}


async def serve() -> web.Application:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)
    )

    async def pass_on(request: web.Request) -> web.StreamResponse:
        sent = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP]
        url = sys.argv[2] + request.rel_url.raw_path_qs
        async with session.request(request.method, url, headers=sent, data=await request.read()) as answer:
            got = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP]
            if answer.content_length is not None:
                return web.Response(status=answer.status, headers=got, body=await answer.read())
            response = web.StreamResponse(status=answer.status, headers=got)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    async def close(app: web.Application) -> None:
        await session.close()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", pass_on)
    app.on_cleanup.append(close)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(serve(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
