"""The store: what it holds and what it does with it, on one event loop. All changes of state are made here.

Order of what must outlive this process. Out: bytes in the arena -> record says out -> descriptors dropped. In: memory
filled -> descriptors kept -> ... -> (give) record no longer says out -> blocks handed over. So whoever takes over
believes the record first, and the descriptors where the record says nothing.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from hotseat.errors import Busy, DriverTimeout, HotseatError, NotFound, ProcessGone, Refused, Unavailable
from hotseat.store import wire
from hotseat.store.agents import Agent
from hotseat.store.arena import Arena
from hotseat.store.book import Book, Plan
from hotseat.store.digest import CHUNK
from hotseat.store.keeping import Keeping
from hotseat.store.moving import Mover
from hotseat.store.port import Held, HeldState, Moved, Status
from hotseat.store.record import Record, RecordFiles
from hotseat.store.tenant import Piece, Tenant
from hotseat.store.wire import Block, Type
from hotseat.words import ProcessRef

STOP_GRACE = 2.0
"""Seconds a copy that was told to stop is waited for; it looks after every batch."""
LOCK_SHARE = 0.8
"""Of a deadline, for the process to become quiet; the rest is for what follows."""


class Service:
    def __init__(
        self, *, arena: Arena, book: Book, mover: Mover | None, keeping: Keeping, record: RecordFiles, compare: bool
    ) -> None:
        """`mover` None: there is no driver; `note` says why."""
        self.tenants: dict[ProcessRef, Tenant] = {}
        self.note = ""
        self.starts = 1
        self.ready_changed = asyncio.Event()
        self.book = book
        self._arena, self._mover, self._keeping, self._record = arena, mover, keeping, record
        self._compare = compare
        self._tasks: set[asyncio.Task[Moved]] = set()

    # What the port asks

    def held(self, refs: Sequence[ProcessRef]) -> dict[ProcessRef, Held]:
        return {ref: self.tenants[ref].held(self.book) for ref in refs if ref in self.tenants}

    def status(self) -> Status:
        return Status(
            running=True,
            arena=self._arena.bytes,
            ready=self.book.ready * CHUNK,
            used=self.book.used * CHUNK,
            cached=self.book.cached * CHUNK,
            worker=os.getpid(),
            keeper=os.getppid(),
            starts=self.starts,
            processes=self.held(list(self.tenants)),
            note=self.note,
        )

    async def take(self, refs: Sequence[ProcessRef], deadline: float) -> dict[ProcessRef, Held]:
        ran = [ref for ref in refs if ref in self.tenants and self.tenants[ref].state is HeldState.RUNNING]
        try:
            await self._each(refs, deadline, partial(self._take, deadline=deadline))
        except HotseatError as error:
            back = [ref for ref in ran if ref in self.tenants and self.tenants[ref].state is HeldState.YIELDED]
            try:
                await self._each(back, STOP_GRACE, self._give)
            except HotseatError as worse:
                error.details["not_given_back"] = worse.message
            error.details["processes"] = self._where(refs)
            raise
        return self.held(refs)

    async def move_out(self, refs: Sequence[ProcessRef], deadline: float) -> Moved:
        return _sum(await self._each(refs, deadline, self._move_out))

    async def move_in(self, refs: Sequence[ProcessRef], deadline: float) -> Moved:
        return _sum(await self._each(refs, deadline, self._move_in))

    async def give(self, refs: Sequence[ProcessRef], deadline: float) -> dict[ProcessRef, Held]:
        await self._each(refs, deadline, self._give)
        return self.held(refs)

    async def localise(self, refs: Sequence[ProcessRef], deadline: float) -> dict[ProcessRef, Held]:
        await self._each(refs, deadline, self._localise)
        return self.held(refs)

    async def forget(self, ref: ProcessRef, deadline: float) -> None:
        tenant = self.tenants.get(ref)
        if tenant is not None and tenant.lock.locked() and tenant.agent is not None:
            tenant.agent.close()  # ends what waits for its answer
            async with asyncio.timeout(deadline), tenant.lock:
                self.free(tenant)
            return
        await self._each([ref], deadline, self._forget)

    # One process

    async def _take(self, tenant: Tenant, stop: threading.Event, *, deadline: float) -> Moved:
        self._working()
        if tenant.foreign:
            raise Refused(
                f"process {tenant.ref.pid} runs on memory that an earlier store lent it",
                hint="make the memory its own first: `localise`",
            )
        if tenant.state is HeldState.RUNNING:
            await self._yield(tenant, timeout=deadline * LOCK_SHARE)
        self._expect(tenant, HeldState.YIELDED)
        if tenant.slots is None and tenant.plan is None:
            tenant.plan = await self._plan(tenant)
        if stop.is_set():  # whoever asked was told that it failed, so it runs on
            await self._give(tenant, stop)
            raise DriverTimeout(f"process {tenant.ref.pid} yielded too late", hint="give it a longer deadline")
        return Moved()

    async def _yield(self, tenant: Tenant, *, timeout: float) -> None:  # noqa: ASYNC109
        known = {piece.block.id: piece for piece in tenant.pieces}
        new: dict[int, Piece] = {}

        def on_blocks(blocks: Sequence[Block], fds: list[int]) -> None:
            left = iter(fds)
            for block in blocks:
                piece = known.get(block.id) if block.lent else Piece(block, next(left))
                if piece is None or block.id in new or piece.block.bytes != block.bytes:
                    unknown.append(block)
                    if not block.lent and piece is not None:
                        piece.close()
                else:
                    piece.block = block
                    new[block.id] = piece
                    if not block.lent:  # at once: from here on the process may let go of it
                        self._keeping.put(tenant.ref, block, piece.fd)

        unknown: list[Block] = []
        ask = wire.Yield(wire.Head(wire.VERSION, Type.YIELD, 0), max(1, int(timeout * 1000)), 0)
        try:
            await self._agent(tenant).ask(_numbered(ask), answer=Type.YIELDED, on_blocks=on_blocks)
        except BaseException:
            # What came with it is the process's again, or came to an end with it.
            own = [piece for piece in new.values() if piece is not known.get(piece.block.id)]
            for piece in own:
                piece.close()
            self._keeping.drop(tenant.ref, [piece.block.id for piece in own])
            raise
        tenant.state = HeldState.YIELDED
        for ident, piece in known.items():
            if new.get(ident) is not piece:  # freed since it was lent
                piece.close()
                self._keeping.drop(tenant.ref, [] if ident in new else [ident])
        tenant.pieces = list(new.values())
        tenant.sort()
        if unknown:
            self.lose(tenant, f"it named {len(unknown)} lent blocks that the store never lent")

    async def _plan(self, tenant: Tenant) -> Plan:
        mover, shares = self._working(), tenant.shares()
        digests, zero = await asyncio.to_thread(mover.digests, shares)
        await self._room(int(len(zero) - zero.sum()))
        return self.book.plan(digests, zero, before=tenant.slots_before())

    async def _room(self, chunks: int) -> None:
        """Waits while the arena grows towards what may be needed."""
        while self.book.ready - self.book.used < chunks and self.book.ready < self.book.size and not self.note:
            self.ready_changed.clear()
            await self.ready_changed.wait()

    async def _move_out(self, tenant: Tenant, stop: threading.Event) -> Moved:
        if tenant.state is HeldState.OUT:
            return Moved()
        self._expect(tenant, HeldState.YIELDED)
        total = tenant.bytes
        if tenant.slots is None:
            plan = tenant.plan = tenant.plan or await self._plan(tenant)
            shares, copies = tenant.shares(), plan.copies
            await asyncio.to_thread(self._working().out, shares, copies, stop)
            copied = len(copies) + (await self._verify(tenant, plan, stop) if self._compare else 0)
            unchanged, shared, zero = plan.unchanged, plan.shared, plan.zero
            self.book.commit(plan)
            tenant.slots, tenant.plan = plan.slots, None
            self._write_record()
        else:  # moved in, and given to nobody: the arena still has it all
            copied, shared, zero, unchanged = 0, 0, int((tenant.slots < 0).sum()), int((tenant.slots >= 0).sum())
        tenant.state = HeldState.OUT
        self._drop_memory(tenant)
        return Moved(
            total=total, copied=copied * CHUNK, unchanged=unchanged * CHUNK, zero=zero * CHUNK, shared=shared * CHUNK
        )

    async def _verify(self, tenant: Tenant, plan: Plan, stop: threading.Event) -> int:
        """Copies every chunk that shares a slot beside it and compares; those that differ get slots of their own."""
        mover, shares = self._working(), tenant.shares()
        first = {chunk for chunk, _ in plan.copies}
        doubtful = [c for c, slot in enumerate(plan.slots.tolist()) if slot >= 0 and c not in first]
        spare = self.book.borrow(min(len(doubtful), 64)) if doubtful else []
        compared = 0
        try:
            for at in range(0, len(doubtful), max(len(spare), 1)):
                pairs = list(zip(doubtful[at : at + len(spare)], spare, strict=False))
                await asyncio.to_thread(mover.out, shares, pairs, stop)
                unequal = [c for c, slot in pairs if not self._arena.equal(slot, int(plan.slots[c]))]
                self.book.split(plan, unequal)
                again = [(c, int(plan.slots[c])) for c in unequal]
                await asyncio.to_thread(mover.out, shares, again, stop)
                compared += len(unequal)
        finally:
            self.book.give_back(spare)
        return compared

    async def _move_in(self, tenant: Tenant, stop: threading.Event) -> Moved:
        if tenant.state is HeldState.YIELDED:
            return Moved()
        self._expect(tenant, HeldState.OUT)
        assert tenant.slots is not None
        fds = await asyncio.to_thread(self._working().fill, tenant.shares(), tenant.slots, stop)
        for piece, fd in zip(tenant.pieces, fds, strict=True):
            piece.fd = fd
        try:
            for piece in tenant.pieces:
                self._keeping.put(tenant.ref, piece.block, piece.fd)
        except HotseatError:
            for piece in tenant.pieces:
                piece.close()
            raise
        tenant.state = HeldState.YIELDED
        zero = int((tenant.slots < 0).sum())
        return Moved(total=tenant.bytes, copied=tenant.bytes - zero * CHUNK, zero=zero * CHUNK)

    async def _give(self, tenant: Tenant, stop: threading.Event) -> Moved:
        if tenant.state is HeldState.RUNNING:
            return Moved()
        self._expect(tenant, HeldState.YIELDED)
        agent = self._agent(tenant)
        self.unplan(tenant)
        if tenant.slots is not None:
            tenant.remember_slots()
            slots, tenant.slots = tenant.slots, None
            self._write_record()
            self.book.release(slots)

        def question(request: int) -> list[tuple[bytes, Sequence[int]]]:
            out: list[tuple[bytes, Sequence[int]]] = []
            for at in range(0, len(tenant.pieces), wire.BATCH):
                part = tenant.pieces[at : at + wire.BATCH]
                data = wire.encode_blocks([piece.block for piece in part], request=request)
                out.append((data, [piece.fd for piece in part]))
            end = wire.Done(wire.head(Type.RESUME, request), len(tenant.pieces), tenant.bytes)
            return [*out, (bytes(end), ())]

        await agent.ask(question, answer=Type.RESUMED)
        for piece in tenant.pieces:
            piece.block = Block(piece.block.id, piece.block.address, piece.block.bytes, piece.block.uuid, True)
        tenant.state = HeldState.RUNNING
        tenant.said = (len(tenant.pieces), tenant.bytes, tenant.bytes)
        return Moved()

    async def _localise(self, tenant: Tenant, stop: threading.Event) -> Moved:
        self._expect(tenant, HeldState.RUNNING)
        ask = wire.head(Type.LOCALISE, 0)
        await self._agent(tenant).ask(_numbered(ask), answer=Type.LOCALISED)
        self._drop_memory(tenant)
        tenant.pieces = []
        tenant.foreign = False
        tenant.said = (tenant.said[0], tenant.said[1], 0)
        return Moved()

    async def _forget(self, tenant: Tenant, stop: threading.Event) -> Moved:
        self.free(tenant)
        return Moved()

    def free(self, tenant: Tenant) -> None:
        """Everything of it; its lock must be held, or it must be idle."""
        if self.tenants.pop(tenant.ref, None) is None:
            return
        tenant.gone = True
        self.empty(tenant)
        asyncio.get_running_loop().remove_reader(tenant.pidfd)
        os.close(tenant.pidfd)
        if tenant.agent is not None:
            tenant.agent.close()

    def empty(self, tenant: Tenant) -> None:
        """Frees what it has in the arena and on the devices; the process stays known."""
        self.unplan(tenant)
        if tenant.slots is not None:
            slots, tenant.slots = tenant.slots, None
            self._write_record()
            self.book.release(slots)
        self._drop_memory(tenant)
        tenant.pieces = []

    def unplan(self, tenant: Tenant) -> None:
        if tenant.plan is not None:
            self.book.cancel(tenant.plan)
            tenant.plan = None

    def lose(self, tenant: Tenant, why: str) -> None:
        tenant.state, tenant.note = HeldState.LOST, why

    def drop_kept(self, ref: ProcessRef, ident: int) -> None:
        """At the keeper: what no process has any more."""
        self._keeping.drop(ref, [ident])

    # Within

    def _drop_memory(self, tenant: Tenant) -> None:
        """Closes the last descriptors of its memory, here and at the keeper: the device has it back."""
        held = [piece for piece in tenant.pieces if piece.fd >= 0]
        for piece in held:
            piece.close()
        self._keeping.drop(tenant.ref, [piece.block.id for piece in held])

    def _write_record(self) -> None:
        parked = [tenant.parked() for tenant in self.tenants.values() if tenant.slots is not None]
        self._record.write(Record(self.book.digests(), parked))

    def _working(self) -> Mover:
        if self._mover is None:
            raise Unavailable(f"the store has no driver: {self.note}", hint="workloads take the driver's own path")
        return self._mover

    def _agent(self, tenant: Tenant) -> Agent:
        if tenant.agent is None:
            raise Unavailable(
                f"process {tenant.ref.pid} is not connected to the store",
                hint="its interposer connects again by itself; if it does not, restart the workload",
                retry_after=1.0,
            )
        return tenant.agent

    def _expect(self, tenant: Tenant, state: HeldState) -> None:
        if tenant.gone:
            raise ProcessGone(f"process {tenant.ref.pid} ended", hint="list the workload's processes again")
        if tenant.state is not state:
            why = f": {tenant.note}" if tenant.note else ""
            raise Refused(f"process {tenant.ref.pid} is {tenant.state}, not {state}{why}", hint="ask `held` again")

    async def _each(
        self,
        refs: Sequence[ProcessRef],
        deadline: float,
        work: Callable[[Tenant, threading.Event], Awaitable[Moved]],
    ) -> list[Moved]:
        """`work` on all at once. The first error in the order of `refs`, once all have ended."""
        missing = [ref for ref in refs if ref not in self.tenants]
        if missing:
            raise NotFound(
                f"the store does not hold process {missing[0].pid}",
                hint="it takes the driver's path: it has no interposer, or it ended",
                processes=self._where(refs),
            )
        results = await asyncio.gather(
            *(self._one(self.tenants[ref], deadline, work) for ref in dict.fromkeys(refs)), return_exceptions=True
        )
        for result in results:
            if isinstance(result, HotseatError):
                result.details["processes"] = self._where(refs)
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if isinstance(result, Moved)]

    async def _one(
        self, tenant: Tenant, deadline: float, work: Callable[[Tenant, threading.Event], Awaitable[Moved]]
    ) -> Moved:
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

    async def _locked(
        self, tenant: Tenant, work: Callable[[Tenant, threading.Event], Awaitable[Moved]], stop: threading.Event
    ) -> Moved:
        async with tenant.lock:
            return await work(tenant, stop)

    def _where(self, refs: Sequence[ProcessRef]) -> list[tuple[int, int, str]]:
        return [(*ref, str(self.tenants[ref].state) if ref in self.tenants else "unknown") for ref in refs]


def _numbered(ask: wire.Yield | wire.Head) -> Callable[[int], list[tuple[bytes, Sequence[int]]]]:
    """A message without descriptors, to be sent under the number of its request."""

    def question(request: int) -> list[tuple[bytes, Sequence[int]]]:
        head = ask if isinstance(ask, wire.Head) else ask.head
        head.request = request
        return [(bytes(ask), ())]

    return question


def _sum(parts: Sequence[Moved]) -> Moved:
    table = np.array([(p.total, p.copied, p.unchanged, p.zero, p.shared) for p in parts], dtype=np.int64)
    total, copied, unchanged, zero, shared = (int(n) for n in table.sum(axis=0)) if len(parts) else (0,) * 5
    seconds = max((part.seconds for part in parts), default=0.0)
    return Moved(total=total, copied=copied, unchanged=unchanged, zero=zero, shared=shared, seconds=seconds)
