"""What a client gets: head, pieces, comments between events, an error in the middle, and the end of it.

If none of the engine's answer has come by the time a comment is due, the head is sent early, as 200 and a stream;
should the engine then refuse, the client reads the refusal as an event.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from hotseat.errors import HotseatError
from hotseat.gateway import headers, usage
from hotseat.gateway.dialects.port import Dialect
from hotseat.gateway.dialects.saying import retry_after
from hotseat.gateway.http import response
from hotseat.gateway.http.client import Client
from hotseat.gateway.http.engine import Head
from hotseat.gateway.http.request import Headers, Request

_UNFRAMED = response.Framing(False, False)


class Answer:
    _coded = False
    _events = False
    """The client reads a stream of events, into which comments and errors may be put."""
    status = 0
    """What the client was told; 0: nothing yet."""
    early = False
    """The head was sent before there was one of the engine."""
    tail = b""
    """The last bytes of the engine's body; b"" where it has a content coding."""
    deltas = 0
    """Of a stream that may not tell its tokens: see `usage.deltas`."""
    _delta = b""
    first_byte: float | None = None
    """By `time.monotonic`."""
    broken = False

    def __init__(self, client: Client, request: Request, dialect: Dialect, *, request_id: str) -> None:
        self._how = _UNFRAMED
        self._client = client
        self._request = request
        self._dialect = dialect
        self._id = request_id
        self._out: list[bytes] = []

    def head(self, head: Head, length: int | None, ours: bytes) -> None:
        request, by_name = self._request.head, head.by_name
        how = response.framing(
            method=request.method,
            version=request.version,
            status=head.status,
            sized=length is not None,
            keep_alive=self._client.keeps_alive(self._request),
        )
        lines = head.lines
        if lines is None:
            passing = headers.to_client(head.headers, connection=head.by_name.get(b"connection", b""))
            lines = head.lines = b"".join([response.status_line(head.status, head.reason), *passing])
        framing = response.framing_headers(how, version=request.version)
        if length is None:
            self._out.append(b"%b%b%b\r\n" % (lines, ours, framing))
        else:
            self._out.append(b"%b%bContent-Length: %d\r\n%b\r\n" % (lines, ours, length, framing))
        self._how = how
        self.status = head.status
        self._coded = b"content-encoding" in by_name and by_name[b"content-encoding"].lower() != b"identity"
        if length is None and not how.bodyless:
            self._events = self.is_stream(head)

    def informed(self, head: Head) -> None:
        """An interim answer. HTTP/1.0 knows none."""
        if self._request.version == "1.1" and head.status != 100 and not self.status:
            lines = headers.to_client(head.headers, connection=head.by_name.get(b"connection", b""))
            self._client.write(b"".join([response.status_line(head.status, head.reason), *lines, b"\r\n"]))

    def is_stream(self, head: Head) -> bool:
        if head.by_name.get(b"content-encoding", b"identity").lower() != b"identity":
            return False
        kind = head.by_name.get(b"content-type", b"").partition(b";")[0].strip().lower()
        return kind == self._dialect.stream_type.encode()

    def piece(self, piece: bytes) -> None:
        if self.first_byte is None:
            self.first_byte = time.monotonic()
            if self._events:
                self._delta = usage.delta(self._request.path, piece)
        if not self._coded:
            if self._delta:
                self.deltas += usage.deltas(self._delta, self.tail, piece)
            self.tail = usage.keep(self.tail, piece)
        self._put(piece)

    def flush(self) -> None:
        if out := self._out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self._client.write(data)

    def end(self, trailers: Headers) -> None:
        self._events = False
        if self._how.chunked:
            self._out.append(response.last_chunk(headers.trailers(trailers)) if trailers else response.LAST_CHUNK)
        self.flush()
        self._client.finished(keep_alive=self._how.keep_alive)

    def begin_early(self, ours: bytes) -> None:
        """A head for a stream that will come."""
        request = self._request
        keep = self._client.keeps_alive(request)
        how = response.framing(method=request.method, version=request.version, status=200, sized=False, keep_alive=keep)
        kind = self._dialect.stream_type.encode()
        lines = b"Content-Type: %b\r\nCache-Control: no-cache\r\n" % kind
        framing = response.framing_headers(how, version=request.version)
        self._out.append(response.status_line(200) + lines + ours + framing + b"\r\n")
        self._how, self.status, self.early, self._events = how, 200, True, True

    def comment(self, text: str) -> None:
        """If it may stand there now, and if this dialect has any."""
        if self._events and self._between():
            event = self._dialect.keepalive(text)
            if event and not self._how.bodyless:
                self._put(event)
        self.flush()

    def fail(self, error: HotseatError) -> None:
        """An error, however far the answer has come; ends it."""
        if not self.status:
            self.refuse(error)
            return
        self.broken = True
        if not self._events:
            self.flush()
            self._client.cut()
            return
        event = self._dialect.error_event(error, path=self._request.path, request_id=self._id)
        self._put(event if self._between() else self._dialect.mend + event)
        self.end([])

    def refuse(self, error: HotseatError, *, known: Sequence[tuple[str, str]] = ()) -> None:
        """`known`: what else its headers can say of the request."""
        self.status = error.http_status
        said = [("Content-Type", "application/json"), (headers.REQUEST_ID, self._id), *known]
        if self._dialect.id_header != headers.REQUEST_ID:
            said.append((self._dialect.id_header, self._id))
        if (seconds := retry_after(error)) is not None:
            said.append(("Retry-After", str(seconds)))
        if self.status == 401:
            said.append(("WWW-Authenticate", "Bearer"))
        if allow := error.details.get("allow"):
            said.append(("Allow", allow))
        body = self._dialect.error_body(error, status=self.status, request_id=self._id)
        self._client.answer(self._request, status=self.status, headers=said, body=body)

    def _put(self, piece: bytes) -> None:
        self._out.append(b"%x\r\n%b\r\n" % (len(piece), piece) if self._how.chunked else piece)

    def _between(self) -> bool:
        return not self.tail or self.tail.endswith(self._dialect.event_ends)
