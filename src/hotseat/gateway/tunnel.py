"""A request that changes the protocol (WebSocket): once the engine agrees, bytes both ways, as they are.

The lease is held for as long as the tunnel is open. While its workload is parked the tunnel stays, and no byte moves.
"""

from __future__ import annotations

import socket

from hotseat.gateway import headers
from hotseat.gateway.exchange import Exchange
from hotseat.gateway.http import response
from hotseat.gateway.http.engine import Head

HALF_OPEN = 30.0
"""Seconds that the other side has to end after one has."""


class Tunnel(Exchange):
    """Implements `http.port.Tunnel` and `http.engine.RawSink` too."""

    _open = False
    _client_ended = False
    _engine_ended = False
    _half_since: float | None = None

    def switched(self, head: Head, early: bytes) -> None:
        lease, engine, client = self._lease, self._engine, self._client
        assert lease is not None
        assert engine is not None
        self._open = True
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
            if sock is not None:
                # Silence is allowed here for any time, so it is the kernel's to find out that nobody is there.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        engine.tunnel(self)
        client.tunnel(self)
        if self._request.early:
            engine.write_raw(self._request.early)
            self._request.early = b""

    def from_client(self, data: bytes) -> None:
        if self._engine is not None:
            self._engine.write_raw(data)

    def from_engine(self, data: bytes) -> None:
        self._client.write(data)

    def client_end(self) -> None:
        self._client_ended = True
        if self._engine_ended or self._engine is None:
            self._end_tunnel()
        else:
            self._engine.write_end()

    def engine_end(self, exc: Exception | None) -> None:
        if self._over:
            return
        if exc is not None or self._engine_ended or self._client_ended:
            self._end_tunnel(cut=exc is not None)
            return
        self._engine_ended = True
        self._client.transport.write_eof()

    def engine_writable(self, yes: bool) -> None:
        if self._open:
            self._client.hold(not yes)
        else:
            super().engine_writable(yes)

    def tick(self, now: float) -> None:
        if not self._open:
            super().tick(now)
        elif self._client_ended or self._engine_ended:
            self._half_since = self._half_since or now
            if now - self._half_since > HALF_OPEN:
                self._end_tunnel()

    def _end_tunnel(self, *, cut: bool = False) -> None:
        if self._over:
            return
        engine, self._engine = self._engine, None
        if engine is not None:
            if cut:
                engine.abort()
            else:
                engine.close()
        self._release()
        self._close_books()
        self._done()
        client = self._client
        client.turn = None
        if cut:
            client.cut()
        else:
            client.close()
