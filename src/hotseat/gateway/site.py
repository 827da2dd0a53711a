"""Pages that the gateway serves beside inference (/ui, /metrics, /events): a contract that knows no HTTP server.

The gateway finds a handler before anything else, reads the (small) body, says whether the caller is an admin, and
writes what comes back. A handler raises `HotseatError`s; the gateway turns them into JSON in OpenAI's shape.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """A request for a page."""

    method: str
    path: str
    """Decoded, without the query."""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case names; the last of several."""
    body: bytes = b""
    """At most 64 KiB: it is read before it is known who asks."""
    admin: bool = False
    """Bearer of an admin key; or there are no keys, the gateway listens on loopback only, and the request's Host and
    Origin are of this host (so that no web page elsewhere can use the browser of who sits here)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | AsyncIterator[bytes] = b""
    """An iterator streams (SSE); it is closed when the client leaves."""


Handler = Callable[[Inquiry], Awaitable[Reply]]


class Site(Protocol):
    def find(self, method: str, path: str) -> Handler | None:
        """The handler of that page, or None: then the path is not this site's."""
        ...


class Sites:
    """Several as one: the first that has a page has it."""

    def __init__(self, *sites: Site) -> None:
        self._sites = sites

    def replace(self, *sites: Site) -> None:
        """From the next request on."""
        self._sites = sites

    def find(self, method: str, path: str) -> Handler | None:
        for site in self._sites:
            if (handler := site.find(method, path)) is not None:
                return handler
        return None
