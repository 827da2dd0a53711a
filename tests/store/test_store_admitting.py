"""Room that is asked for in vain: who asks hears why, and nothing stays kept free for nobody."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotseat.errors import DriverTimeout
from hotseat.gpu.procfs import start_time
from hotseat.store import service, turns
from hotseat.store.book import Book
from hotseat.store.customs import Customs
from hotseat.store.digest import CHUNK
from hotseat.store.holdings import Holdings
from hotseat.store.service import Service
from hotseat.store.tenant import Tenant
from hotseat.words import ProcessRef

GPU = "GPU-00000000-0000-0000-0000-000000000000"
WITHIN = 30.0


class Bench:
    """A store whose arena grows when the test says so."""

    def __init__(self) -> None:
        nothing = cast(Any, SimpleNamespace())
        self.grown = asyncio.Event()
        self.holdings = Holdings(book=Book(4, ready=4), keeping=nothing, record=nothing)
        self.ref = ProcessRef(os.getpid(), start_time(os.getpid()) or 0)
        self.tenant = self.holdings.tenants[self.ref] = Tenant(self.ref, os.pidfd_open(os.getpid()))
        customs = Customs(
            self.holdings,
            steps=cast(Any, self),
            spilling=nothing,
            devices=cast(Any, SimpleNamespace(get=lambda uuid: None)),
            storage=nothing,
            why="",
            uncertain=lambda: None,
        )
        self.service = Service(
            self.holdings,
            growth=nothing,
            steps=nothing,
            customs=customs,
            spilling=nothing,
            meet=self.holdings.tenants.get,
            starts=0,
        )

    async def room(self, chunks: int, *, but: int = 0) -> None:
        await self.grown.wait()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    os.close(bench.tenant.pidfd)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "STOP_GRACE", 0.01)
    monkeypatch.setattr(service, "STOP_GRACE", 0.01)


async def test_an_arena_that_grows_too_slowly_is_told_as_that_and_keeps_nothing_free_later(bench: Bench) -> None:
    with pytest.raises(DriverTimeout):
        await bench.service.admit({bench.ref: {GPU: 2 * CHUNK}}, deadline=0.01)
    bench.grown.set()
    async with asyncio.timeout(WITHIN), bench.tenant.lock:
        pass  # what went on has ended
    assert (bench.tenant.promised, bench.holdings.book.promised) == (0, 0)
