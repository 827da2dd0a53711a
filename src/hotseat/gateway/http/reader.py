"""Reads requests from the bytes of one client. Raises `BadRequest`, after which nothing more can be read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import httptools

from hotseat.gateway.http.heads import Again, Heads, split
from hotseat.gateway.http.request import BadRequest, Head, Headers, Request, read_head

_log = logging.getLogger(__name__)

MOST_HEADERS = 256
"""Lines of a head."""
MOST_TRAILERS = 64
_NOT_TAKEN = frozenset({b"h2c"})
"""Inside HTTP/2 the engine would get requests that nobody here has seen."""


class RequestReader:
    """`on_request` is called at the end of each head; the body fills meanwhile and later. `max_header` in bytes."""

    def __init__(self, on_request: Callable[[Request], None], *, max_header: int, heads: Heads[Head]) -> None:
        self._on_request = on_request
        self._max_header = max_header
        self._heads = heads
        self._again: Again[Head] = Again()
        self._key = b""
        """Of the head that is being read, if it came in one piece."""
        self._parser: Any = httptools.HttpRequestParser(self)
        self.reading: Request | None = None
        """The request whose body is being read."""
        self.in_head = False
        """A head has begun and not ended."""
        self.switched: Request | None = None
        """The request that asks for another protocol: what follows it is not HTTP."""
        self._stopped = False
        self._target = b""
        self._headers: Headers = []
        self._fed = 0
        """Bytes fed since the last message ended: at least those of the head."""
        self._repeating = False
        """The parser is being told again of a head, so that it reads the body which belongs to it."""

    def feed(self, data: bytes) -> None:
        while data:
            if self._stopped:
                return
            if self.switched is not None:
                self.switched.early += data
                return
            self._key = b""
            if not self.in_head and self.reading is None and self._known(data):
                return
            self._fed += len(data)
            try:
                self._parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as at:
                data = data[at.args[0] :]
                self._upgraded()
            except httptools.HttpParserError as error:
                raise _refusal(error) from error
        if self.in_head and self._fed > self._max_header:
            raise self._too_long()

    def _known(self, data: bytes) -> bool:
        """Whether that is one request, whole, with a head that was read before. Then it is done."""
        same = self._again.find(data)
        if same is not None and len(data) == same[1] + same[2]:
            head, begin, length = same
        else:
            found = split(data)
            if found is None:
                return False
            key, begin, length = found
            kept = self._heads.find(key)
            if kept is None or len(data) != begin + max(length, 0):
                self._key = key
                return False
            head = kept
            if length >= 0:
                self._again.keep(head, data, begin)
        request = Request(head, length=None if length < 0 else length)
        if length > 0:
            request.body.put(data[begin:])
        else:
            request.body.complete = True
        self._on_request(request)
        return True

    def _keep(self, head: Head) -> None:
        key, self._key = self._key, b""
        lines = len(head.headers) + 2 - (b"content-length" in head.by_name)
        if (
            head.keep_alive
            and not (head.upgrade or head.chunked or b"expect" in head.by_name)
            # Nothing stood before it that the parser has skipped: the key is this head and no more.
            and key[:1].isalpha()
            and key.count(b"\r\n") == lines
        ):
            self._heads.keep(key, head)

    def stop(self) -> None:
        """What comes from here on is thrown away."""
        self._stopped = True
        self.reading = None
        self.in_head = False

    # httptools calls.

    def on_message_begin(self) -> None:
        self.in_head = True

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if value and value[-1] in b" \t":
            value = value.rstrip(b" \t")
        if self.in_head:
            if len(self._headers) >= MOST_HEADERS:
                raise BadRequest(f"the request has more than {MOST_HEADERS} headers", status=431)
            self._headers.append((name, value))
        elif self.reading is not None:
            body = self.reading.body
            if len(body.trailers) >= MOST_TRAILERS:
                raise BadRequest("too many trailers", status=431)
            body.trailers = [*body.trailers, (name, value)]

    def on_headers_complete(self) -> None:
        headers, target = self._headers, self._target
        self._headers, self._target = [], b""
        self.in_head = False
        if self._repeating:
            self._repeating = False
            return
        if self._fed > self._max_header:
            size = len(target) + sum([len(name) + len(value) + 4 for name, value in headers])
            if size > self._max_header:
                raise self._too_long()
        parser = self._parser
        head = read_head(
            method=parser.get_method(),
            target=target,
            version=parser.get_http_version(),
            headers=headers,
            keep_alive=parser.should_keep_alive(),
            upgrade=parser.should_upgrade(),
        )
        length = head.by_name.get(b"content-length")
        if self._key:
            self._keep(head)
        request = self.reading = Request(head, length=None if length is None else int(length))
        if not head.upgrade:
            request.body.complete = not head.chunked and not request.length
            self._on_request(request)

    def on_body(self, body: bytes) -> None:
        if self.reading is not None:
            self.reading.body.feed(body)

    def on_message_complete(self) -> None:
        request = self.reading
        if request is None:
            self._fed = 0
        elif not request.upgrade:  # else see `_upgraded`
            self._fed = 0
            self.reading = None
            request.body.finish()

    def _upgraded(self) -> None:
        """The parser stops at every request for an upgrade, and takes what follows its head for the new protocol."""
        request = self.reading
        assert request is not None
        self._parser = httptools.HttpRequestParser(self)
        has_body = request.chunked or bool(request.length)
        if request.upgrade not in _NOT_TAKEN and request.method == "GET" and not has_body:
            self.switched = request
        else:
            request.upgrade = b""  # not taken up (RFC 9110, 7.8): what follows is its body and the next request
        if has_body:
            self._repeating = True
            name = b"transfer-encoding" if request.chunked else b"content-length"
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b: %b\r\n\r\n" % (name, request.by_name[name]))
            self._on_request(request)
        else:
            self._fed = 0
            self.reading = None
            request.body.complete = True
            self._on_request(request)

    def _too_long(self) -> BadRequest:
        return BadRequest(
            f"the head of the request is larger than {self._max_header} bytes",
            status=431,
            hint="gateway.max_header sets the limit",
        )


def _refusal(error: httptools.HttpParserError) -> BadRequest:
    cause = error.__context__
    if isinstance(cause, BadRequest):
        return cause
    if isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
        _log.error("a request could not be taken", exc_info=cause)
        return BadRequest("hotseat failed on this request", status=500, hint="its log has more")
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return BadRequest("the method is not known", status=501)
    return BadRequest(f"this is not HTTP/1.1 as RFC 9112 has it: {error}")
