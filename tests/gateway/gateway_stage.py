"""A gateway between a client and a fake engine, for the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp

from hotseat.gateway import Gateway
from hotseat.testing.engine import FakeEngine
from hotseat.testing.seats import FakeSeats


@dataclass
class Stage:
    """A client, a gateway, a fake engine behind it."""

    client: aiohttp.ClientSession
    url: str
    engine: FakeEngine
    seats: FakeSeats
    port: int
    gateway: Gateway

    def post(self, path: str = "/v1/chat/completions", **body: object) -> aiohttp.client._RequestContextManager:
        return self.client.post(self.url + path, json={"model": "m", **body})
