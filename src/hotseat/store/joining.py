"""Who comes and goes: connections of interposers, deaths of processes, and what a worker before this one left."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import socket
from collections import Counter

import msgspec
import numpy as np

from hotseat.gpu.procfs import start_time
from hotseat.store import wire
from hotseat.store.agents import Agent, peer
from hotseat.store.digest import CHUNK
from hotseat.store.growth import Growth
from hotseat.store.holdings import Holdings
from hotseat.store.keeping import Kept
from hotseat.store.pages import Page
from hotseat.store.port import HeldState
from hotseat.store.record import Record
from hotseat.store.spilled import empty
from hotseat.store.tenant import Piece, Tenant
from hotseat.store.wire import Block, Message, Type
from hotseat.words import ProcessRef

HELLO_WITHIN = 10.0
"""Seconds until a new connection has said who it is."""
STRANGERS = 8
"""Connections of one process that have not."""
ACCEPT_AGAIN = 1.0
"""Seconds until it is tried again, where this process may open no more descriptors."""
NO_MORE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Joining:
    """`secret`: what tokens are made with; the same for every worker of one keeper."""

    def __init__(self, holdings: Holdings, *, growth: Growth, listener: socket.socket, secret: bytes) -> None:
        self._holdings, self._listener, self._secret = holdings, listener, secret
        self._growth = growth
        self._tasks: set[asyncio.Task[None]] = set()
        self._strangers: dict[Agent, asyncio.TimerHandle] = {}
        self.welcoming: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def adopt(self, record: Record | None, kept: list[tuple[Kept, int]]) -> None:
        """Before `start`: processes that live keep what they had, of the others nothing stays."""
        book, pages = self._holdings.book, self._holdings.pages
        last, partly = -1, dict[ProcessRef, int]()
        if record is not None:
            known = np.frombuffer(record.slots, dtype=np.int32)
            book.remember(known, np.frombuffer(record.digests, dtype=np.uint64).reshape(-1, 2))
            pages.remember({number: Page(*page) for number, *page in map(msgspec.structs.astuple, record.pages)})
            for parked in record.processes:
                tenant = self.tenant(ProcessRef(parked.pid, parked.start))
                if tenant is None:
                    continue
                tenant.pieces = [Piece(Block(b.id, b.address, b.bytes, b.uuid, True)) for b in parked.blocks]
                tenant.stored, tenant.custom = parked.stored, parked.custom
                slots = np.frombuffer(parked.slots, dtype=np.int32).copy()
                if parked.beside:
                    tenant.state, partly[tenant.ref] = HeldState.YIELDED, parked.beside
                    ends = np.cumsum([b.bytes // CHUNK for b in parked.blocks])
                    parts = np.split(slots, ends[:-1])
                    tenant.left = {block.id: part for block, part in zip(parked.blocks, parts, strict=True)}
                else:
                    tenant.state, tenant.slots = HeldState.OUT, slots
                book.adopt(slots)
                pages.hold(slots)
                last = max(last, int(slots.max(initial=-1)))
            pages.sweep()
            self._growth.want(max((slot + 1 for slot in [*known.tolist(), last]), default=0))
        if self._holdings.disk is not None:
            empty(self._holdings.disk.directory, keep=pages.files)
        for one, fd in kept:
            tenant = self.tenant(one.ref)
            if tenant is None or tenant.state is HeldState.OUT or one.id in tenant.left:
                os.close(fd)
                self._holdings.drop_kept(one.ref, one.id)
                continue
            # Its interposer will say whether it runs; until then it is where no harm is done to it.
            tenant.state = HeldState.YIELDED
            tenant.pieces.append(Piece(one.block, fd, made=one.block.lent))
            tenant.sort()
        for ref, beside in partly.items():
            tenant = self._holdings.tenants[ref]
            if len(tenant.there()) != beside:
                self._holdings.lose(tenant, "a part of its memory is gone: a store ended while it forgot it")

    def tenant(self, ref: ProcessRef) -> Tenant | None:
        """The one there is, or a new one; None if that process has ended."""
        tenants = self._holdings.tenants
        if ref in tenants:
            return tenants[ref]
        try:
            pidfd = os.pidfd_open(ref.pid)
        except OSError:
            return None
        if start_time(ref.pid) != ref.start_time:
            os.close(pidfd)
            return None
        tenant = tenants[ref] = Tenant(ref, pidfd)
        asyncio.get_running_loop().add_reader(pidfd, self._ended, tenant)
        return tenant

    def _ended(self, tenant: Tenant) -> None:
        asyncio.get_running_loop().remove_reader(tenant.pidfd)
        if tenant.agent is not None:
            tenant.agent.close()  # ends what waits for it
        task = asyncio.get_running_loop().create_task(self._bury(tenant))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bury(self, tenant: Tenant) -> None:
        async with tenant.lock:  # a copy that is under way ends first, by itself or by its deadline
            self._holdings.free(tenant)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if error.errno in NO_MORE:  # who waits there would have us asked on and on
                    loop = asyncio.get_running_loop()
                    loop.remove_reader(self._listener)
                    loop.call_later(ACCEPT_AGAIN, self.start)
                return
            ref = peer(sock)
            if ref is None or Counter(one.ref for one in self._strangers)[ref] >= STRANGERS:
                sock.close()
            else:
                agent = Agent(sock, ref, on_message=self._hear)
                agent.on_close = self._known
                self._strangers[agent] = asyncio.get_running_loop().call_later(HELLO_WITHIN, agent.close)

    def _known(self, agent: Agent) -> None:
        """It has said who it is, or is gone."""
        timer = self._strangers.pop(agent, None)
        if timer is not None:
            timer.cancel()

    def _hear(self, agent: Agent, message: Message) -> None:
        """What an interposer says unasked: HELLO, once, and FREED."""
        if message.type is Type.HELLO and isinstance(message.body, wire.Hello):
            if agent not in self._strangers:  # once
                agent.close()
                return
            self._known(agent)
            task = asyncio.get_running_loop().create_task(self._welcome(agent, message.body))
            self.welcoming.add(task)
            task.add_done_callback(self.welcoming.discard)
        elif message.type is Type.FREED and isinstance(message.body, wire.Freed):
            tenant = self._holdings.tenants.get(agent.ref)
            if tenant is not None and tenant.agent is agent:
                self._holdings.freed(tenant, int(message.body.id))
        # Anything else is an answer that nobody waits for any more; who asks next will find out.

    async def _welcome(self, agent: Agent, hello: wire.Hello) -> None:
        tenant = self.tenant(agent.ref)
        token = self._token(agent.ref)
        said = (int(hello.token[0]), int(hello.token[1]))
        # Another token is from a store before this one, or a lie; where there is something to gain, it is a lie.
        # Without one it is new, and so it runs.
        new = said == (0, 0)
        has = tenant is not None and (tenant.pieces or tenant.slots is not None)
        if tenant is None or (new and hello.state != wire.STATE_RUNNING) or (not new and said != token and has):
            agent.close()
            return
        async with tenant.lock:
            if agent.closed:  # while it waited
                return
            if tenant.gone or (tenant.custom and tenant.state is not HeldState.RUNNING):
                agent.close()
                return
            tenant.custom = False  # it has an interposer by now: a new image in an old process
            if tenant.agent is not None:
                old, tenant.agent = tenant.agent, None
                old.close()
            self._judge(tenant, hello, fresh=said != token)
            tenant.foreign = hello.lent_bytes > 0 and not tenant.pieces
            tenant.said = (int(hello.blocks), int(hello.bytes), int(hello.lent_bytes))
            tenant.agent = agent
            self._growth.learn(self._holdings.tenants.values())
            agent.on_close = lambda closed: self._disconnected(tenant, closed)
            await agent.send(bytes(wire.Welcome(wire.head(Type.WELCOME, 0), token)))

    def _judge(self, tenant: Tenant, hello: wire.Hello, *, fresh: bool) -> None:
        """What the process says of itself against what we hold of it."""
        if fresh and hello.state == wire.STATE_RUNNING:
            # A new image in an old process, say: what it had went with the old.
            self._holdings.empty(tenant)
            tenant.state, tenant.note = HeldState.RUNNING, ""
        elif hello.state == wire.STATE_RUNNING:
            if tenant.state is HeldState.YIELDED and tenant.kept() is None:
                self._holdings.unplan(tenant)
                self._holdings.drop_own(tenant)
                tenant.state = HeldState.RUNNING
            elif tenant.state is not HeldState.RUNNING:
                self._holdings.lose(tenant, f"it says that it runs, the store has it as {tenant.state}")
        elif tenant.state is HeldState.RUNNING:
            if tenant.pieces:
                tenant.state = HeldState.YIELDED
            else:
                self._holdings.lose(
                    tenant, "it waits for blocks that the store has no more: it was restarted, or told to forget them"
                )

    def _disconnected(self, tenant: Tenant, agent: Agent) -> None:
        if tenant.agent is agent:
            tenant.agent = None

    def _token(self, ref: ProcessRef) -> tuple[int, int]:
        name = f"{ref.pid} {ref.start_time}".encode()
        digest = hashlib.blake2b(name, key=self._secret, digest_size=16).digest()
        return int.from_bytes(digest[:8], "little") or 1, int.from_bytes(digest[8:], "little")
