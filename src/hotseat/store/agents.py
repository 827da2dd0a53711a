"""Connections of interposers: who they are, messages with descriptors, one question at a time."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Sequence

from hotseat.errors import DriverFailed, Failed, ProcessGone
from hotseat.gpu.procfs import start_time
from hotseat.store import wire
from hotseat.store.wire import Message, Type
from hotseat.words import ProcessRef

AT_ONCE = 64
"""Messages of one connection that are read before others are."""
Received = tuple[Message, list[int]]
SO_PEERPIDFD = 77
"""Linux 6.5; <asm-generic/socket.h>"""


def peer(sock: socket.socket) -> ProcessRef | None:
    """The process that connected, as the kernel says; None if it has ended."""
    pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if pid <= 0:
        return None
    try:
        fd = _peer_pidfd(sock, pid)
    except OSError:  # it has ended
        return None
    try:
        start = start_time(pid)
        # It lives, so the number was its own when the start time was read.
        return None if start is None or _ready(fd) else ProcessRef(pid, start)
    finally:
        os.close(fd)


def _peer_pidfd(sock: socket.socket, pid: int) -> int:
    """Of who connected. Where the kernel cannot say, of who has its number now."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
    fd = os.pidfd_open(pid)
    if _ready(sock.fileno(), select.POLLHUP | select.POLLRDHUP):  # it ended, or does not want anything
        os.close(fd)
        raise ProcessLookupError(errno.ESRCH, "it has ended")
    return fd


def _ready(fd: int, events: int = select.POLLIN) -> bool:
    poll = select.poll()
    poll.register(fd, events)
    return bool(poll.poll(0))


class Agent:
    """One connection. Descriptors that nobody took are closed."""

    def __init__(self, sock: socket.socket, ref: ProcessRef, *, on_message: Callable[[Agent, Message], None]) -> None:
        self.ref = ref
        self.closed = False
        self.on_close: Callable[[Agent], None] = lambda agent: None
        self._on_message = on_message
        self._sock = sock
        self._asked = 0
        self._ready: asyncio.Future[None] | None = None
        self._answers: asyncio.Queue[Received | None] | None = None
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock, self._readable)

    def _readable(self) -> None:
        for _ in range(AT_ONCE):  # then others have their turn, however fast this one speaks
            if self.closed:
                return
            try:
                data, fds, flags, _ = socket.recv_fds(
                    self._sock, wire.MESSAGE_MAX + 1, wire.BATCH + 1, socket.MSG_CMSG_CLOEXEC
                )
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, fds, flags = b"", [], 0
            try:
                if not data or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                    raise wire.Garbled("the end, or more than fits")
                message = wire.decode(data)
                expected = sum(not block.lent for block in message.blocks)
                if len(fds) != expected:
                    raise wire.Garbled(f"{len(fds)} descriptors for {expected} blocks")
            except wire.Garbled:
                _close(fds)
                self.close()
                return
            if self._answers is not None and message.request == self._asked:
                self._answers.put_nowait((message, fds))
            else:
                _close(fds)
                self._on_message(self, message)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
        if self._answers is not None:
            self._answers.put_nowait(None)
        self.on_close(self)

    async def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """`ProcessGone` if the connection is lost."""
        while True:
            if self.closed:
                raise self._lost()
            try:
                socket.send_fds(self._sock, [data], list(fds))
                return
            except (BlockingIOError, InterruptedError):
                await self._writable()
            except OSError:
                self.close()

    async def _writable(self) -> None:
        ready = self._ready = self._loop.create_future()
        self._loop.add_writer(self._sock, _set, ready)
        try:
            await ready
        finally:
            if not self.closed:
                self._loop.remove_writer(self._sock)

    async def ask(
        self,
        question: Callable[[int], Sequence[tuple[bytes, Sequence[int]]]],
        *,
        answer: Type,
        on_blocks: Callable[[Sequence[wire.Block], list[int]], None] | None = None,
    ) -> wire.Done:
        """Sends what `question` makes for a request number, and waits for `answer`; no deadline of its own.

        `on_blocks` takes the descriptors; once it has, they are kept, and the process is told so. `DriverFailed` if the
        process answers FAILED, with `.details["blocks"]` and "bytes" still mapped; `ProcessGone` if the connection is
        lost.
        """
        self._asked += 1
        self._answers = asyncio.Queue()
        try:
            for data, fds in question(self._asked):
                await self.send(data, fds)
            while True:
                got = await self._answers.get()
                if got is None:
                    raise self._lost()
                message, fds = got
                body = message.body
                if message.type is Type.BLOCKS and on_blocks is not None:
                    try:
                        on_blocks(message.blocks, fds)
                    except BaseException:
                        self.close()  # so that it does not wait for a word that its blocks are kept
                        raise
                    await self.send(bytes(wire.head(Type.KEPT, self._asked)))
                elif message.type is answer and isinstance(body, wire.Done):
                    return body
                elif isinstance(body, wire.Failed):
                    raise DriverFailed(
                        f"process {self.ref.pid}: {body.text.decode(errors='replace') or 'no reason given'}",
                        result=body.result,
                        hint="the process's own log says more; park it by the driver, or restart it",
                        blocks=int(body.blocks),
                        bytes=int(body.bytes),
                    )
                else:
                    _close(fds)
                    self.close()
                    raise Failed(f"process {self.ref.pid} answered {message.type.name}, not {answer.name}")
        finally:
            answers, self._answers = self._answers, None
            while answers is not None and not answers.empty():
                left = answers.get_nowait()
                _close(left[1] if left else [])

    def _lost(self) -> ProcessGone:
        return ProcessGone(
            f"process {self.ref.pid} closed its connection to the store",
            hint="it ended, or its interposer will connect again: ask `held`",
            pid=self.ref.pid,
            start_time=self.ref.start_time,
        )


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
