"""Bringing in ahead: a process that is out and wanted soon comes into memory that is free, or becomes free while
another moves out. It is out until its `move_in`, which takes what has come; nothing of it is in the record or at the
keeper, so that a worker that dies leaves a device without it and the process where it was.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from weakref import WeakSet

from hotseat.store.coming import Ahead, Filled, Patience
from hotseat.store.holdings import Holdings
from hotseat.store.moving import Mover
from hotseat.store.port import HeldState
from hotseat.store.spilling import Spilling
from hotseat.store.tenant import Tenant

LOOK_AGAIN = 0.1
"""Seconds between two looks whether somebody who waits still wants it."""
HANGS = 10.0
"""Seconds after which what was given up, and has not ended, is waited for no more: all others would wait with it."""


class Aheads:
    def __init__(self, holdings: Holdings, *, spilling: Spilling) -> None:
        self._holdings, self._spilling = holdings, spilling
        self._begun = WeakSet[Ahead]()

    def begin(self, tenant: Tenant, mover: Mover, *, leave: Mapping[str, int], deadline: float) -> None:
        """`leave`: bytes by device UUID that stay free. It is given up after `deadline` seconds. One that cannot come
        now is left as it is."""
        busy = tenant.lock.locked() or tenant.ahead is not None
        if busy or tenant.gone or tenant.custom or tenant.state is not HeldState.OUT:
            return
        patience, stop = Patience(mover.shortage, leave), threading.Event()
        task = asyncio.ensure_future(self._bring(tenant, mover, stop, patience))
        tenant.ahead = ahead = Ahead(patience, task, stop)
        self._begun.add(ahead)
        asyncio.get_running_loop().call_later(deadline, self._expire, tenant, ahead)

    async def _bring(self, tenant: Tenant, mover: Mover, stop: threading.Event, patience: Patience) -> Filled:
        assert tenant.slots is not None
        shares = tenant.shares()
        # A thread of its own: it may wait for long, and whoever makes its room needs one of those that all share.
        own = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        try:
            async with self._spilling.coming_in(tenant.slots) as (slots, stream):
                fill = partial(mover.fill, shares, slots, stop, stream=stream, patience=patience)
                return await asyncio.get_running_loop().run_in_executor(own, fill)
        finally:
            own.shutdown(wait=False)

    async def taken(self, tenant: Tenant, stop: threading.Event) -> Filled | None:
        """What has come of it, and the rest; None where nothing has, or that failed."""
        if tenant.ahead is None:
            return None
        ahead, tenant.ahead = tenant.ahead, None
        ahead.patience.hurry.set()
        ahead.patience.shortage.freed()
        while not (await asyncio.wait([ahead.task], timeout=LOOK_AGAIN))[0]:
            if stop.is_set():
                ahead.stop.set()
        return None if ahead.task.cancelled() or ahead.task.exception() is not None else ahead.task.result()

    def claim(self, tenant: Tenant, *, seconds: float) -> None:
        if tenant.ahead is not None:
            tenant.ahead.claimed_until = time.monotonic() + seconds

    async def make_way(self, *, but: Collection[Tenant] = (), stop: threading.Event | None = None) -> None:
        """What has come of all without a claim is given up, and free when this returns, unless `stop` is set first or
        the driver hangs; also what others gave up before."""
        for tenant in self._holdings.tenants.values():
            if tenant not in but and tenant.ahead is not None and not tenant.ahead.claimed:
                self._give_up(tenant)
        while (going := self._going()) and not (stop is not None and stop.is_set()):
            await asyncio.wait(going, timeout=LOOK_AGAIN)

    def _going(self) -> set[asyncio.Future[None]]:
        since = time.monotonic() - HANGS
        return {one.over for one in self._begun if one.over is not None and not one.over.done() and one.ends > since}

    async def end(self, tenant: Tenant) -> None:
        """Claimed or not."""
        if (over := self._give_up(tenant)) is not None:
            await asyncio.wait([over])

    def _give_up(self, tenant: Tenant) -> asyncio.Future[None] | None:
        ahead, tenant.ahead = tenant.ahead, None
        return None if ahead is None else ahead.give_up()

    def _expire(self, tenant: Tenant, ahead: Ahead) -> None:
        if tenant.ahead is not ahead:
            return
        if ahead.claimed:
            left = ahead.claimed_until - time.monotonic()
            asyncio.get_running_loop().call_later(left, self._expire, tenant, ahead)
            return
        self._give_up(tenant)
