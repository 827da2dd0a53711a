"""Memory that is let go of piece by piece while the rest of a process is still being copied, where somebody waits for
memory of that device; and that comes back if the process is to run on after all.

The record names a piece as away once all its bytes are in the arena, and only then are its descriptors dropped.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np

from hotseat.errors import HotseatError
from hotseat.store.book import ZERO, Plan, Slots
from hotseat.store.copied import Copied
from hotseat.store.digest import CHUNK
from hotseat.store.holdings import Holdings
from hotseat.store.moving import Mover
from hotseat.store.tenant import Piece, Tenant, shares


class Leaving:
    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings

    @asynccontextmanager
    async def beside(self, tenant: Tenant, plan: Plan, copies: Slots) -> AsyncIterator[Copied]:
        """Lets go of what `Copied` is told of, until the copies end."""
        news, ended = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        copied = Copied(
            slots=plan.slots,
            copies=copies,
            pieces=len(tenant.pieces) - len(tenant.left),
            shortage=self._holdings.shortage,
            tell=lambda: loop.call_soon_threadsafe(news.set),
        )
        task = loop.create_task(self._let_go(tenant, plan, copied, news, ended))
        try:
            yield copied
        except BaseException:
            # Whoever tries again need not copy it again, and what is away may share slots with what is not.
            self._holdings.book.commit(plan, filled=copied.filled(plan.fresh))
            raise
        finally:
            ended.set()
            news.set()
            await task

    async def _let_go(
        self, tenant: Tenant, plan: Plan, copied: Copied, news: asyncio.Event, ended: asyncio.Event
    ) -> None:
        while await news.wait() and not ended.is_set():
            news.clear()
            if pieces := copied.take():  # all that came meanwhile: a record takes some milliseconds
                self._away(tenant, plan, pieces)
                await asyncio.to_thread(self._holdings.drop_pieces, tenant, pieces)

    def _away(self, tenant: Tenant, plan: Plan, pieces: Sequence[Piece]) -> None:
        """The record says so, and their slots are held whatever becomes of the plan."""
        firsts = tenant.firsts()
        new = {
            (ident := piece.block.id): plan.slots[firsts[ident] : firsts[ident] + piece.block.bytes // CHUNK].copy()
            for piece in pieces
        }
        held = np.concatenate(list(new.values()))
        tenant.left |= new
        self._holdings.book.adopt(held)
        try:
            self._holdings.write_record()
        except BaseException:
            for ident in new:
                del tenant.left[ident]
            self._holdings.book.release(held)
            raise

    def whole(self, tenant: Tenant, plan: Plan) -> Plan:
        """`plan` is of the pieces that are on the devices: with what is away already, of all."""
        if not tenant.left:
            return plan
        left = tenant.kept()
        assert left is not None
        mine = np.repeat(
            [piece.block.id in tenant.left for piece in tenant.pieces],
            [piece.block.bytes // CHUNK for piece in tenant.pieces],
        )
        slots = np.empty(len(mine), dtype=np.int32)
        slots[mine], slots[~mine] = left, plan.slots
        self._holdings.book.adopt(left)
        zero = int((left == ZERO).sum())
        return replace(plan, slots=slots, zero=plan.zero + zero, unchanged=plan.unchanged + len(left) - zero)

    async def come_back(self, tenant: Tenant, mover: Mover, stop: threading.Event) -> None:
        """All of it is on the devices again. `NoRoom`: it is as it was."""
        await tenant.settled()
        away, slots = tenant.away(), tenant.kept()
        assert slots is not None
        with tenant.part("fill"):
            fds, mapped = await asyncio.to_thread(mover.fill, shares(away), slots, stop)
        tenant.closing = asyncio.ensure_future(asyncio.to_thread(mapped.close))
        for piece, fd in zip(away, fds, strict=True):
            piece.fd, piece.made, piece.block = fd, True, replace(piece.block, lent=True)
        try:
            self._holdings.keeping.put(tenant.ref, [(piece.block, piece.fd) for piece in away])
        except HotseatError:
            self._holdings.drop_pieces(tenant, away)
            raise
        tenant.before |= tenant.left
        with tenant.part("record"):
            self._holdings.unpark(tenant)
