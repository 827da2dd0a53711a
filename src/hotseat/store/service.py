"""What the control socket asks of the store: of several processes at once, and of the store as a whole."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import numpy as np

from hotseat.errors import HotseatError, Refused
from hotseat.store.coming import lost_ahead
from hotseat.store.custom import gone
from hotseat.store.customs import Customs
from hotseat.store.digest import CHUNK
from hotseat.store.growth import Growth
from hotseat.store.holdings import Holdings
from hotseat.store.port import Held, HeldState, Moved, Status
from hotseat.store.spilling import Spilling
from hotseat.store.steps import Steps
from hotseat.store.tenant import Tenant
from hotseat.store.turns import STOP_GRACE, Turns
from hotseat.words import ProcessRef


class Service:
    def __init__(
        self,
        holdings: Holdings,
        *,
        growth: Growth,
        steps: Steps,
        customs: Customs,
        spilling: Spilling,
        meet: Callable[[ProcessRef], Tenant | None],
        starts: int,
    ) -> None:
        """`meet`: the tenant of a process that lives, a new one where it is not known yet."""
        self._holdings, self._growth = holdings, growth
        self._steps, self._spilling, self._customs = steps, spilling, customs
        self._meet = meet
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
            custom_storage=self._customs.works,
            no_custom_storage=self._customs.why,
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

    async def move_in(self, refs: Sequence[ProcessRef], deadline: float, *, ahead: Mapping[str, int]) -> Moved:
        there = {ref: one.ahead_bytes for ref, one in self.held(refs).items() if ahead and one.ahead_bytes}
        if any(sum(one.get(uuid, 0) for one in there.values()) < nbytes for uuid, nbytes in ahead.items()):
            raise lost_ahead(refs[0].pid)

        async def one(tenant: Tenant, stop: threading.Event) -> Moved:
            return await self._steps.move_in(tenant, stop, counted=tenant.ref in there)

        return _sum(await self._turns.each(refs, deadline, one))

    async def ahead(self, refs: Sequence[ProcessRef], deadline: float, *, leave: Mapping[str, int]) -> None:
        """Whoever cannot come now is left as it is."""
        mover = self._steps.working()
        for ref in refs:
            if (tenant := self._holdings.tenants.get(ref)) is not None:
                self._steps.aheads.begin(tenant, mover, leave=leave, deadline=deadline)

    async def claim(self, refs: Sequence[ProcessRef], deadline: float, *, alone: bool) -> dict[ProcessRef, Held]:
        aheads, mine = self._steps.aheads, [one for ref, one in self._holdings.tenants.items() if ref in refs]
        for tenant in mine:
            aheads.claim(tenant, seconds=deadline)
        if alone:
            await aheads.make_way(but=mine)
        return self.held(refs)

    async def give(self, refs: Sequence[ProcessRef], deadline: float) -> dict[ProcessRef, Held]:
        await self._turns.each(refs, deadline, self._steps.give)
        return self.held(refs)

    async def admit(self, wanted: Mapping[ProcessRef, Mapping[str, int]], deadline: float) -> None:
        """All of them or none."""
        self._customs.working()
        for ref in wanted:
            tenant = self._meet(ref)
            if tenant is None:
                raise gone(ref.pid)
            if not tenant.custom and (tenant.agent is not None or tenant.pieces):
                raise Refused(f"process {ref.pid} is interposed", rule="store", hint="take it")
            tenant.custom = True

        async def one(tenant: Tenant, stop: threading.Event) -> Moved:
            return await self._customs.admit(tenant, wanted[tenant.ref], stop)

        try:
            await self._turns.each(list(wanted), deadline, one)
        except HotseatError:
            with suppress(HotseatError):  # one that is still at it keeps nothing in the end
                await self.dismiss(list(wanted), STOP_GRACE)
            raise

    async def dismiss(self, refs: Sequence[ProcessRef], deadline: float) -> None:
        known = [ref for ref in refs if ref in self._holdings.tenants]
        await self._turns.each(known, deadline, self._customs.dismiss)

    async def checkpoint(self, refs: Sequence[ProcessRef], deadline: float) -> Moved:
        return _sum(await self._turns.each(refs, deadline, self._customs.checkpoint))

    async def restore(self, refs: Sequence[ProcessRef], deadline: float) -> Moved:
        return _sum(await self._turns.each(refs, deadline, self._customs.restore))

    async def localise(self, refs: Sequence[ProcessRef], deadline: float) -> dict[ProcessRef, Held]:
        await self._turns.each(refs, deadline, self._steps.localise)
        return self.held(refs)

    async def spill(self, refs: Sequence[ProcessRef], deadline: float) -> Moved:
        async def one(tenant: Tenant, stop: threading.Event) -> Moved:
            await self._steps.aheads.end(tenant)
            return await self._spilling.spill(tenant, stop)

        return _sum(await self._turns.each(refs, deadline, one))

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
