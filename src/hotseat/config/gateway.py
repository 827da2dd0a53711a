"""`gateway` and `keys`: who may come in at the front, and within which limits."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from hotseat.config.base import WHOLE, Model, NonEmpty, Wrong
from hotseat.config.units import Duration, Size

_HASH = re.compile(r"sha256:[0-9a-f]{64}")


class Gateway(Model):
    """The OpenAI-compatible front."""

    host: str = "127.0.0.1"
    """Address to listen on. One that others reach needs `keys`, or `public: true`."""
    port: Annotated[int, Field(ge=0, le=65535), WHOLE] = 8000
    """Port to listen on; 0 takes a free one."""
    public: bool = False
    """Without `keys`: anyone who reaches `host` may use every model, also from other machines."""
    allowed_hosts: list[NonEmpty] = Field(default_factory=list)
    """On loopback without `keys` only requests whose Host is this host's are answered; names that are answered too."""
    keepalive: Duration = 10.0
    """A stream that waits, or whose workload is parked in mid-answer, gets an SSE comment this often."""
    max_silence: Duration = 600.0
    """An engine that sits and says nothing for this long is given up with 504. Time off the GPU does not count."""
    max_body: Size = 64 * 2**20
    """A request body that must be held while its request waits: larger ones are refused with 413."""
    max_held: Size = 2**30
    """All bodies that are held at once, but for those of up to 256 KiB: one more is refused with 503. At least
    `max_body` counts."""
    max_upload: Size = 2**30
    """A request body that streams through (multipart with its `model` in front, or to a seated engine)."""
    max_header: Size = 64 * 2**10
    """Request line and headers together; larger ones are refused with 431."""
    max_connections: Annotated[int, Field(ge=1), WHOLE] = 4096
    """Open client connections at once; one more is answered 503 and closed."""
    slow_client: Duration = 60.0
    """A client that sends a request, or is being answered, and moves less than 1 KiB in this time is cut off."""
    ui: bool = True
    """The page at /ui, which shows who sits and who waits."""
    metrics: bool = True
    """Prometheus metrics at /metrics."""
    upstream: bool = True
    """/upstream/NAME/... passes to NAME's engine as it is, for its own pages."""

    @property
    def loopback(self) -> bool:
        """Only programs on this host reach it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hash(value: str) -> str:
    if not _HASH.fullmatch(value):
        raise Wrong("not a hash", '`hotseat key` makes a key and prints its "sha256:..."')
    return value


class Key(Model):
    """One API key: what its bearer may do. The key itself stands nowhere, only its hash."""

    hash: Annotated[str, AfterValidator(_hash)]
    """"sha256:" and the hex digest of the key, as `hotseat key` prints it."""
    models: Annotated[list[NonEmpty], Field(min_length=1)] = Field(default_factory=lambda: ["*"])
    """Models it may use; `*` and `?` stand for any text and any character."""
    priority: Annotated[int, Field(ge=-100, le=100), WHOLE] = 0
    """Added to the workload's own priority for the requests of this key."""
    max_concurrent: Annotated[int, Field(ge=1), WHOLE] | None = None
    """Requests that it may have waiting or running at once; more are answered 429."""
    admin: bool = False
    """May also park, seat and read everything (the page, metrics, events)."""
