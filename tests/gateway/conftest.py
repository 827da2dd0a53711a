from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from gateway_stage import Stage

from hotseat.config import Gateway as Settings
from hotseat.gateway import Gateway
from hotseat.gateway.keys import KeyRing
from hotseat.gateway.port import OnRequest, nobody_counts
from hotseat.gateway.site import Site
from hotseat.testing.engine import FakeEngine
from hotseat.testing.seats import FakeSeats


@pytest.fixture
async def make_stage() -> AsyncIterator[Callable[..., Awaitable[Stage]]]:
    closing: list[Callable[[], Awaitable[None]]] = []

    async def make(
        *,
        site: Site | None = None,
        keys: KeyRing | None = None,
        on_request: OnRequest = nobody_counts,
        **options: float,
    ) -> Stage:
        engine = FakeEngine()
        await engine.start()
        seats = FakeSeats({"m": engine.url})
        settings = Settings.model_construct(**options)  # type: ignore[arg-type]
        gateway = Gateway(seats, settings, site=site, keys=keys, on_request=on_request)
        host, port = await gateway.start(host="127.0.0.1", port=0)
        client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20), auto_decompress=False)
        closing.extend([client.close, gateway.aclose, engine.stop])
        return Stage(client=client, url=f"http://{host}:{port}", engine=engine, seats=seats, port=port, gateway=gateway)

    yield make
    for close in closing:
        await close()


@pytest.fixture
async def stage(make_stage: Callable[..., Awaitable[Stage]]) -> Stage:
    return await make_stage()
