"""One client's connection: requests answered in order, one at a time; those that came ahead are held within limits."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from typing import cast

from hotseat.gateway.http import response
from hotseat.gateway.http.body import WINDOW
from hotseat.gateway.http.limits import Register
from hotseat.gateway.http.motion import Motion
from hotseat.gateway.http.port import Front, Tunnel, Turn
from hotseat.gateway.http.reader import RequestReader
from hotseat.gateway.http.request import BadRequest, Request

MOST_AHEAD = 32
"""Requests that a client may send before the first of them is answered."""
LINGER = 2.0
"""Seconds in which what a refused client still sends is read and thrown away, so that it can read why."""
WRITE_HIGH = 64 * 1024
"""Bytes that a client has not taken, above which whoever writes is paused."""
_RESET = struct.pack("ii", 1, 0)
_CLOSE_WAIT = 8
"""linux/tcp_states.h: the other end has closed."""


class Client:
    """Implements `asyncio.Protocol`, without its base class: see docs/development.md, "The compiled path"."""

    def __init__(self, front: Front, register: Register) -> None:
        self._front = front
        self._register = register
        self._reader = RequestReader(self._request, max_header=register.limits.max_header, heads=register.heads)
        self._transport: asyncio.Transport | None = None
        self.turn: Turn | None = None
        self._present: Request | None = None
        """The request that is answered now."""
        self._ahead: deque[Request] = deque()
        self._begun = False
        """Of the present answer something was written."""
        self._going_on = False
        self._closing = False
        self._last = False
        """No request is taken after the present one."""
        self._linger_until: float | None = None
        self._paused = False
        self._tunnel: Tunnel | None = None
        self._head_since: float | None = None
        self._motion = Motion(register.now)
        self.idle_since: float | None = register.now

    # What answers uses.

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    @property
    def backlog(self) -> int:
        """Bytes written that the client has not taken."""
        return self.transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        if not self._closing:
            self._begun = True
            self._motion.sent += len(data)
            assert self._transport is not None
            self._transport.write(data)

    def keeps_alive(self, request: Request) -> bool:
        return request.head.keep_alive and not self._last and request.body.complete and not request.upgrade

    def answer(self, request: Request, *, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """A small answer as a whole; ends the turn."""
        data, keep = response.whole(
            method=request.method,
            version=request.version,
            status=status,
            headers=headers,
            body=body,
            keep_alive=self.keeps_alive(request),
        )
        self.write(data)
        self.finished(keep_alive=keep)

    def finished(self, *, keep_alive: bool) -> None:
        """The answer is written: on to the next request, or close."""
        request, self._present, self.turn = self._present, None, None
        if self._closing:
            return
        if request is not None and not request.body.complete:
            request.body.drop()
            self._hang_up()
        elif not keep_alive or self._last:
            self._hang_up()
        else:
            self._go_on()

    def cut(self) -> None:
        """So that half an answer never looks like a whole one."""
        turn, self.turn = self.turn, None
        self._end()
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            # By a reset: a client of HTTP/1.0 would take an orderly close for the end of the body.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()
        if turn is not None:
            turn.gone()

    def want_body(self, request: Request) -> None:
        """The body will be read: a client that asks before it sends it is told so."""
        if request.version == "1.1" and b"expect" in request.by_name and not request.body.total:
            self.transport.write(response.CONTINUE)

    def tunnel(self, tunnel: Tunnel) -> None:
        """No more HTTP: the tunnel is the last turn, and gets all that comes."""
        self.turn = self._tunnel = tunnel
        self._last = True
        self.hold(False)

    def hold(self, yes: bool) -> None:
        """Read no more, or read on."""
        if yes != self._paused and not self._closing:
            self._paused = yes
            if yes:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def close(self) -> None:
        """As soon as all is written."""
        if not self._closing:
            self._end()
            self.transport.close()

    def last_request(self) -> None:
        """The gateway stops: close when the present answer is written, or at once if there is none."""
        self._last = True
        if self._present is None and self._linger_until is None:
            self.close()

    # asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH)
        if not self._register.add(self):
            error = BadRequest("too many connections", status=503, hint="gateway.max_connections sets the limit")
            self._refuse(error, headers=[("Retry-After", "1")])
            # Nobody looks at what is not in the register. Its request is read, lest the answer be lost to a reset.
            asyncio.get_running_loop().call_later(LINGER, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        turn, self.turn = self.turn, None
        self._end()
        if turn is not None:
            turn.gone()

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            self._tunnel.client_end()
            return True
        # Whoever stops sending has left: a connection that is half closed cannot be told from one that is closed.
        self.connection_lost(None)
        return False

    def pause_writing(self) -> None:
        if self.turn is not None:
            self.turn.writable(False)

    def resume_writing(self) -> None:
        if self.turn is not None:
            self.turn.writable(True)

    def data_received(self, data: bytes) -> None:
        self._motion.received += len(data)
        if self._tunnel is not None:
            self._tunnel.from_client(data)
            return
        if self._closing or self._linger_until is not None:
            return
        self.idle_since = None
        reader = self._reader
        try:
            reader.feed(data)
        except BadRequest as error:
            self._refuse(error)
            return
        if reader.in_head:
            self._head_since = self._head_since or self._register.now
        elif reader.reading is not None:
            if reader.reading.body.full:
                self.hold(True)
        elif reader.switched is not None:
            if self._tunnel is None and len(reader.switched.early) > WRITE_HIGH:
                self.hold(True)
        elif self._present is None and not self._closing:
            self.idle_since = self._register.now
        if self._ahead and self._much_ahead():
            self.hold(True)

    # Within.

    def _request(self, request: Request) -> None:
        self._head_since = None
        request.body.resumed = self._room
        if self._present is None and not self._ahead:
            self._begin(request)
        elif len(self._ahead) >= MOST_AHEAD:
            raise BadRequest(f"more than {MOST_AHEAD} requests stand before their answers", status=429)
        else:
            self._ahead.append(request)

    def _begin(self, request: Request) -> None:
        self._present, self._begun = request, False
        self._front.begin(self, request)

    def _go_on(self) -> None:
        """Requests that came ahead, in order. Not by recursion: many that are answered at once may wait."""
        if self._going_on:
            return
        if self._ahead:
            self._going_on = True
            try:
                while self._ahead and self._present is None and not self._closing and self._linger_until is None:
                    self._begin(self._ahead.popleft())
            finally:
                self._going_on = False
        idle = self._present is None and not self._closing and self._linger_until is None
        if idle and self._reader.reading is None and not self._reader.in_head:
            self.idle_since = self._register.now
        # What has begun may want more of its body than was read ahead, and there is more room for what comes behind it.
        self._room()

    def _much_ahead(self) -> bool:
        return sum([request.body.held for request in self._ahead]) > WINDOW

    def _room(self) -> None:
        if self._paused and not self._closing and self._linger_until is None and not self._much_ahead():
            reading = self._reader.reading
            if reading is None or not reading.body.full:
                self.hold(False)

    def _refuse(self, error: BadRequest, *, headers: list[tuple[str, str]] | None = None) -> None:
        """What is no request ends the connection, in order: after the answer that is under way, if there is one."""
        self._ahead.clear()
        present = self._present
        if present is not None and present.body.complete:
            self._last = True
            self._reader.stop()
            self.hold(True)
            return
        if present is not None and self._begun:
            self.cut()
            return
        if present is not None:  # its own body is wrong
            turn, self.turn, self._present = self.turn, None, None
            if turn is not None:
                turn.gone()
            if self._closing:
                return
        said, body = self._front.refuse(error, present)
        data, _ = response.whole(
            method="",
            version="1.1",
            status=error.status,
            headers=[*said, *(headers or [])],
            body=body,
            keep_alive=False,
        )
        self.write(data)
        self._hang_up()

    def _hang_up(self) -> None:
        """Close in a way that lets the client read what was written although it may still send."""
        self.idle_since = None
        self._reader.stop()
        self._linger_until = self._register.now + LINGER
        self.hold(False)
        with contextlib.suppress(OSError, RuntimeError):
            self.transport.write_eof()

    def _end(self) -> None:
        self._closing = True
        self.idle_since = None
        self._present = None
        self._ahead.clear()
        self._register.remove(self)

    def tick(self, now: float) -> None:
        """Looks whether the client moves, and has what answers look at itself."""
        if self.turn is not None:
            self.turn.tick(now)
        if self._closing:
            return
        slow = self._register.limits.slow_client
        reading = self._reader.reading
        sending = reading is not None and reading is self._present and not self._paused
        if self._linger_until is not None:
            if now >= self._linger_until and not self.backlog:
                self.close()
            elif self._motion.stalled(now, backlog=self.backlog, sending=False, limit=slow):
                self.cut()
        elif self._paused and self._has_left():
            self.cut()
        elif self.idle_since is not None:
            if now - self.idle_since > self._register.limits.idle:
                self.close()
        elif self._head_since is not None and now - self._head_since > slow:
            self._refuse(BadRequest("the head of the request did not come in time", status=408))
        elif self._motion.stalled(now, backlog=self.backlog, sending=sending, limit=slow):
            if sending and not self.backlog:
                self._refuse(BadRequest("the body of the request came too slowly", status=408))
            else:
                self.cut()

    def _has_left(self) -> bool:
        """Of a connection that is not read: its end does not show, but the kernel knows of it."""
        sock = self.transport.get_extra_info("socket")
        if sock is None or sock.family == socket.AF_UNIX:
            return False
        try:
            return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSE_WAIT)
        except OSError:
            return False
