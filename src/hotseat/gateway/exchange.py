"""One request on its way to an engine and back.

A stream that waits for its seat, or whose workload is parked in mid-answer, gets an SSE comment every `keepalive`
seconds, only ever between two complete events. If none of the answer has come by then, the head is sent early, as 200
and text/event-stream; should the engine then refuse, the client reads the refusal as an event.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from hotseat.errors import EngineFailed, EngineTimeout, HotseatError
from hotseat.gateway import headers, openai
from hotseat.gateway.port import Answer, Lease, Relay, Seats, Unreachable

_SSE = "text/event-stream"
_EVENT_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")
_REFUSAL_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds."""

    keepalive: float
    max_silence: float


class Exchange:
    def __init__(
        self,
        request: web.Request,
        *,
        body: bytes,
        model: str,
        stream: bool,
        request_id: str,
        patience: Patience,
    ) -> None:
        self._request = request
        self._body = body
        self._model = model
        self._stream = stream
        self._id = request_id
        self._patience = patience
        self._arrived = asyncio.get_running_loop().time()
        self._lease: Lease | None = None
        self._response: web.StreamResponse | None = None
        self._early = False
        self._events = False
        """The client reads a stream of events, into which comments and errors may be put."""
        self._tail = b""
        """The last bytes written: whether an event is complete."""
        self._heard = 0.0
        self._scope: asyncio.Timeout | None = None
        self._beating = asyncio.Lock()

    async def run(self, seats: Seats, relay: Relay) -> web.StreamResponse:
        """The answer as it was sent. Raises `HotseatError` only while nothing has been sent yet."""
        watch = asyncio.create_task(self._watch())
        try:
            try:
                return await self._run(seats, relay)
            finally:
                # Not in the middle of a comment.
                async with self._beating:
                    watch.cancel()
        except HotseatError as error:
            if self._response is None:
                raise
            return await self._fail_midway(self._response, error)

    async def _run(self, seats: Seats, relay: Relay) -> web.StreamResponse:
        async with seats.seat(self._model) as lease:
            try:
                return await self._forward(lease, relay)
            except Unreachable:
                lease.engine_down()
        # Nothing was sent, so once more; this time its engine is probed first.
        async with seats.seat(self._model) as lease:
            try:
                return await self._forward(lease, relay)
            except Unreachable:
                lease.engine_down()
                raise

    async def _forward(self, lease: Lease, relay: Relay) -> web.StreamResponse:
        url = lease.url + self._request.rel_url.raw_path_qs
        sent = headers.to_engine(self._request.headers.items(), request_id=self._id, stream=self._stream)
        self._heard = asyncio.get_running_loop().time()
        self._lease = lease
        try:
            async with asyncio.timeout(None) as self._scope:
                answer = await relay.open(method=self._request.method, url=url, headers=sent, body=self._body)
                try:
                    return await self._answer(answer, lease)
                finally:
                    await answer.aclose()
        except TimeoutError as error:
            raise EngineTimeout(
                f"the engine of {lease.workload} said nothing for {self._patience.max_silence:g} s while it was seated",
                hint="raise gateway.max_silence if its answers take so long",
            ) from error
        finally:
            self._lease = self._scope = None

    async def _answer(self, answer: Answer, lease: Lease) -> web.StreamResponse:
        async with self._beating:
            if self._response is None:
                self._response = await self._head(answer, lease)
        response = self._response
        if self._early:
            await self._write(response, f": seated after {lease.waited:.1f} s\n\n".encode())
            if answer.status != 200 or not _is_sse(answer):
                raise await _refusal(answer, lease)
        async for chunk in answer.chunks():
            self._heard = asyncio.get_running_loop().time()
            await self._write(response, chunk)
        self._events = False
        await response.write_eof()
        return response

    async def _head(self, answer: Answer, lease: Lease) -> web.StreamResponse:
        passed: CIMultiDict[str] = CIMultiDict(headers.to_client(answer.headers))
        passed.update(self._ours(lease.waited, workload=lease.workload, swapped=lease.swapped))
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=passed)
        await response.prepare(self._request)
        self._events = _is_sse(answer) and "content-length" not in passed
        return response

    async def _write(self, response: web.StreamResponse, chunk: bytes) -> None:
        # Noted before the write, which hands the bytes to the transport before it first yields.
        self._tail = (self._tail + chunk)[-4:] if len(chunk) < 4 else chunk[-4:]
        await response.write(chunk)

    def _ours(self, waited: float, **more: Any) -> dict[str, str]:
        ours = {headers.REQUEST_ID: self._id, headers.WAITED: str(round(waited * 1000))}
        if "workload" in more:
            ours[headers.WORKLOAD] = more["workload"]
            ours[headers.SWAPPED] = "1" if more["swapped"] else "0"
        return ours

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        pause = min(self._patience.keepalive, max(self._patience.max_silence / 4, 0.01))
        comment_at = loop.time() + self._patience.keepalive
        while True:
            await asyncio.sleep(pause)
            now = loop.time()
            lease = self._lease
            if lease is not None and not lease.frozen:
                if now - self._heard > self._patience.max_silence and self._scope is not None:
                    self._scope.reschedule(now)
                comment_at = now + self._patience.keepalive
                continue
            self._heard = now
            if self._stream and now >= comment_at:
                async with self._beating:
                    await self._comment("waiting for the seat" if lease is None else "parked, goes on later")
                comment_at = loop.time() + self._patience.keepalive

    async def _comment(self, text: str) -> None:
        try:
            if self._response is None:
                waited = asyncio.get_running_loop().time() - self._arrived
                early = {"Content-Type": _SSE, "Cache-Control": "no-cache", **self._ours(waited)}
                response = web.StreamResponse(headers=early)
                await response.prepare(self._request)
                self._response, self._early, self._events = response, True, True
            if self._events and (not self._tail or self._tail.endswith(_EVENT_ENDS)):
                await self._write(self._response, f": hotseat: {text}\n\n".encode())
        except ConnectionError:
            # The client has left; the server cancels the handler for it.
            return

    async def _fail_midway(self, response: web.StreamResponse, error: HotseatError) -> web.StreamResponse:
        if self._events:
            begin = b"" if not self._tail or self._tail.endswith(_EVENT_ENDS) else b"\n\n"
            await self._write(response, begin + openai.error_event(error))
            await response.write_eof()
        elif self._request.transport is not None:
            # Half a body must not look like a whole one.
            self._request.transport.abort()
        return response


def _is_sse(answer: Answer) -> bool:
    named = {name.lower(): value.lower() for name, value in answer.headers}
    plain = named.get("content-encoding", "identity") == "identity"
    return plain and named.get("content-type", "").split(";")[0].strip() == _SSE


async def _refusal(answer: Answer, lease: Lease) -> HotseatError:
    """What the engine said instead of a stream, for a client that was already told 200."""
    said = b""
    async for chunk in answer.chunks():
        said += chunk
        if len(said) > _REFUSAL_LIMIT:
            break
    text = said[:2000].decode(errors="replace")
    return EngineFailed(f"the engine of {lease.workload} answered {answer.status}: {text}")
