"""The gateway: listens, serves, stops."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import cast

from hotseat.config import Gateway as Settings
from hotseat.errors import UsageError
from hotseat.gateway.desk import Desk
from hotseat.gateway.front import FrontDesk
from hotseat.gateway.http.client import Client
from hotseat.gateway.http.limits import Register
from hotseat.gateway.http.pool import Pool
from hotseat.gateway.keys import KeyRing
from hotseat.gateway.port import OnRequest, Seats, nobody_counts
from hotseat.gateway.site import Site

BACKLOG = 1024


class Gateway:
    """`settings`: see docs/configuration.md; `host`, `port` and `public` are for whoever calls `start`."""

    def __init__(
        self,
        seats: Seats,
        settings: Settings | None = None,
        *,
        keys: KeyRing | None = None,
        site: Site | None = None,
        on_request: OnRequest = nobody_counts,
    ) -> None:
        self._desk = Desk(
            seats=seats,
            pool=Pool(),
            keys=KeyRing() if keys is None else keys,
            site=site,
            settings=settings or Settings(),
            on_request=on_request,
        )
        self._register: Register | None = None
        self._server: asyncio.Server | None = None

    @property
    def settings(self) -> Settings:
        return self._desk.settings

    @property
    def held_bytes(self) -> int:
        """Of bodies of requests, in memory."""
        return self._desk.held.bytes

    def configure(self, settings: Settings) -> None:
        """These count for every request from now on; those under way keep what they began with."""
        self._desk.configure(settings)
        if self._register is not None:
            self._register.configure(self._desk.limits)

    async def start(self, *, host: str, port: int) -> tuple[str, int]:
        """Listen. Returns the address that was taken (port 0 takes a free one). `UsageError` if it cannot be had."""
        loop = asyncio.get_running_loop()
        register = Register(self._desk.limits)
        front = FrontDesk(self._desk)
        try:
            self._server = await loop.create_server(
                lambda: cast(asyncio.Protocol, Client(front, register)), host, port, reuse_address=True, backlog=BACKLOG
            )
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                hint="another program has this port, or the address is not this host's; change gateway.host or .port",
            ) from error
        self._register = register
        register.also.append(self._desk.pool.tick)
        register.start()
        address = self._server.sockets[0].getsockname()
        self._desk.loopback = ipaddress.ip_address(address[0]).is_loopback
        return address[0], address[1]

    async def stop_listening(self) -> None:
        """No new connections and no new requests on those there are; requests in flight go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._register is not None:
            for connection in self._register.all:
                connection.last_request()

    async def aclose(self) -> None:
        """Ends what is still in flight."""
        await self.stop_listening()
        register, self._register = self._register, None
        if register is not None:
            register.stop()
            for connection in register.all:
                connection.cut()
        await self._desk.pool.aclose()
