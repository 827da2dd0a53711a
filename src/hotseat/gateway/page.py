"""A page that this gateway answers by itself: small body in, a reply or a stream of events out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from hotseat.errors import HotseatError
from hotseat.gateway import headers
from hotseat.gateway.answer import Answer
from hotseat.gateway.coding import TooLarge
from hotseat.gateway.dialects.port import Dialect
from hotseat.gateway.http import response
from hotseat.gateway.http.client import Client
from hotseat.gateway.http.request import Request
from hotseat.gateway.site import Reply

_log = logging.getLogger(__name__)

MOST_BODY = 1 << 16
"""As `site.Inquiry` promises."""


class PageTurn:
    """Implements `http.port.Turn`."""

    def __init__(
        self,
        client: Client,
        request: Request,
        dialect: Dialect,
        make: Callable[[bytes], Awaitable[Reply]],
        *,
        request_id: str,
    ) -> None:
        self._client = client
        self._request = request
        self._make = make
        self._id = request_id
        self._answer = Answer(client, request, dialect, request_id=request_id)
        self._task: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        client.turn = self
        request.body.high = MOST_BODY
        if request.length is not None and request.length > MOST_BODY:
            self._answer.refuse(_too_large())
            return
        request.body.changed = self._read
        client.want_body(request)
        if request.body.complete:
            self._read()

    def gone(self) -> None:
        self._request.body.changed = None
        if self._task is not None:
            self._task.cancel()

    def writable(self, yes: bool) -> None:
        if yes:
            self._may_write.set()
        else:
            self._may_write.clear()

    def tick(self, now: float) -> None:
        return None

    def _read(self) -> None:
        body = self._request.body
        if body.total > MOST_BODY:
            body.changed = None
            self._answer.refuse(_too_large())
        elif body.complete and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(body.whole()))

    async def _run(self, body: bytes) -> None:
        try:
            reply = await self._make(body)
        except HotseatError as error:
            self._answer.refuse(error)
            return
        except Exception:
            _log.exception("page %s, request %s", self._request.path, self._id)
            self._answer.refuse(HotseatError("hotseat failed on this page", hint=f"its log has more at {self._id}"))
            return
        said = [*reply.headers, (headers.REQUEST_ID, self._id)]
        if isinstance(reply.body, bytes):
            self._client.answer(self._request, status=reply.status, headers=said, body=reply.body)
            return
        try:
            await self._stream(reply.status, said, reply.body)
        finally:
            if (aclose := getattr(reply.body, "aclose", None)) is not None:
                await aclose()

    async def _stream(self, status: int, said: list[tuple[str, str]], pieces: AsyncIterator[bytes]) -> None:
        request, client = self._request, self._client
        how = response.framing(
            method=request.method,
            version=request.version,
            status=status,
            sized=False,
            keep_alive=client.keeps_alive(request),
        )
        head = response.status_line(status) + response.lines(response.encoded(said))
        client.write(head + response.framing_headers(how, version=request.version) + b"\r\n")
        if not how.bodyless:
            try:
                async for piece in pieces:
                    if piece:
                        client.write(response.chunk(piece) if how.chunked else piece)
                    await self._may_write.wait()
            except Exception:
                _log.exception("page %s, request %s", request.path, self._id)
                client.cut()
                return
            if how.chunked:
                client.write(response.LAST_CHUNK)
        client.finished(keep_alive=how.keep_alive)


def _too_large() -> TooLarge:
    return TooLarge(f"the body is larger than {MOST_BODY} bytes")
