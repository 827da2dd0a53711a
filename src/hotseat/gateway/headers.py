"""Which headers pass through, and ours. Pure. RFC 9110, section 7.6.1."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

REQUEST_ID = "x-request-id"
WAITED = "x-hotseat-waited-ms"
WORKLOAD = "x-hotseat-workload"
SWAPPED = "x-hotseat-swapped"
OURS = frozenset({REQUEST_ID, WAITED, WORKLOAD, SWAPPED})

_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def request_id(given: str | None) -> str:
    """The client's own if it is harmless, else a new one."""
    return given if given and _ID.fullmatch(given) else uuid.uuid4().hex


def to_engine(headers: Iterable[tuple[str, str]], *, request_id: str, stream: bool) -> list[tuple[str, str]]:
    """What goes on to the engine. The relay adds Host and Content-Length."""
    drop = {"host", "content-length", "expect", REQUEST_ID}
    # The server has taken a content coding off the body; and comments are put between the events of a stream, so it
    # must come without one.
    drop |= {"content-encoding", *(("accept-encoding",) if stream else ())}
    return [*_end_to_end(headers, drop), (REQUEST_ID, request_id)]


def to_client(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """What goes back to the client, without ours."""
    return _end_to_end(headers, OURS)


def _end_to_end(headers: Iterable[tuple[str, str]], drop: Iterable[str]) -> list[tuple[str, str]]:
    pairs = list(headers)
    named = {
        token.strip().lower() for name, value in pairs if name.lower() == "connection" for token in value.split(",")
    }
    gone = HOP_BY_HOP | named | set(drop)
    return [(name, value) for name, value in pairs if name.lower() not in gone]
