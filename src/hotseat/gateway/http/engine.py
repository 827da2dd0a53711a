"""One connection to an engine: a request out, its answer in, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

import httptools

from hotseat.gateway.http.heads import Again, Heads, split
from hotseat.gateway.http.request import Headers
from hotseat.gateway.http.response import has_no_body

MOST_HEAD = 256 * 1024
"""Bytes of an answer's head. Engines are trusted further than clients, and have no bugs that send more."""
WRITE_HIGH = 64 * 1024
"""Bytes that an engine has not taken, above which the client is paused."""


class Head:
    """The head of an answer. As with requests, one object stands for all with the same bytes."""

    __slots__ = ("by_name", "headers", "lines", "reason", "status")

    def __init__(self, status: int, reason: bytes, headers: Headers, by_name: dict[bytes, bytes]) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.by_name = by_name
        """By lower-case names; the last of several. Content-Length may be another answer's."""
        self.lines: bytes | None = None
        """Those that go on to a client, once they are known."""


class Sink(Protocol):
    """Whoever asked. After `broken`, `ended` or `switched` nothing more comes."""

    def informed(self, head: Head) -> None:
        """An interim answer (1xx)."""
        ...

    def headed(self, head: Head, length: int | None) -> None:
        """`length`: of the body, as announced."""
        ...

    def arrived(self, piece: bytes) -> None: ...

    def flush(self) -> None:
        """For now that is all that came."""
        ...

    def ended(self, trailers: Headers) -> None: ...

    def broken(self, said: str, *, heard: bool) -> None:
        """It broke off. `heard`: not before the first byte of its answer."""
        ...

    def switched(self, head: Head, early: bytes) -> None:
        """101: from here on the bytes are the new protocol's, and go to `data` of the tunnel that was set."""
        ...

    def engine_writable(self, yes: bool) -> None: ...


class RawSink(Protocol):
    def from_engine(self, data: bytes) -> None: ...

    def engine_end(self, exc: Exception | None) -> None: ...

    def engine_writable(self, yes: bool) -> None: ...


