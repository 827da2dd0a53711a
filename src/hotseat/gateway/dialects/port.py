"""What the gateway asks of a dialect. An implementation is pure and has no state.

Where a form or a query names the model is the same in all: `multipart.Reader`, `naming.from_query`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from hotseat.errors import HotseatError
from hotseat.gateway.dialects.naming import Named
from hotseat.gateway.port import ModelView
from hotseat.gateway.site import Reply

Header = Callable[[str], str | None]
"""The value of a request's header, by its lower-case name."""

SSE = "text/event-stream"
SSE_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")
"""How a server-sent event ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request for a page that the gateway answers by itself."""

    models: Sequence[ModelView]
    """Those that the caller may use."""
    body: bytes = b""
    created: int
    """When this gateway started, in seconds since 1970."""


Page = Callable[[Asked], Reply]
"""May raise `HotseatError`."""


class Dialect(Protocol):
    @property
    def name(self) -> str:
        """As `RequestSeen.dialect` has it."""
        ...

    @property
    def stream_type(self) -> str:
        """Content type of its streams. An answer of another type is no stream of events: nothing is put into it."""
        ...

    @property
    def event_ends(self) -> tuple[bytes, ...]:
        """The last bytes (at most four) of a complete event. Only after them something may be put into a stream."""
        ...

    @property
    def id_header(self) -> str:
        """Where its clients look for the id of a request that failed. x-request-id is always sent."""
        ...

    @property
    def mend(self) -> bytes:
        """What ends an event that broke off in its middle, so that an error can follow."""
        ...

    def owns(self, path: str, header: Header) -> bool:
        """Whether the request is in this dialect, served or not: then its errors are too. `path` is decoded."""
        ...

    def page(self, method: str, path: str) -> Page | None:
        """What the gateway answers by itself, such as its list of models. HEAD is asked as GET."""
        ...

    def serves(self, method: str, path: str) -> bool:
        """Whether that is passed to an engine; if not it is answered 405. Asked where `page` has none."""
        ...

    def of_json(self, body: bytes) -> Named:
        """What a whole JSON body says. `UsageError` says what is wrong with it."""
        ...

    def streams(self, named: Named) -> bool:
        """Whether the answer will be a stream; where the request does not say, this API's own default."""
        ...

    def resolve(self, model: str, known: Callable[[str], bool]) -> str:
        """The name under which the model is known, where this dialect has several for one; else its own."""
        ...

    def error_body(self, error: HotseatError, *, status: int, request_id: str) -> bytes:
        """JSON."""
        ...

    def error_event(self, error: HotseatError, *, path: str, request_id: str) -> bytes:
        """The same inside a stream that has begun, with all that must end such a stream."""
        ...

    def keepalive(self, text: str) -> bytes:
        """A complete event that readers of the stream skip; b"": there is none, so its streams wait in silence."""
        ...
