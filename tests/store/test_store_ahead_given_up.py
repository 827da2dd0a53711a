"""What comes ahead waits in nobody's way, and whoever is told that it made way can count on that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from typing import Any, cast

import numpy as np
import pytest

from hotseat.errors import DriverTimeout
from hotseat.store import aheads
from hotseat.store.aheads import Aheads
from hotseat.store.arena import Arena
from hotseat.store.book import Slots
from hotseat.store.coming import Filled, Patience
from hotseat.store.device import Device
from hotseat.store.filling import filled
from hotseat.store.holdings import Holdings
from hotseat.store.moving import Mover
from hotseat.store.port import HeldState
from hotseat.store.shortage import Shortage
from hotseat.store.spilling import Spilling
from hotseat.store.tenant import Piece, Share, Tenant
from hotseat.store.wire import GRANULE, Block
from hotseat.words import ProcessRef

WITHIN = 30.0


class Slow:
    """A mover whose fills wait for memory that never comes, and let go of what they have once they are `released`.
    `begun` once there are `count` of them."""

    def __init__(self, count: int) -> None:
        self.shortage, self.released, self.begun = Shortage(), threading.Event(), asyncio.Event()
        self._loop, self._barrier = asyncio.get_running_loop(), threading.Barrier(count, action=self._all_there)

    def _all_there(self) -> None:
        self._loop.call_soon_threadsafe(self.begun.set)

    def fill(
        self, shares: object, slots: object, stop: threading.Event, *, stream: object, patience: Patience
    ) -> Filled:
        self._barrier.wait(WITHIN)
        assert stop.wait(WITHIN)
        assert self.released.wait(WITHIN)
        raise DriverTimeout("no room in time", hint="")


class Reading:
    @asynccontextmanager
    async def coming_in(self, slots: Slots) -> AsyncIterator[tuple[Slots, None]]:
        yield slots, None


class Some:
    def __init__(self, count: int) -> None:
        self.tenants = dict(map(_parked, range(count)))
        self.mover = Slow(count)
        self.aheads = Aheads(cast(Holdings, self), spilling=cast(Spilling, Reading()))

    async def begin(self) -> None:
        for tenant in self.tenants.values():
            self.aheads.begin(tenant, cast(Mover, self.mover), leave={}, deadline=WITHIN)
        async with asyncio.timeout(WITHIN):
            await self.mover.begun.wait()


def _parked(pid: int) -> tuple[ProcessRef, Tenant]:
    ref = ProcessRef(pid, 1)
    return ref, Tenant(ref, -1, state=HeldState.OUT, slots=np.empty(0, dtype=np.int32))


async def test_however_many_wait_for_memory_the_threads_that_make_it_are_free() -> None:
    """As many processes as one workload has on several devices, on a host with few cores."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    some = Some(4)
    try:
        await some.begin()
        async with asyncio.timeout(WITHIN):
            assert await asyncio.to_thread(lambda: True)
    finally:
        some.mover.released.set()
        await some.aheads.make_way()


@pytest.mark.parametrize("how", ["make way", "end", "expire"])
async def test_who_makes_way_for_two_is_gone_for_both(how: str) -> None:
    some = Some(1)
    await some.begin()
    (tenant,) = some.tenants.values()
    ahead = tenant.ahead
    assert ahead is not None
    first = {"make way": some.aheads.make_way, "end": lambda: some.aheads.end(tenant)}.get(how)
    going: list[asyncio.Future[Any]] = [asyncio.ensure_future(first())] if first is not None else []
    if first is None:
        some.aheads._expire(tenant, ahead)
    await asyncio.sleep(0)
    assert ahead.stop.is_set()
    going.append(asyncio.ensure_future(some.aheads.make_way()))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(one.done() for one in going), "its memory is not free yet"
    some.mover.released.set()
    async with asyncio.timeout(WITHIN):
        await asyncio.gather(*going)
    assert ahead.task.done()


async def test_one_that_hangs_in_the_driver_does_not_hold_up_all_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aheads, "HANGS", 0.0)
    some = Some(1)
    await some.begin()
    (tenant,) = some.tenants.values()
    ahead = tenant.ahead
    assert ahead is not None
    async with asyncio.timeout(WITHIN):
        await some.aheads.make_way()
    assert ahead.stop.is_set()
    assert not ahead.task.done()
    some.mover.released.set()
    await asyncio.wait([ahead.give_up()])


class Counted:
    """A device that has memory."""

    name, uuid = "GPU-0", bytes(16)

    def __init__(self) -> None:
        self.made = 0

    def enter(self) -> None: ...

    def create(self, nbytes: int) -> int:
        self.made += 1
        return self.made

    def copies(self, **how: object) -> ExitStack:
        return ExitStack()


def test_what_is_given_up_takes_no_more_memory() -> None:
    device, stop = Counted(), threading.Event()
    share = Share(device.uuid, [Piece(Block(1, 0, GRANULE, device.uuid, True))], 0, 1)
    stop.set()
    with pytest.raises(DriverTimeout, match="not filled in time"):
        filled(
            cast(Device, device),
            share,
            np.zeros(1, dtype=np.int32),
            arena=cast(Arena, type("At", (), {"address": 0})),
            stop=stop,
            stream=None,
            patience=Patience(Shortage()),
        )
    assert device.made == 0
