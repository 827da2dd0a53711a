"""What the control socket asks of the store: of several processes at once, and of the store as a whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from functools import partial

import numpy as np

from hotseat.errors import HotseatError
from hotseat.store.digest import CHUNK
from hotseat.store.growth import Growth
from hotseat.store.holdings import Holdings
from hotseat.store.port import Held, HeldState, Moved, Status
from hotseat.store.spilling import Spilling
from hotseat.store.steps import Steps
from hotseat.store.turns import STOP_GRACE, Turns
from hotseat.words import ProcessRef


class Service:
    def __init__(self, holdings: Holdings, *, growth: Growth, steps: Steps, spilling: Spilling, starts: int) -> None:
        self._holdings, self._growth = holdings, growth
        self._steps, self._spilling = steps, spilling
        self._starts = starts
        self._turns = Turns(holdings.tenants)

    # What the port asks

    def held(self, refs: Sequence[ProcessRef]) -> dict[ProcessRef, Held]:
        return self._holdings.held(refs)

    def status(self) -> Status:
        book, disk = self._holdings.book, self._holdings.disk
        return Status(
            running=True,
            arena=self._growth.target * CHUNK,
            may_grow=self._growth.reach * CHUNK if self._growth.learned else 0,
            ready=book.ready * CHUNK,
            used=book.used * CHUNK,
            cached=book.cached * CHUNK,
            spill="" if disk is None else str(disk.directory),
            direct=disk is not None and disk.direct,
            disk=0 if disk is None else disk.used(),
            disk_free=0 if disk is None else disk.free(),
            worker=os.getpid(),
            keeper=os.getppid(),
            starts=self._starts,
            processes=self.held(list(self._holdings.tenants)),
            note="; ".join(note for note in (self._steps.note, self._spilling.note) if note),
        )

    async def take(self, refs: Sequence[ProcessRef], deadline: float) -> dict[ProcessRef, Held]:
        ran = [
            ref
            for ref in refs
            if ref in self._holdings.tenants and self._holdings.tenants[ref].state is HeldState.RUNNING
        ]
        try:
            await self._turns.each(refs, deadline, partial(self._steps.take, deadline=deadline))
        except HotseatError as error:
            back = [
                ref
                for ref in ran
                if ref in self._holdings.tenants and self._holdings.tenants[ref].state is HeldState.YIELDED
            ]
            try:
                await self._turns.each(back, STOP_GRACE, self._steps.give)
            except HotseatError as worse:
                error.details["not_given_back"] = worse.message
            error.details["processes"] = self._turns.where(refs)
            raise
        return self.held(refs)

    async def move_out(self, refs: Sequence[ProcessRef], deadline: float) -> Moved:
        return _sum(await self._turns.each(refs, deadline, self._steps.move_out))

    async def move_in(self, refs: Sequence[ProcessRef], deadline: float) -> Moved:
        return _sum(await self._turns.each(refs, deadline, self._steps.move_in))

    async def give(self, refs: Sequence[ProcessRef], deadline: float) -> dict[ProcessRef, Held]:
        await self._turns.each(refs, deadline, self._steps.give)
        return self.held(refs)

    async def localise(self, refs: Sequence[ProcessRef], deadline: float) -> dict[ProcessRef, Held]:
        await self._turns.each(refs, deadline, self._steps.localise)
        return self.held(refs)

    async def spill(self, refs: Sequence[ProcessRef], deadline: float) -> Moved:
        return _sum(await self._turns.each(refs, deadline, self._spilling.spill))

    async def fetch(self, refs: Sequence[ProcessRef], deadline: float) -> Moved:
        return _sum(await self._turns.each(refs, deadline, self._spilling.fetch))

    async def forget(self, ref: ProcessRef, deadline: float) -> None:
        tenant = self._holdings.tenants.get(ref)
        if tenant is not None and tenant.lock.locked() and tenant.agent is not None:
            tenant.agent.close()  # ends what waits for its answer
            async with asyncio.timeout(deadline), tenant.lock:
                self._holdings.free(tenant)
            return
        await self._turns.each([ref], deadline, self._steps.forget)


def _sum(parts: Sequence[Moved]) -> Moved:
    table = np.array([(p.total, p.copied, p.unchanged, p.zero, p.shared, p.disk) for p in parts], dtype=np.int64)
    total, copied, unchanged, zero, shared, disk = (int(n) for n in table.sum(axis=0)) if len(parts) else (0,) * 6
    seconds = max((part.seconds for part in parts), default=0.0)
    return Moved(total=total, copied=copied, unchanged=unchanged, zero=zero, shared=shared, disk=disk, seconds=seconds)
