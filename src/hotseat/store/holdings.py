"""What the store holds of whom, and the order in which that is let go of. On the event loop; every change is made here
or in the steps that use it.

Order of what must outlive this process:
- Out: bytes in the arena -> record says out -> descriptors dropped. Where somebody waits for the memory, some blocks at
  a time, of which the record then says that they are away.
- In: memory filled -> descriptors kept -> ... -> (give) record no longer says out -> blocks handed over. What was away
  before the rest, and comes back: memory filled -> descriptors kept -> record no longer names it -> slots let go of.
- To disk: file written -> record names its pages -> slots let go of; back: slots filled -> record names them -> file
  removed.
- Before a slot is filled that had bytes of a known digest: record forgets that digest (`before_filling`).

So whoever takes over believes the record first, and the descriptors where the record says nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from hotseat.store.book import Book, Slots
from hotseat.store.custom import Operation
from hotseat.store.disk import Disk
from hotseat.store.keeping import Keeping
from hotseat.store.pages import Pages
from hotseat.store.port import Held, HeldState
from hotseat.store.record import DiskPage, Record, RecordFiles
from hotseat.store.shortage import Shortage
from hotseat.store.tenant import Piece, Tenant
from hotseat.words import ProcessRef


class Holdings:
    """`disk` None: nothing can be spilled. `shortage` is told when memory of a device was let go of."""

    end_operation: Callable[[Operation], None]
    """Unmaps what custom storage mapped of a process that is no more; from any thread."""

    def __init__(
        self,
        *,
        book: Book,
        keeping: Keeping,
        record: RecordFiles,
        disk: Disk | None = None,
        shortage: Shortage | None = None,
    ) -> None:
        self.end_operation = lambda operation: None
        self.tenants: dict[ProcessRef, Tenant] = {}
        self.book, self.pages = book, Pages()
        self.keeping, self.disk = keeping, disk
        self.shortage = shortage or Shortage()
        self._record = record

    def held(self, refs: Sequence[ProcessRef]) -> dict[ProcessRef, Held]:
        known = ((ref, self.tenants[ref]) for ref in refs if ref in self.tenants)
        # One without the interposer that runs has all of its memory itself.
        return {
            ref: tenant.held(self.book, self.pages)
            for ref, tenant in known
            if not (tenant.custom and tenant.state is HeldState.RUNNING)
        }

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
        """Frees what it has in the arena, on disk and on the devices; the process stays known."""
        self.unplan(tenant)
        self.withdraw(tenant)
        if tenant.ahead is not None:
            ahead, tenant.ahead = tenant.ahead, None
            ahead.give_up()
        self.drop_memory(tenant)  # first: of one that is partly away nobody must take the rest for all of it
        self.unpark(tenant)
        tenant.pieces = []
        if tenant.operation is not None:  # what was mapped of it
            operation, tenant.operation = tenant.operation, None
            asyncio.get_running_loop().run_in_executor(None, self.end_operation, operation)

    def withdraw(self, tenant: Tenant) -> None:
        """Nothing is kept free for it any more."""
        promised, tenant.promised = tenant.promised, 0
        self.book.withdraw(promised)

    def unplan(self, tenant: Tenant) -> None:
        """It stays on the device: nothing is reserved for it, and nobody looks at it."""
        if tenant.plan is not None:
            self.book.cancel(tenant.plan)
            tenant.plan = None
        self.close_view(tenant)

    def unpark(self, tenant: Tenant) -> None:
        """What is parked of it counts no more; the record says so first."""
        slots = tenant.kept()
        if slots is not None:
            tenant.slots, tenant.left, tenant.stored = None, {}, False
            self.write_record()
            self.let_go(slots)

    def let_go(self, slots: Slots) -> None:
        """Of slots and pages that the record names no more; a file without pages is removed."""
        self.book.release(slots)
        files = self.pages.release(slots)
        if files and self.disk is not None:  # in a thread: a file of 100 GiB takes a while
            asyncio.get_running_loop().run_in_executor(None, self.disk.remove, files)

    def lose(self, tenant: Tenant, why: str) -> None:
        tenant.state, tenant.note = HeldState.LOST, why

    def drop_kept(self, ref: ProcessRef, ident: int) -> None:
        """At the keeper: what no process has any more."""
        self.keeping.drop(ref, [ident])
        self.shortage.freed()

    def close_view(self, tenant: Tenant) -> None:
        if tenant.view is not None:
            view, tenant.view = tenant.view, None
            view.close()

    def drop_memory(self, tenant: Tenant) -> None:
        """Lets go of its memory here, and closes the last descriptors here and at the keeper: the device has it back.
        Blocks for a moment; from any thread."""
        self.close_view(tenant)
        self.drop_pieces(tenant, tenant.pieces)

    def drop_pieces(self, tenant: Tenant, pieces: Sequence[Piece]) -> None:
        """As `drop_memory`, of some that nothing here has mapped."""
        held = [piece for piece in pieces if piece.fd >= 0]
        for piece in held:
            piece.close()
        self.keeping.drop(tenant.ref, [piece.block.id for piece in held])
        self.shortage.freed()

    def drop_own(self, tenant: Tenant) -> None:
        """It runs, so what it offered and did not let go of is its own again."""
        own = [piece for piece in tenant.pieces if not piece.block.lent]
        tenant.pieces = [piece for piece in tenant.pieces if piece.block.lent]
        for piece in own:
            piece.close()
        self.keeping.drop(tenant.ref, [piece.block.id for piece in own])

    def freed(self, tenant: Tenant, ident: int) -> None:
        """The process has released a lent block; while something is done with it that finds out by itself."""
        if tenant.state is not HeldState.RUNNING or tenant.lock.locked():
            return
        for piece in tenant.pieces:
            if piece.block.id == ident and piece.block.lent:
                self.drop_pieces(tenant, [piece])
                tenant.pieces.remove(piece)
                blocks, nbytes, lent = tenant.said
                tenant.said = (max(0, blocks - 1), max(0, nbytes - piece.block.bytes), max(0, lent - piece.block.bytes))
                return

    def before_filling(self) -> None:
        """To be called between taking slots and writing to them: whoever takes over must not believe that they have
        the bytes that they had, should we die in the middle."""
        if self.book.forgot:
            self.write_record()

    def write_record(self) -> None:
        parked = [tenant.parked() for tenant in self.tenants.values() if tenant.slots is not None or tenant.left]
        pages = [DiskPage(number, *page) for number, page in self.pages.all().items()]
        self.book.forgot = False
        slots, digests = self.book.digests()
        self._record.write(Record(slots.tobytes(), digests.tobytes(), parked, pages))
