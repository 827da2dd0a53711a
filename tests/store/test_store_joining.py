"""Who is let in by the agents' socket, and who is not."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotseat.gpu.procfs import start_time
from hotseat.store import agents, joining, wire
from hotseat.store.agents import peer
from hotseat.store.book import Book
from hotseat.store.holdings import Holdings
from hotseat.store.joining import Joining
from hotseat.store.port import HeldState
from hotseat.store.tenant import Piece, Tenant
from hotseat.store.wire import Block, Type
from hotseat.words import ProcessRef

WITHIN = 30.0


def said(*, token: tuple[int, int] = (0, 0), state: int = wire.STATE_RUNNING) -> bytes:
    return bytes(wire.Hello(wire.head(Type.HELLO, 0), state, os.getpid(), (ctypes.c_uint64 * 2)(*token)))


class Listener:
    """Of which `accept` fails as often as `failures` says."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.bind(str(path))
        self.sock.listen()
        self.path, self.failures, self.asked = path, 0, 0
        self.fileno, self.setblocking = self.sock.fileno, self.sock.setblocking

    def accept(self) -> Any:
        self.asked += 1
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return self.sock.accept()

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(str(self.path))
        sock.setblocking(False)
        return sock


class Door:
    def __init__(self, listener: Listener) -> None:
        record = SimpleNamespace(write=lambda *_: None)
        keeping = SimpleNamespace(drop=lambda *_: None)
        growth = SimpleNamespace(learn=lambda tenants: None)
        self.listener = listener
        self.holdings = Holdings(book=Book(4, ready=4), keeping=cast(Any, keeping), record=cast(Any, record))
        self.joining = Joining(
            self.holdings, growth=cast(Any, growth), listener=cast(Any, listener), secret=b"a secret of the store"
        )
        self.joining.start()

    async def hello(
        self, sock: socket.socket, *, token: tuple[int, int] = (0, 0), state: int = wire.STATE_RUNNING
    ) -> wire.Message | None:
        """What the store says to it; None: it closes the connection."""
        sock.send(said(token=token, state=state))
        async with asyncio.timeout(WITHIN):
            data = await asyncio.get_running_loop().sock_recv(sock, wire.MESSAGE_MAX)
        return wire.decode(data) if data else None


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    door = Door(Listener(tmp_path / "s"))
    yield door
    asyncio.get_running_loop().remove_reader(door.listener.fileno())
    door.listener.sock.close()
    for tenant in list(door.holdings.tenants.values()):
        door.holdings.free(tenant)


async def test_a_process_that_ended_is_not_taken_for_who_has_its_number_now(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.get_running_loop().remove_reader(door.listener.fileno())
    code = f"import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect({str(door.listener.path)!r})"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0
    monkeypatch.setattr(agents, "start_time", lambda pid: 4711)
    monkeypatch.setattr(os, "pidfd_open", lambda pid: os.open("/dev/null", os.O_RDONLY))
    sock, _ = door.listener.sock.accept()
    with sock:
        assert peer(sock) is None


async def test_a_peer_that_lives_is_known_by_its_number_and_start() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert peer(ours) == ProcessRef(os.getpid(), start_time(os.getpid()) or 0)


async def test_who_says_nothing_is_shown_out(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "HELLO_WITHIN", 0.01)
    with door.listener.connect() as sock:
        async with asyncio.timeout(WITHIN):
            assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""


async def test_who_has_said_who_it_is_may_be_silent(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    over = asyncio.Event()
    monkeypatch.setattr(joining, "HELLO_WITHIN", 0.05)
    with door.listener.connect() as sock:
        assert await door.hello(sock) is not None
        asyncio.get_running_loop().call_later(0.1, over.set)
        await over.wait()
        (tenant,) = door.holdings.tenants.values()
        assert tenant.agent is not None


async def test_one_process_has_few_connections_that_have_not_said_who_they_are(door: Door) -> None:
    socks = [door.listener.connect() for _ in range(joining.STRANGERS + 1)]
    async with asyncio.timeout(WITHIN):
        assert await asyncio.get_running_loop().sock_recv(socks[-1], 1) == b""
    assert await door.hello(socks[0]) is not None
    for sock in socks:
        sock.close()


async def test_without_descriptors_it_waits_and_does_not_ask_on_and_on(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "ACCEPT_AGAIN", 0.2)
    door.listener.failures = 2
    with door.listener.connect() as sock:
        assert await door.hello(sock) is not None
    assert door.listener.asked <= 5, "twice in vain, once with success, and once more in vain for each time"


async def test_a_connection_that_ended_while_it_waited_is_not_asked_anything(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    with door.listener.connect() as sock:
        assert await door.hello(sock) is not None
    (tenant,) = door.holdings.tenants.values()
    heard = asyncio.Event()

    def meet(ref: ProcessRef) -> Tenant:
        heard.set()
        return tenant

    monkeypatch.setattr(door.joining, "tenant", meet)
    async with tenant.lock:
        with door.listener.connect() as sock:
            sock.send(said())
        async with asyncio.timeout(WITHIN):
            await heard.wait()
    await asyncio.gather(*door.joining.welcoming)
    assert tenant.agent is None


async def test_who_waits_for_its_memory_has_a_token(door: Door) -> None:
    with door.listener.connect() as sock:
        welcome = await door.hello(sock)
    assert welcome is not None
    (tenant,) = door.holdings.tenants.values()
    tenant.pieces, tenant.state = [Piece(Block(1, 0, 2 << 20, bytes(16), True))], HeldState.YIELDED
    with door.listener.connect() as sock:
        assert await door.hello(sock, state=wire.STATE_YIELDED) is None
    assert tenant.pieces, "and nothing is done for it"
    with door.listener.connect() as sock:
        assert await door.hello(sock, state=wire.STATE_YIELDED, token=tuple(welcome.body.token)) is not None
    tenant.pieces = []
