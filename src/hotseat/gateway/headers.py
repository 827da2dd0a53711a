"""Which headers pass through, and ours. Pure. RFC 9110, section 7.6.1."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable

from hotseat.gateway.http.request import Headers

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

REQUEST_ID = "x-request-id"
WAITED = "x-hotseat-waited-ms"
WORKLOAD = "x-hotseat-workload"
SWAPPED = "x-hotseat-swapped"
STATE = "x-hotseat-state"
MODEL = "x-hotseat-model"
"""A request whose body names no model can name it here."""
OURS = frozenset({REQUEST_ID.encode(), WAITED.encode(), WORKLOAD.encode(), SWAPPED.encode(), STATE.encode()})

_TO_ENGINE = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"http2-settings",
    REQUEST_ID.encode(),
    MODEL.encode(),
}
_TO_STREAMING_ENGINE = _TO_ENGINE | {b"accept-encoding"}
"""Comments are put between the events of a stream, so it must come without a content coding."""
_TO_CLIENT = HOP_BY_HOP | OURS | {b"content-length"}
_FRAMING = HOP_BY_HOP | OURS | {b"content-length", b"host", b"content-type", b"content-encoding", b"set-cookie"}
_PLAIN = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close", b""})

_PROCESS = secrets.token_hex(10)
_LAST = [f"{number:03x}" for number in range(0x1000)]
_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


class _Ids:
    """A new one each time. Formats one in 4096: every request needs one."""

    def __init__(self) -> None:
        self._given = 0
        self._front = ""

    def next(self) -> str:
        self._given += 1
        last = self._given & 0xFFF
        if not (last and self._front):
            self._front = f"{_PROCESS}{self._given >> 12:09x}"
        return self._front + _LAST[last]


_ids = _Ids()


def request_id(given: bytes | None) -> str:
    """The client's own if it is harmless, else a new one: unique, and no secret."""
    return given.decode() if given and _ID.fullmatch(given) else _ids.next()


def to_engine(headers: Headers, *, connection: bytes, stream: bool) -> list[bytes]:
    """The lines that go on to an engine. Host, framing and ours are added to them. `connection`: the value of that
    header."""
    drop = _TO_STREAMING_ENGINE if stream else _TO_ENGINE
    if connection not in _PLAIN:
        drop = drop | _nominated(connection)
    return [b"%b: %b\r\n" % pair for pair in headers if pair[0].lower() not in drop]


def to_client(headers: Headers, *, connection: bytes) -> list[bytes]:
    """The lines that go back to a client. Framing and ours are added to them."""
    drop = _TO_CLIENT
    if connection not in _PLAIN:
        drop = drop | _nominated(connection)
    return [b"%b: %b\r\n" % pair for pair in headers if pair[0].lower() not in drop]


def trailers(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Those that may pass: none that frames or routes (RFC 9110, 6.5.1)."""
    return [(name, value) for name, value in fields if name.lower() not in _FRAMING]


def _nominated(connection: bytes) -> frozenset[bytes]:
    return frozenset(token.strip().lower() for token in connection.split(b","))
