"""Work on several processes at once, one piece of work a process at a time, each with a deadline."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from hotseat.errors import Busy, DriverTimeout, HotseatError, NotFound
from hotseat.store.port import Moved
from hotseat.store.tenant import Tenant
from hotseat.words import ProcessRef

STOP_GRACE = 2.0
"""Seconds a copy that was told to stop is waited for; it looks after every batch."""
Work = Callable[[Tenant, threading.Event], Awaitable[Moved]]


class Turns:
    """Of `tenants`, which others change."""

    def __init__(self, tenants: Mapping[ProcessRef, Tenant]) -> None:
        self._tenants = tenants
        self._tasks: set[asyncio.Task[Moved]] = set()

    async def each(self, refs: Sequence[ProcessRef], deadline: float, work: Work) -> list[Moved]:
        """`work` on all at once. The first error in the order of `refs`, once all have ended."""
        missing = [ref for ref in refs if ref not in self._tenants]
        if missing:
            raise NotFound(
                f"the store does not hold process {missing[0].pid}",
                hint="it takes the driver's path: it has no interposer, or it ended",
                processes=self.where(refs),
            )
        results = await asyncio.gather(
            *(self._one(self._tenants[ref], deadline, work) for ref in dict.fromkeys(refs)), return_exceptions=True
        )
        for result in results:
            if isinstance(result, HotseatError):
                result.details["processes"] = self.where(refs)
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if isinstance(result, Moved)]

    async def _one(self, tenant: Tenant, deadline: float, work: Work) -> Moved:
        """Past its deadline the work is told to stop. What cannot stop goes on, and the process is busy until it ends:
        it never loses track of memory because somebody was in a hurry."""
        if tenant.lock.locked():
            raise Busy(f"the store works on process {tenant.ref.pid} already", hint="wait for it, then ask again")
        stop, began = threading.Event(), time.monotonic()
        task = asyncio.get_running_loop().create_task(self._locked(tenant, work, stop))
        self._tasks.add(task)
        task.add_done_callback(self._forget_task)
        if not (await asyncio.wait([task], timeout=deadline))[0]:
            stop.set()
            if not (await asyncio.wait([task], timeout=STOP_GRACE))[0]:
                raise DriverTimeout(
                    f"process {tenant.ref.pid} was not done within {deadline:g} s and goes on",
                    hint="its device is busy or the driver hangs: `held` says where it is",
                )
        return replace(task.result(), seconds=time.monotonic() - began)

    def _forget_task(self, task: asyncio.Task[Moved]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen, where nobody waits for it any more

    async def _locked(self, tenant: Tenant, work: Work, stop: threading.Event) -> Moved:
        async with tenant.lock:
            tenant.parts = {}
            return await work(tenant, stop)

    def where(self, refs: Sequence[ProcessRef]) -> list[tuple[int, int, str]]:
        return [(*ref, str(self._tenants[ref].state) if ref in self._tenants else "unknown") for ref in refs]
