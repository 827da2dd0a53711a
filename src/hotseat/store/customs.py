"""The steps of a process without the interposer, by custom storage: room beforehand, out with its checkpoint, back in.

As in `steps`, on the event loop, with what blocks in threads. The driver maps the memory of a locked process here, and
nothing leads back from there but the end of the copies; so room is made sure of before, what fails in the middle keeps
the mapping for another try, and what has lost it says so.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from hotseat.errors import DriverFailed, DriverTimeout, HotseatError, NoRoom, ProcessGone, Refused
from hotseat.store.book import ZERO
from hotseat.store.custom import CustomStorage, Operation, alive, gone, traceable
from hotseat.store.device import Devices, device_name, device_uuid
from hotseat.store.digest import CHUNK
from hotseat.store.holdings import Holdings
from hotseat.store.lent import pieces_of
from hotseat.store.port import HeldState, Moved
from hotseat.store.spilling import Spilling
from hotseat.store.steps import Steps
from hotseat.store.tenant import Tenant
from hotseat.words import ProcessState

LOOK_AGAIN = 0.1
"""Seconds between two looks whether the arena has room."""
DYING = 1.0
"""Seconds that a process which the driver calls gone may take to be gone."""


class Customs:
    """`storage` None: there is none, and `why`. `uncertain` is called when memory may stay mapped here for good, which
    only the end of this process is sure to end."""

    def __init__(
        self,
        holdings: Holdings,
        *,
        steps: Steps,
        spilling: Spilling,
        devices: Devices | None,
        storage: CustomStorage | None,
        why: str,
        uncertain: Callable[[], None],
    ) -> None:
        self.why = why
        self._holdings, self._steps, self._spilling = holdings, steps, spilling
        self._devices, self._storage, self._uncertain = devices, storage, uncertain
        holdings.end_operation = self._drop

    @property
    def works(self) -> bool:
        return self._storage is not None

    async def admit(self, tenant: Tenant, wanted: Mapping[str, int], stop: threading.Event) -> Moved:
        """`wanted`: bytes by device UUID."""
        storage = self.working()
        await self._perhaps_back(storage, tenant)
        if tenant.state is not HeldState.RUNNING:
            raise Refused(f"process {tenant.ref.pid} is {tenant.state}, not running", rule="store")
        if not traceable(tenant.ref.pid):
            raise Refused(
                f"the store may not trace process {tenant.ref.pid}, and so not have its memory mapped",
                rule="custom storage",
                hint="run the store as root, with CAP_SYS_PTRACE, or without custom storage",
            )
        for name in wanted:
            assert self._devices is not None
            await asyncio.to_thread(self._devices.get, device_uuid(name))
        chunks = sum(-(-nbytes // CHUNK) for nbytes in wanted.values())
        await self._steps.room(chunks, but=tenant.promised)
        before = tenant.promised
        self._holdings.withdraw(tenant)
        if stop.is_set():  # whoever asked was told that there is none, and will not come
            raise DriverTimeout(
                f"the arena has no room for process {tenant.ref.pid} yet: it still grows", hint="try again"
            )
        try:
            self._holdings.book.promise(chunks)
        except NoRoom:
            with suppress(NoRoom):
                self._holdings.book.promise(before)
                tenant.promised = before
            raise
        tenant.promised = chunks
        return Moved()

    async def open_devices(self) -> None:
        """Of those that a worker before this one left out: what it takes of a device shall be seen there before anybody
        reckons with the rest. One that has no room for it now may have it once they come back."""
        for tenant in list(self._holdings.tenants.values()):
            if tenant.custom and self._storage is not None:
                with suppress(HotseatError):
                    await self._open(tenant)

    async def dismiss(self, tenant: Tenant, stop: threading.Event) -> Moved:
        if tenant.custom and self._storage is not None:
            await self._perhaps_back(self._storage, tenant)
        if tenant.custom and tenant.state is HeldState.RUNNING:
            self._holdings.withdraw(tenant)
        return Moved()

    async def checkpoint(self, tenant: Tenant, stop: threading.Event) -> Moved:
        storage, done = self.working(), Moved()
        self._expect_custom(tenant)
        if tenant.operation is None:
            state = await self._state(storage, tenant)
            if tenant.state is HeldState.OUT and state is ProcessState.CHECKPOINTED:
                return done
            self._expect_whole(tenant, state, ProcessState.LOCKED, before=ProcessState.CHECKPOINTING)
            self._came_back(tenant)  # or we would know: a worker before this one died as it did
            with tenant.part("map"):
                tenant.operation = await asyncio.to_thread(storage.checkpoint, tenant.ref.pid, tenant.pidfd)
            tenant.state, tenant.pieces = HeldState.YIELDED, pieces_of(tenant.operation)
            tenant.sort()
        if tenant.slots is None:
            done = await self._keep(tenant, stop)
        await self._complete(storage, tenant, ProcessState.CHECKPOINTED)
        tenant.state = HeldState.OUT
        return done

    async def _keep(self, tenant: Tenant, stop: threading.Event) -> Moved:
        """More room than was made sure of is waited for, until the deadline."""
        while True:
            try:
                return await self._steps.keep(tenant, stop)
            except NoRoom:
                if tenant.plan is not None:
                    self._holdings.unplan(tenant)
                if stop.is_set():
                    raise
                await asyncio.sleep(LOOK_AGAIN)

    async def restore(self, tenant: Tenant, stop: threading.Event) -> Moved:
        storage = self.working()
        self._expect_custom(tenant)
        if tenant.operation is None:
            state = await self._state(storage, tenant)
            if state in (ProcessState.LOCKED, ProcessState.RUNNING):
                self._came_back(tenant)
                return Moved()
            self._expect_whole(tenant, state, ProcessState.CHECKPOINTED, before=ProcessState.RESTORING)
            self._steps.expect(tenant, HeldState.OUT)
            await self._open(tenant)
            with tenant.part("map"):
                operation = await asyncio.to_thread(storage.restore, tenant.ref.pid, tenant.pidfd)
            tenant.state, tenant.operation = HeldState.YIELDED, operation
        elif tenant.slots is None:
            raise Refused(f"process {tenant.ref.pid} is on its way out", rule="store", hint="finish its checkpoint")
        self._expect_layout(tenant, tenant.operation)
        assert tenant.slots is not None
        async with self._spilling.coming_in(tenant.slots) as (slots, stream):
            with tenant.part("fill"):
                refill = self._steps.working().refill
                await asyncio.to_thread(refill, tenant.operation, tenant.shares(), slots, stop, stream)
        zero = int((tenant.slots == ZERO).sum()) * CHUNK
        total = tenant.bytes
        await self._complete(storage, tenant, ProcessState.LOCKED)
        self._came_back(tenant)
        return Moved(total=total, copied=total - zero, zero=zero)

    def working(self) -> CustomStorage:
        if self._storage is None:
            raise Refused(
                f"this store does not move processes without the interposer: {self.why}",
                rule="custom storage",
                hint="docs/store.md tells what it needs",
            )
        return self._storage

    # Within

    async def _open(self, tenant: Tenant) -> None:
        """The devices that its memory came from: the driver maps it only where there is a context. What fails has
        touched nothing of it."""
        assert self._devices is not None
        for uuid in dict.fromkeys(piece.block.uuid for piece in tenant.pieces):
            try:
                await asyncio.to_thread(self._devices.get, uuid)
            except DriverFailed as error:
                raise NoRoom(
                    f"the store could not open {device_name(uuid)} for process {tenant.ref.pid}: {error.message}",
                    rule="device memory",
                    hint=error.hint,
                    device=device_name(uuid),
                ) from error

    async def _state(self, storage: CustomStorage, tenant: Tenant) -> ProcessState:
        return await asyncio.to_thread(storage.state, tenant.ref.pid, tenant.pidfd)

    def _expect_custom(self, tenant: Tenant) -> None:
        if tenant.gone:
            raise gone(tenant.ref.pid)
        if not tenant.custom:
            raise Refused(f"process {tenant.ref.pid} is interposed", rule="store", hint="take it, and move it out")

    def _expect_whole(self, tenant: Tenant, state: ProcessState, wanted: ProcessState, *, before: ProcessState) -> None:
        """`before`: the state in which it is stuck whose memory was mapped in a worker that died."""
        if state is before and tenant.state is not HeldState.LOST:
            self._lose(tenant, f"the store's worker died while its memory was mapped there, and it stays {state.name}")
        if tenant.state is HeldState.LOST or state is not wanted:
            why = f": {tenant.note}" if tenant.note else ""
            raise Refused(f"process {tenant.ref.pid} is {state.name}, not {wanted.name}{why}", rule="store")

    def _expect_layout(self, tenant: Tenant, operation: Operation) -> None:
        """Its memory comes back in the shape in which it went."""
        then = [(piece.block.uuid, piece.block.bytes) for piece in tenant.pieces]
        now = [(piece.block.uuid, piece.block.bytes) for piece in pieces_of(operation)]
        if then != now:
            told = ", ".join(f"{nbytes >> 20} MiB of {device_name(uuid)}" for uuid, nbytes in now)
            self._lose(tenant, f"the driver asks for its memory in another shape than it gave it: {told}")
            raise DriverFailed(f"process {tenant.ref.pid}: {tenant.note}", hint="restart the workload: a cold start")

    async def _perhaps_back(self, storage: CustomStorage, tenant: Tenant) -> None:
        """A worker that died between the driver's completion and the record left it as if it were out."""
        here = (ProcessState.LOCKED, ProcessState.RUNNING)
        if tenant.custom and tenant.state is HeldState.OUT and await self._state(storage, tenant) in here:
            self._came_back(tenant)

    def _came_back(self, tenant: Tenant) -> None:
        """It has its memory; the arena's copy is good for its next way out."""
        if tenant.slots is not None:
            tenant.remember_slots()
            self._holdings.unpark(tenant)
        tenant.state, tenant.note = HeldState.RUNNING, ""
        tenant.said = (len(tenant.pieces), tenant.bytes, 0)
        self._steps.learn()

    async def _complete(self, storage: CustomStorage, tenant: Tenant, reached: ProcessState) -> None:
        """Only once, whatever comes of it."""
        assert tenant.operation is not None
        operation, tenant.operation = tenant.operation, None
        self._holdings.close_view(tenant)
        try:
            with tenant.part("complete"):
                await asyncio.to_thread(storage.complete, operation)
        except HotseatError as error:
            if not await asyncio.to_thread(alive, tenant.pidfd, patience=DYING):
                raise gone(tenant.ref.pid) from error
            self._uncertain()
            with suppress(HotseatError):
                if await self._state(storage, tenant) is reached:
                    return
            self._holdings.unpark(tenant)
            self._lose(tenant, f"its memory was copied, and the driver did not end that: {error.message}")
            raise

    def _lose(self, tenant: Tenant, why: str) -> None:
        self._holdings.withdraw(tenant)
        self._holdings.lose(tenant, why)

    def _drop(self, operation: Operation) -> None:
        """Of a process that is no more, or that somebody has given up."""
        if self._storage is not None:
            with suppress(DriverFailed, ProcessGone):  # it says that there is no such process, and lets go all the same
                self._storage.complete(operation)
