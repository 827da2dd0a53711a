"""A request that changes the protocol (WebSocket): once the engine agrees, bytes both ways, as they are.

While its workload is parked the tunnel stays, and no byte moves. A tunnel over which nothing goes, and no answer is
waited for, is at rest: it gives its lease back and takes a new one when either side speaks. Else a tab that somebody
left open would bring its workload back to its seat for ever.
"""

from __future__ import annotations

import asyncio
import logging
import socket

from hotseat.errors import HotseatError
from hotseat.gateway import headers
from hotseat.gateway.exchange import Exchange
from hotseat.gateway.frames import only_control
from hotseat.gateway.http import response
from hotseat.gateway.http.engine import Engine, Head

_log = logging.getLogger(__name__)

HALF_OPEN = 30.0
"""Seconds that the other side has to end after one has."""
REST = 30.0
"""Seconds in its seat without a word, after which it is at rest."""
_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""Silence is allowed here for any time, so it is the kernel's to find out that nobody is there: in two minutes."""


class Tunnel(Exchange):
    """Implements `http.port.Tunnel` and `http.engine.RawSink` too."""

    _open = False
    _line: Engine | None = None
    """The connection to the engine, from the switch on."""
    _client_ended = False
    _engine_ended = False
    _half_since: float | None = None
    _spoken = True
    """Somebody has, since the last tick."""
    _quiet = 0.0
    """Seconds without a word, while it was seated."""
    _ticked = 0.0
    _owed = False
    """The client spoke last."""
    _resting = False
    _coming: bytes | None = None
    """What the client has said, while its seat is waited for."""

    def switched(self, head: Head, early: bytes) -> None:
        lease, engine, client = self._lease, self._engine, self._client
        assert lease is not None
        assert engine is not None
        self._open = True
        self._line, self._engine = engine, None
        self._answer.status = 101
        lines = headers.to_client(head.headers, connection=b"")
        upgrade = head.by_name.get(b"upgrade", b"")
        client.write(
            b"".join(
                [
                    response.status_line(101, head.reason),
                    *lines,
                    self._ours(lease),
                    b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % upgrade,
                    early,
                ]
            )
        )
        for transport in (client.transport, engine.transport):
            sock = transport.get_extra_info("socket")
            if sock is not None and sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in _ALIVE.items():
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        engine.tunnel(self)
        client.tunnel(self)
        if self._request.early:
            engine.write_raw(self._request.early)
            self._request.early = b""

    def from_client(self, data: bytes) -> None:
        line = self._line
        if line is None:
            return
        if self._coming is not None:
            self._coming += data
            return
        if self._is_word(data):
            self._spoken = self._owed = True
            if self._resting and not self._at_once():
                self._coming = data
                self._client.hold(True)
                self._come_back()
                return
        line.write_raw(data)

    def from_engine(self, data: bytes) -> None:
        self._client.write(data)
        if self._is_word(data):
            self._spoken, self._owed = True, False
            if self._resting and not self._at_once():
                self._come_back()

    def client_end(self) -> None:
        self._client_ended = True
        if self._engine_ended or self._line is None or self._coming is not None:
            self._end_tunnel()
        else:
            self._line.write_end()

    def engine_end(self, exc: Exception | None) -> None:
        if self._over:
            return
        if exc is not None or self._engine_ended or self._client_ended or self._coming is not None:
            self._end_tunnel(cut=exc is not None)
            return
        self._engine_ended = True
        self._client.transport.write_eof()

    def engine_writable(self, yes: bool) -> None:
        if self._open:
            self._client.hold(not yes or self._coming is not None)
        else:
            super().engine_writable(yes)

    def writable(self, yes: bool) -> None:
        if self._line is not None:
            self._line.hold(not yes)
        else:
            super().writable(yes)

    def tick(self, now: float) -> None:
        if not self._open:
            super().tick(now)
        elif self._client_ended or self._engine_ended:
            self._half_since = self._half_since or now
            if now - self._half_since > HALF_OPEN:
                self._end_tunnel()
        elif (lease := self._lease) is not None:
            if self._spoken or self._owed:
                self._spoken, self._quiet = False, 0.0
            elif not lease.frozen:  # its turns in the seat may each be shorter than that
                self._quiet += now - self._ticked
            if self._quiet > REST:
                self._rest()
        self._ticked = now

    def gone(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.abort()
        super().gone()

    # At rest, and back.

    def _is_word(self, data: bytes) -> bool:
        return self._request.upgrade != b"websocket" or not only_control(data)

    def _rest(self) -> None:
        self._lease = None
        self._release()
        self._done()
        task, self._task = self._task, None
        if task is None:
            self._resting = True
        else:  # it gives the lease back as it ends
            task.add_done_callback(self._rests)

    def _rests(self, task: asyncio.Task[None]) -> None:
        if not self._over:
            self._resting = True
            if self._spoken and not self._at_once():
                self._come_back()

    def _at_once(self) -> bool:
        """Whether it has its seat back, without waiting."""
        self._held = self._lease = self._asking.try_seat()
        self._resting = self._lease is None
        return not self._resting

    def _come_back(self) -> None:
        self._resting = False
        self._task = asyncio.get_running_loop().create_task(self._sit_again())

    async def _sit_again(self) -> None:
        try:
            async with self._asking.seat() as lease:
                self._lease = lease
                self._passed = passed = asyncio.get_running_loop().create_future()
                said, self._coming = self._coming, None
                if said is not None and self._line is not None:
                    self._line.write_raw(said)
                    self._client.hold(False)
                try:
                    await passed
                finally:
                    self._passed = None
        except Exception as error:
            if not isinstance(error, HotseatError):
                _log.exception("request %s", self._asking.request_id)
            self._task = None
            self._end_tunnel(cut=True)

    def _end_tunnel(self, *, cut: bool = False) -> None:
        if self._over:
            return
        line, self._line = self._line, None
        if line is not None:
            if cut:
                line.abort()
            else:
                line.close()
        waits = self._task if self._passed is None else None
        self._task = None
        self._release()
        self._close_books()
        self._done()
        if waits is not None:
            waits.cancel()
        client = self._client
        client.turn = None
        if cut:
            client.cut()
        else:
            client.close()
