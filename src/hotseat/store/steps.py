"""The steps of one process: out of its seat and back into it. On the event loop; what blocks runs in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np

from hotseat.errors import DriverTimeout, HotseatError, ProcessGone, Refused, Unavailable
from hotseat.store import wire
from hotseat.store.agents import Agent
from hotseat.store.aheads import Aheads
from hotseat.store.arena import Arena
from hotseat.store.book import ZERO, Plan
from hotseat.store.coming import lost_ahead
from hotseat.store.digest import CHUNK
from hotseat.store.growth import Growth
from hotseat.store.holdings import Holdings
from hotseat.store.leaving import Leaving
from hotseat.store.moving import Mover
from hotseat.store.port import HeldState, Moved
from hotseat.store.spilling import Spilling
from hotseat.store.tenant import Piece, Tenant, View, groups
from hotseat.store.wire import Block, Type

LOCK_SHARE = 0.8
"""Of a deadline, for the process to become quiet; the rest is for what follows."""


class Steps:
    """Each takes the process whose lock is held and an event that says when to stop."""

    def __init__(
        self,
        holdings: Holdings,
        *,
        arena: Arena,
        growth: Growth,
        mover: Mover | None,
        spilling: Spilling,
        compare: bool,
    ) -> None:
        """`mover` None: there is no driver; `note` says why."""
        self.note = ""
        self.aheads = Aheads(holdings, spilling=spilling)
        self.ready_changed = asyncio.Event()
        self._holdings = holdings
        self._arena, self._growth, self._mover, self._spilling = arena, growth, mover, spilling
        self._compare = compare
        self._leaving = Leaving(holdings)

    async def take(self, tenant: Tenant, stop: threading.Event, *, deadline: float) -> Moved:
        self.working()
        await tenant.settled()
        if tenant.foreign:
            raise Refused(
                f"process {tenant.ref.pid} runs on memory that an earlier store lent it",
                hint="make the memory its own first: `localise`",
            )
        if tenant.state is HeldState.RUNNING:
            await self._yield(tenant, timeout=deadline * LOCK_SHARE)
        self.expect(tenant, HeldState.YIELDED)
        if tenant.slots is None and tenant.plan is None:
            tenant.plan = await self._plan(tenant)
        if stop.is_set():  # whoever asked was told that it failed, so it runs on
            await self.give(tenant, stop)
            raise DriverTimeout(f"process {tenant.ref.pid} yielded too late", hint="give it a longer deadline")
        return Moved()

    async def _yield(self, tenant: Tenant, *, timeout: float) -> None:  # noqa: ASYNC109
        """Its memory is looked at as it comes, beside what the process still has to do."""
        known = {piece.block.id: piece for piece in tenant.pieces}
        new: dict[int, Piece] = {}
        unknown: list[Block] = []
        view, looks = self.working().view(), list[asyncio.Future[None]]()

        def on_blocks(blocks: Sequence[Block], fds: list[int]) -> None:
            left = iter(fds)
            batch, own = [], []
            for block in blocks:
                piece = known.get(block.id) if block.lent else Piece(block, next(left))
                if piece is None or block.id in new or piece.block.bytes != block.bytes:
                    unknown.append(block)
                    if not block.lent and piece is not None:
                        piece.close()
                else:
                    piece.block = block
                    new[block.id] = piece
                    batch.append(piece)
                    if not block.lent:
                        own.append((block, piece.fd))
            self._holdings.keeping.put(tenant.ref, own)  # at once: from here on the process may let go of it
            looks.extend(asyncio.ensure_future(asyncio.to_thread(view.add, some)) for some in groups(batch))

        ask = wire.Yield(wire.Head(wire.VERSION, Type.YIELD, 0), max(1, int(timeout * 1000)), 0)
        try:
            done = await self._agent(tenant).ask(_numbered(ask), answer=Type.YIELDED, on_blocks=on_blocks)
        except BaseException:
            await asyncio.gather(*looks, return_exceptions=True)
            await asyncio.to_thread(view.close)
            # What came with it is the process's again, or came to an end with it.
            mine = [piece for piece in new.values() if piece is not known.get(piece.block.id)]
            for piece in mine:
                piece.close()
            self._holdings.keeping.drop(tenant.ref, [piece.block.id for piece in mine])
            raise
        tenant.state = HeldState.YIELDED
        tenant.parts |= {name: getattr(done, f"{name}_ns") / 1e9 for name in ("gate", "device", "map")}
        for ident, piece in known.items():
            if new.get(ident) is not piece:  # freed since it was lent
                piece.close()
                self._holdings.keeping.drop(tenant.ref, [] if ident in new else [ident])
        tenant.pieces = list(new.values())
        tenant.sort()
        if unknown:
            self._holdings.lose(tenant, f"it named {len(unknown)} lent blocks that the store never lent")
        with tenant.part("look"):
            failed = [one for one in await asyncio.gather(*looks, return_exceptions=True) if one is not None]
        if failed:
            await asyncio.to_thread(view.close)
            raise failed[0]
        tenant.view = view

    async def _plan(self, tenant: Tenant) -> Plan:
        view = await self._view(tenant)
        with tenant.part("plan"):
            digests, zero = view.digests(tenant.there())
            await self.room(int(len(zero) - zero.sum()), but=tenant.promised)
            # What was kept free for it is its own, and nobody can come in between.
            self._holdings.withdraw(tenant)
            plan = self._holdings.book.plan(digests, zero, before=tenant.slots_before())
            return self._leaving.whole(tenant, plan)

    async def _view(self, tenant: Tenant) -> View:
        if tenant.view is None and tenant.operation is not None:
            with tenant.part("look"):
                tenant.view = await asyncio.to_thread(self.working().lent, tenant.operation, tenant.pieces)
        if tenant.view is None:
            view = self.working().view()
            try:
                await asyncio.to_thread(view.add, tenant.there())
            except BaseException:
                await asyncio.to_thread(view.close)
                raise
            tenant.view = view
        return tenant.view

    async def room(self, chunks: int, *, but: int = 0) -> None:
        """Waits while the arena grows towards what may be needed. `but`: of what is promised, to whom that is."""
        book, growth = self._holdings.book, self._growth

        def taken() -> int:
            return book.used + book.promised - but

        growth.want(taken() + chunks)
        while book.ready - taken() < chunks and book.ready < min(growth.target, growth.reach) and not self.note:
            self.ready_changed.clear()
            await self.ready_changed.wait()

    async def move_out(self, tenant: Tenant, stop: threading.Event) -> Moved:
        await tenant.settled()
        if tenant.state is HeldState.OUT:
            return Moved()
        self.expect(tenant, HeldState.YIELDED)
        if tenant.slots is None:
            moved = await self.keep(tenant, stop)
        else:  # moved in, and given to nobody: the arena, or the disk, still has it all
            zero = int((tenant.slots == ZERO).sum())
            unchanged = len(tenant.slots) - zero
            moved = Moved(total=tenant.bytes, unchanged=unchanged * CHUNK, zero=zero * CHUNK)
        tenant.state = HeldState.OUT
        with tenant.part("free"):
            await asyncio.to_thread(self._holdings.drop_memory, tenant)
        return moved

    async def keep(self, tenant: Tenant, stop: threading.Event) -> Moved:
        """Copies what it has on the devices, and writes down that the arena has it. What is copied may leave the device
        before the rest, where somebody waits for that."""
        plan = tenant.plan = tenant.plan or await self._plan(tenant)
        view = await self._view(tenant)
        chunks, slots = plan.copies()
        self._holdings.before_filling()
        out = partial(self.working().out, view, tenant.shares(), chunks, slots, stop, last=not self._compare)
        # What is compared is needed to the end, and what custom storage has mapped goes as a whole.
        whole = self._compare or tenant.custom
        with tenant.part("copy"):
            try:
                async with nullcontext() if whole else self._leaving.beside(tenant, plan, slots) as told:
                    await asyncio.to_thread(partial(out, copied=told))
            except BaseException:
                await asyncio.to_thread(self._holdings.close_view, tenant)
                raise
        # Also what an earlier try copied.
        copied = len(plan.slots) - plan.unchanged - plan.zero - plan.shared
        copied += await self._verify(tenant, plan, stop) if self._compare else 0
        tenant.measured = tenant.bytes - (plan.shared + plan.zero) * CHUNK
        with tenant.part("record"):
            self._holdings.book.commit(plan, equal=self._arena.equal if self._compare else None)
            left = tenant.kept()
            tenant.slots, tenant.plan, tenant.left = plan.slots, None, {}
            self._holdings.write_record()
            if left is not None:
                self._holdings.book.release(left)
        return Moved(
            total=tenant.bytes,
            copied=copied * CHUNK,
            unchanged=plan.unchanged * CHUNK,
            zero=plan.zero * CHUNK,
            shared=plan.shared * CHUNK,
        )

    async def _verify(self, tenant: Tenant, plan: Plan, stop: threading.Event) -> int:
        """Copies every chunk that shares a slot beside it and compares; those that differ get slots of their own."""
        assert tenant.view is not None
        first = set(plan.copies()[0].tolist())
        doubtful = [c for c, slot in enumerate(plan.slots.tolist()) if slot >= 0 and c not in first]
        copy = partial(self.working().out, tenant.view, tenant.shares(), stop=stop, last=False)
        spare = self._holdings.book.borrow(min(len(doubtful), 64)) if doubtful else []
        compared = 0
        try:
            for at in range(0, len(doubtful), max(len(spare), 1)):
                self._holdings.before_filling()
                some = doubtful[at : at + len(spare)]
                await asyncio.to_thread(copy, np.array(some), np.array(spare[: len(some)], dtype=np.int32))
                pairs = zip(some, spare, strict=False)
                unequal = [c for c, slot in pairs if not self._arena.equal(slot, int(plan.slots[c]))]
                self._holdings.book.split(plan, unequal)
                self._holdings.before_filling()
                again = np.array(unequal, dtype=np.intp)
                await asyncio.to_thread(copy, again, plan.slots[again])
                compared += len(unequal)
        finally:
            self._holdings.book.give_back(spare)
        return compared

    async def move_in(self, tenant: Tenant, stop: threading.Event, *, counted: bool = False) -> Moved:
        """`counted`: whoever asks has no room for what has come ahead of it, should that be lost now."""
        if tenant.state is HeldState.YIELDED:
            await self._all_there(tenant, stop)
            return Moved()
        self.expect(tenant, HeldState.OUT)
        assert tenant.slots is not None
        mover = self.working()
        with tenant.part("fill"):
            filled = await self.aheads.taken(tenant, stop)
            if filled is None and counted:
                raise lost_ahead(tenant.ref.pid)
            if filled is None:
                async with self._spilling.coming_in(tenant.slots) as (slots, stream):
                    filled = await asyncio.to_thread(mover.fill, tenant.shares(), slots, stop, stream=stream)
        fds, mapped = filled
        tenant.closing = asyncio.ensure_future(asyncio.to_thread(mapped.close))
        for piece, fd in zip(tenant.pieces, fds, strict=True):
            piece.fd, piece.made = fd, True
        try:
            with tenant.part("keep"):
                self._holdings.keeping.put(tenant.ref, [(piece.block, piece.fd) for piece in tenant.pieces])
        except HotseatError:
            self._holdings.drop_pieces(tenant, tenant.pieces)
            raise
        tenant.state = HeldState.YIELDED
        zero = int((tenant.slots == ZERO).sum())
        return Moved(total=tenant.bytes, copied=tenant.bytes - zero * CHUNK, zero=zero * CHUNK)

    async def give(self, tenant: Tenant, stop: threading.Event) -> Moved:
        if tenant.state is HeldState.RUNNING:
            return Moved()
        self.expect(tenant, HeldState.YIELDED)
        agent = self._agent(tenant)
        await self._all_there(tenant, stop)
        self._holdings.unplan(tenant)
        if tenant.slots is not None:
            tenant.remember_slots()
            with tenant.part("record"):
                self._holdings.unpark(tenant)

        # Before the process can run on them: whoever takes over must not take them for its own.
        self._holdings.keeping.lend(tenant.ref, [piece.block.id for piece in tenant.pieces])
        for piece in tenant.pieces:
            piece.block = replace(piece.block, lent=True)

        def question(request: int) -> list[tuple[bytes, Sequence[int]]]:
            out: list[tuple[bytes, Sequence[int]]] = []
            for at in range(0, len(tenant.pieces), wire.BATCH):
                part = tenant.pieces[at : at + wire.BATCH]
                data = wire.encode_blocks([piece.block for piece in part], request=request)
                out.append((data, [piece.fd for piece in part]))
            end = wire.Done(wire.head(Type.RESUME, request), len(tenant.pieces), tenant.bytes)
            return [*out, (bytes(end), ())]

        with tenant.part("resume"):
            done = await agent.ask(question, answer=Type.RESUMED)
        tenant.parts["map"] = done.map_ns / 1e9
        tenant.state = HeldState.RUNNING
        tenant.said = (len(tenant.pieces), tenant.bytes, tenant.bytes)
        self.learn()
        return Moved()

    async def _all_there(self, tenant: Tenant, stop: threading.Event) -> None:
        """What has left before the rest comes back; what has come ahead of others makes way."""
        if tenant.left:
            mover = self.working()
            await self.aheads.make_way(stop=stop)
            await self._leaving.come_back(tenant, mover, stop)

    async def localise(self, tenant: Tenant, stop: threading.Event) -> Moved:
        await tenant.settled()
        self.expect(tenant, HeldState.RUNNING)
        ask = wire.head(Type.LOCALISE, 0)
        await self._agent(tenant).ask(_numbered(ask), answer=Type.LOCALISED)
        self._holdings.drop_memory(tenant)
        tenant.pieces = []
        tenant.foreign = False
        tenant.said = (tenant.said[0], tenant.said[1], 0)
        return Moved()

    async def forget(self, tenant: Tenant, stop: threading.Event) -> Moved:
        await tenant.settled()
        self._holdings.free(tenant)
        return Moved()

    def learn(self) -> None:
        """Somebody's memory is in its own hands again: it may come back."""
        self._growth.learn(self._holdings.tenants.values())

    def working(self) -> Mover:
        if self._mover is None:
            raise Unavailable(f"the store has no driver: {self.note}", hint="workloads take the driver's own path")
        return self._mover

    def _agent(self, tenant: Tenant) -> Agent:
        if tenant.custom:
            raise Refused(
                f"process {tenant.ref.pid} has no interposer: it goes by custom storage",
                rule="store",
                hint="let hotseat park and seat it",
            )
        if tenant.agent is None:
            raise Unavailable(
                f"process {tenant.ref.pid} is not connected to the store",
                hint="its interposer connects again by itself; if it does not, restart the workload",
                retry_after=1.0,
            )
        return tenant.agent

    def expect(self, tenant: Tenant, state: HeldState) -> None:
        if tenant.gone:
            raise ProcessGone(f"process {tenant.ref.pid} ended", hint="list the workload's processes again")
        if tenant.state is not state:
            why = f": {tenant.note}" if tenant.note else ""
            raise Refused(f"process {tenant.ref.pid} is {tenant.state}, not {state}{why}", hint="ask `held` again")


def _numbered(ask: wire.Yield | wire.Head) -> Callable[[int], list[tuple[bytes, Sequence[int]]]]:
    """A message without descriptors, to be sent under the number of its request."""

    def question(request: int) -> list[tuple[bytes, Sequence[int]]]:
        head = ask if isinstance(ask, wire.Head) else ask.head
        head.request = request
        return [(bytes(ask), ())]

    return question
