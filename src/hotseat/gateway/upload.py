"""A request's bytes to the engine: all at once if they are there, else as they come, no faster than it takes them."""

from __future__ import annotations

from collections.abc import Callable

from hotseat.errors import HotseatError
from hotseat.gateway import headers
from hotseat.gateway.asking import Asking
from hotseat.gateway.http.body import WINDOW
from hotseat.gateway.http.engine import Engine, Sink
from hotseat.gateway.http.pool import Origin
from hotseat.gateway.http.request import Request
from hotseat.gateway.http.response import last_chunk

_EXPECT_BODY = frozenset({"POST", "PUT", "PATCH"})


def head(request: Request, asking: Asking, origin: Origin, framing: bytes) -> bytes:
    lines, opening = asking.lines(), request.head.opening
    if opening is None or opening[0] is not lines or opening[1] is not origin:
        begin = b"%b %b%b HTTP/1.1\r\nHost: %b\r\n%b" % (
            request.method.encode(),
            origin.prefix,
            asking.target,
            origin.authority,
            lines,
        )
        opening = request.head.opening = (lines, origin, begin)
    upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.by_name[b"upgrade"] if request.upgrade else b""
    return opening[2] + upgrade + b"x-request-id: " + asking.request_id.encode() + b"\r\n" + framing + b"\r\n"


def send_whole(request: Request, engine: Engine, asking: Asking, origin: Origin, *, sink: Sink) -> None:
    """A request whose body is there. It stays, so that it can be sent again."""
    whole, method = request.body.whole(), request.head.method
    if not whole and method not in _EXPECT_BODY:
        engine.send(head(request, asking, origin, b""), method=method, sink=sink, complete=True)
        return
    asking.passing(whole)
    first = head(request, asking, origin, b"Content-Length: %d\r\n" % len(whole))
    if len(whole) < WINDOW:
        engine.send(first + whole, method=method, sink=sink, complete=True)
    else:
        engine.send(first, method=method, sink=sink, complete=True)
        engine.more(whole, complete=True)


class Upload:
    def __init__(
        self, request: Request, engine: Engine, asking: Asking, *, failed: Callable[[HotseatError], None]
    ) -> None:
        self._request = request
        self._engine = engine
        self._asking = asking
        self._failed = failed
        self._chunked = False
        self._writable = True
        self._ended = True

    @property
    def waits_for_client(self) -> bool:
        """The rest of the body is the client's to send."""
        return not self._ended and self._writable

    @property
    def waits_for_engine(self) -> bool:
        """It has not taken yet what was sent."""
        return not self._writable

    def start(self, origin: Origin, *, sink: Sink) -> None:
        request, body = self._request, self._request.body
        self._ended = False
        length = request.length
        self._chunked = length is None
        framing = b"Transfer-Encoding: chunked\r\n" if length is None else b"Content-Length: %d\r\n" % length
        body.high = WINDOW
        body.changed = self._go_on
        self._engine.send(
            head(request, self._asking, origin, framing), method=request.method, sink=sink, complete=False
        )
        self._go_on()

    def writable(self, yes: bool) -> None:
        self._writable = yes
        if yes:
            self._go_on()

    def _go_on(self) -> None:
        if self._ended or not self._writable:
            return
        body = self._request.body
        try:
            self._asking.check_size()
            pieces = body.take()
            for piece in pieces:
                self._asking.passing(piece)
        except HotseatError as error:
            self._ended = True
            self._failed(error)
            return
        if self._chunked:
            pieces = [part for piece in pieces for part in (b"%x\r\n" % len(piece), piece, b"\r\n")]
        self._ended = body.complete
        if self._ended and self._chunked:
            pieces.append(last_chunk(headers.trailers(body.trailers)))
        self._engine.more(b"".join(pieces), complete=self._ended)