class Engine:
    """Implements `asyncio.Protocol`. `give_back` gets it when an answer is complete and the next request may be sent on
    it."""

    def __init__(
        self,
        *,
        origin: str,
        heads: Heads[Head],
        give_back: Callable[[Engine], None],
        forget: Callable[[Engine], None],
    ) -> None:
        self.origin = origin
        self._heads = heads
        self._again: Again[Head] = Again()
        self._give_back = give_back
        self._forget = forget
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._sink: Sink | None = None
        self._raw: RawSink | None = None
        self._method = ""
        self.reused = False
        self.idle_since = 0.0
        self._held = False
        self._clear()

    def _clear(self) -> None:
        self._key = b""
        """Of the head that is being read, if it came in one piece."""
        self._reason = b""
        self._headers: Headers = []
        self._trailers: Headers = []
        self._in_head = True
        self._fed = 0
        self._interim = False
        self._heard = False
        self._complete = False
        self._dirty = False
        """It said more than it was asked."""
        self._keep_alive = False
        self._until_close = False
        self._bodyless = False
        self._sent_all = True
        self._switching: Head | None = None

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes, *, method: str, sink: Sink, complete: bool) -> None:
        """A request, or its head and what there is of its body; then `more`. Only on one that was given."""
        assert self._transport is not None
        self._sink = sink
        self._method = method
        self._sent_all = complete
        self._transport.write(data)

    def more(self, data: bytes, *, complete: bool) -> None:
        if self._transport is not None:
            self._sent_all = complete
            if data:
                self._transport.write(data)

    def tunnel(self, raw: RawSink) -> None:
        self._raw = raw

    def write_raw(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def write_end(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def hold(self, yes: bool) -> None:
        """Read no more, or read on."""
        if self._transport is not None and yes != self._held and not self._transport.is_closing():
            self._held = yes
            if yes:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def abort(self) -> None:
        """Tells the engine to stop. Its sink hears nothing more."""
        self._sink = self._raw = None
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        self._sink = self._raw = None
        if self._transport is not None:
            self._transport.close()

    # asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget(self)
        if self._raw is not None:
            raw, self._raw = self._raw, None
            raw.engine_end(exc)
            return
        sink, self._sink = self._sink, None
        if sink is None:
            return
        if self._until_close and exc is None and not self._in_head:
            sink.flush()
            sink.ended([])
        else:
            sink.broken(str(exc) if exc is not None else "it closed the connection", heard=self._heard)

    def eof_received(self) -> bool:
        if self._raw is not None:
            self._raw.engine_end(None)
            return True
        self._forget(self)
        return False

    def pause_writing(self) -> None:
        if (target := self._raw or self._sink) is not None:
            target.engine_writable(False)

    def resume_writing(self) -> None:
        if (target := self._raw or self._sink) is not None:
            target.engine_writable(True)

    def data_received(self, data: bytes) -> None:
        if self._raw is not None:
            self._raw.from_engine(data)
            return
        sink = self._sink
        self._key = b""
        if sink is None:
            self.abort()  # nobody asked
            return
        if not self._heard and self._known(data, sink):
            return
        self._heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as at:
            self._switched(data[at.args[0] :])
            return
        except httptools.HttpParserError as error:
            if not self._complete:
                self._fail(f"its answer is not HTTP/1.1: {error}")
                return
            self._dirty = True
        if self._in_head:
            self._fed += len(data)
            if self._fed > MOST_HEAD:
                self._fail(f"the head of its answer is larger than {MOST_HEAD} bytes")
            return
        if self._sink is sink:
            sink.flush()
            if self._complete:
                self._end(sink)

    # httptools calls.

    def on_message_begin(self) -> None:
        if self._complete:
            self._dirty = True

    def on_status(self, reason: bytes) -> None:
        if not self._complete:
            self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if value and value[-1] in b" \t":
            value = value.rstrip(b" \t")
        if self._in_head:
            self._headers.append((name, value))
        elif not self._complete and len(self._trailers) < 64:
            self._trailers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._complete or self._sink is None:
            return
        status: int = self._parser.get_status_code()
        headers, self._headers = self._headers, []
        by_name = {name.lower(): value for name, value in headers}
        head = Head(status, self._reason, headers, by_name)
        if status < 200:
            self._reason = b""
            if status == 101:
                if not self._parser.should_upgrade():
                    raise ValueError("it switches protocols and does not say to which")
                self._switching = head
            else:
                self._interim = True
                self._sink.informed(head)
            return
        coding = by_name.get(b"transfer-encoding")
        if coding is not None and coding.strip().lower() != b"chunked":
            raise ValueError("the only Transfer-Encoding understood is chunked")
        self._in_head = False
        self._bodyless = has_no_body(self._method, status)
        length = by_name.get(b"content-length")
        self._until_close = not self._bodyless and coding is None and length is None
        if self._key:
            self._keep(head)
        self._sink.headed(head, None if length is None else int(length))
        if self._method == "HEAD":
            self._complete = self._dirty = True  # the parser now waits for a body that will not come

    def on_body(self, piece: bytes) -> None:
        if not self._complete and self._sink is not None:
            self._sink.arrived(piece)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif self._switching is None and not self._in_head:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()  # afterwards it has forgotten

    # Within.

    def _known(self, data: bytes, sink: Sink) -> bool:
        """Whether that is one whole answer with a head that was read before. Then it is done."""
        if self._method == "HEAD":
            return False
        same = self._again.find(data)
        if same is not None and len(data) == same[1] + same[2]:
            head, begin, length = same
        else:
            found = split(data)
            if found is None:
                return False
            key, begin, length = found
            if length < 0:
                return False
            kept = self._heads.find(key)
            if kept is None or len(data) != begin + length:
                self._key = key
                return False
            head = kept
            self._again.keep(head, data, begin)
        sink.headed(head, length)
        if length:
            sink.arrived(data[begin:])
        if self._sink is not sink:
            return True  # it was given up meanwhile
        if self._sent_all and self.alive:
            # As `_end`, but the parser saw nothing of it, so there is nothing to clear.
            self._sink = None
            if self._held:
                self.hold(False)
            self._give_back(self)
            sink.ended([])
        else:
            self._end(sink)
        return True

    def _keep(self, head: Head) -> None:
        key, self._key = self._key, b""
        if (
            self._parser.should_keep_alive()
            and not self._bodyless
            and key.startswith(b"HTTP/1.1 ")
            and b"transfer-encoding" not in head.by_name
            and key.count(b"\r\n") == len(head.headers) + 1
        ):
            self._heads.keep(key, head)

    def _end(self, sink: Sink) -> None:
        trailers = self._trailers
        again = not self._dirty and self._sent_all and self._keep_alive and self.alive
        self._sink = None
        if again:
            self.hold(False)
            self._clear()
            self._give_back(self)
        else:
            self.close()
        sink.ended(trailers)

    def _switched(self, early: bytes) -> None:
        sink, head = self._sink, self._switching
        self._sink = None
        if sink is None or head is None:
            self.abort()
            return
        sink.switched(head, early)

    def _fail(self, said: str) -> None:
        sink = self._sink
        self.abort()
        if sink is not None:
            sink.flush()
            sink.broken(said, heard=True)
