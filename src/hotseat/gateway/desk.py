"""What every request of this gateway works with."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from hotseat.config import Gateway as Settings
from hotseat.gateway.held import Held
from hotseat.gateway.http.limits import Limits
from hotseat.gateway.http.pool import Pool
from hotseat.gateway.keys import KeyRing
from hotseat.gateway.port import OnRequest, RequestSeen, Seats, nobody_counts
from hotseat.gateway.site import Site

_log = logging.getLogger("hotseat.gateway.access")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds."""

    keepalive: float
    max_silence: float


class Desk:
    def __init__(
        self, *, seats: Seats, pool: Pool, keys: KeyRing, site: Site | None, settings: Settings, on_request: OnRequest
    ) -> None:
        self.seats = seats
        self.pool = pool
        self.keys = keys
        self.site = site
        self.on_request = on_request
        self.held = Held()
        self.created = int(time.time())
        self.loopback = True
        """The gateway listens where only programs of this host reach it."""
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        self.settings = settings
        self.patience = Patience(keepalive=settings.keepalive, max_silence=settings.max_silence)
        self.upstream = settings.upstream
        self.held.most = max(settings.max_held, settings.max_body)
        self.allowed_hosts = frozenset(name.lower() for name in settings.allowed_hosts)
        # All watching is by looking now and then, so times are exact to this.
        tick = min(1.0, settings.keepalive, settings.max_silence / 4, settings.slow_client / 4)
        self.limits = Limits(
            max_header=settings.max_header,
            max_body=settings.max_body,
            max_upload=settings.max_upload,
            max_connections=settings.max_connections,
            slow_client=settings.slow_client,
            tick=max(0.005, tick),
        )

    @property
    def counts(self) -> bool:
        """Whether anybody wants to know of requests."""
        return self.on_request is not nobody_counts or _log.isEnabledFor(logging.DEBUG)

    def seen(self, seen: RequestSeen) -> None:
        self.on_request(seen)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "%s %s at %s: %d in %.3f s, waited %.3f s%s",
                seen.dialect,
                seen.model,
                seen.workload or "-",
                seen.status,
                seen.seconds,
                seen.waited or 0.0,
                ", broke off" if seen.broken else "",
            )
