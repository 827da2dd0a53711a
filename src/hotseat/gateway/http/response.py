"""The head of an answer to a client, and how its body is framed. Pure."""

from __future__ import annotations

import http
from collections.abc import Iterable
from dataclasses import dataclass

from hotseat.gateway.http.request import Headers

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_REASONS = {status.value: status.phrase.encode() for status in http.HTTPStatus}
_REASONS[499] = b"Client Closed Request"


@dataclass(frozen=True, slots=True)
class Framing:
    chunked: bool
    keep_alive: bool
    """The connection can be used again after it."""
    bodyless: bool = False


_BODYLESS = {keep: Framing(False, keep, True) for keep in (False, True)}
_SIZED = {keep: Framing(False, keep) for keep in (False, True)}
_CHUNKED = {keep: Framing(True, keep) for keep in (False, True)}
_UNTIL_CLOSE = Framing(False, False)


def has_no_body(method: str, status: int) -> bool:
    return method == "HEAD" or status in (204, 304) or 100 <= status < 200


def status_line(status: int, reason: bytes | None = None) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"") if reason is None else reason)


def framing(*, method: str, version: str, status: int, sized: bool, keep_alive: bool) -> Framing:
    """`sized`: its length is known, and Content-Length is among its headers."""
    if has_no_body(method, status):
        return _BODYLESS[keep_alive]
    if sized:
        return _SIZED[keep_alive]
    if version == "1.0":
        return _UNTIL_CLOSE
    return _CHUNKED[keep_alive]


def framing_headers(how: Framing, *, version: str) -> bytes:
    out = b"Transfer-Encoding: chunked\r\n" if how.chunked else b""
    if how.keep_alive and version == "1.1":
        return out
    if not how.keep_alive:
        return out + b"Connection: close\r\n"
    return out + b"Connection: keep-alive\r\n"


def lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])


def whole(
    *, method: str, version: str, status: int, headers: Iterable[tuple[str, str]], body: bytes, keep_alive: bool
) -> tuple[bytes, bool]:
    """(all bytes of a small answer, whether the connection can be used again)."""
    how = framing(method=method, version=version, status=status, sized=True, keep_alive=keep_alive)
    # HEAD says the length that GET would have.
    sized = status != 204
    head = status_line(status) + lines(encoded(headers))
    head += (b"Content-Length: %d\r\n" % len(body)) if sized else b""
    head += framing_headers(how, version=version) + b"\r\n"
    return (head if how.bodyless else head + body), how.keep_alive


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def last_chunk(trailers: Headers) -> bytes:
    return LAST_CHUNK if not trailers else b"0\r\n" + lines(trailers) + b"\r\n"


def encoded(headers: Iterable[tuple[str, str]]) -> Headers:
    """Of headers made here. A line break in one would begin another header, so there is none."""
    out = []
    for name, value in headers:
        text = value.replace("\r", " ").replace("\n", " ").replace("\0", " ")
        out.append((name.encode("latin-1"), text.encode("latin-1", errors="replace")))
    return out
