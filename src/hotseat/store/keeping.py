"""What the keeper and its worker say to each other, and the worker's end of it.

SOCK_SEQPACKET, one msgpack message each; PUT and the answers to LIST carry a descriptor for each block. The worker
asks, the keeper answers at once: it does nothing else.
"""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Sequence

import msgspec

from hotseat.errors import Failed, Unavailable
from hotseat.store.wire import Block, Uuid
from hotseat.words import ProcessRef

MESSAGE_MAX = 1 << 16
DROP_AT_ONCE = 1000
PUT_AT_ONCE = 128
"""Descriptors in one message; the kernel takes 253."""
ANSWER_WITHIN = 10.0
"""Seconds."""


class Kept(msgspec.Struct, array_like=True, frozen=True):
    """One block on a device, whose descriptor the keeper has. Its name is (pid, start, id)."""

    pid: int
    start: int
    id: int
    address: int
    bytes: int
    uuid: Uuid
    lent: bool

    @property
    def ref(self) -> ProcessRef:
        return ProcessRef(self.pid, self.start)

    @property
    def block(self) -> Block:
        return Block(self.id, self.address, self.bytes, self.uuid, self.lent)


class Put(msgspec.Struct, tag="put", array_like=True):
    """With their descriptors. Answered by `Ok`, or by `Full`: none of them is kept."""

    kept: list[Kept]


class Drop(msgspec.Struct, tag="drop", array_like=True):
    """Answered by `Ok` once the descriptors are closed."""

    names: list[tuple[int, int, int]]


class Lend(msgspec.Struct, tag="lend", array_like=True):
    """These are lent from now on. Answered by `Ok`."""

    names: list[tuple[int, int, int]]


class List(msgspec.Struct, tag="list", array_like=True):
    """Answered by as many `Put` as it takes, and `Ok`."""


class Ok(msgspec.Struct, tag="ok", array_like=True):
    pass


class Full(msgspec.Struct, tag="full", array_like=True):
    """So many may be kept, with those that are."""

    limit: int


Message = Put | Drop | Lend | List | Ok | Full
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Message)


def most() -> int:
    """Blocks that are kept at most: each is a descriptor here and one in the worker, which needs others too."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2


def send(sock: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    socket.send_fds(sock, [_encode(message)], list(fds))


def receive(sock: socket.socket) -> tuple[Message | None, list[int]]:
    """None at the end of the connection. Fewer descriptors than were sent, if this process may open no more. Blocks."""
    data, fds, _, _ = socket.recv_fds(sock, MESSAGE_MAX, PUT_AT_ONCE, socket.MSG_CMSG_CLOEXEC)
    return (_decoder.decode(data) if data else None), fds


class Keeping:
    """The worker's end. Methods block for a moment; any thread may call them."""

    def __init__(self, fd: int) -> None:
        self._sock = socket.socket(fileno=fd)
        self._sock.settimeout(ANSWER_WITHIN)
        self._lock = threading.Lock()

    def put(self, ref: ProcessRef, blocks: Sequence[tuple[Block, int]]) -> None:
        """Each with its descriptor. `Failed` if the keeper may not open so many; it has some of them then."""
        for start in range(0, len(blocks), PUT_AT_ONCE):
            some = blocks[start : start + PUT_AT_ONCE]
            kept = [Kept(ref.pid, ref.start_time, b.id, b.address, b.bytes, b.uuid, b.lent) for b, _ in some]
            self._ask(Put(kept), [fd for _, fd in some])

    def drop(self, ref: ProcessRef, ids: Sequence[int]) -> None:
        for start in range(0, len(ids), DROP_AT_ONCE):
            self._ask(Drop([(ref.pid, ref.start_time, one) for one in ids[start : start + DROP_AT_ONCE]]))

    def lend(self, ref: ProcessRef, ids: Sequence[int]) -> None:
        """What is on a device of these is no longer the process's own: should nobody remember, it is the keeper's."""
        for start in range(0, len(ids), DROP_AT_ONCE):
            self._ask(Lend([(ref.pid, ref.start_time, one) for one in ids[start : start + DROP_AT_ONCE]]))

    def all(self) -> list[tuple[Kept, int]]:
        """Everything that it keeps; the descriptors are the caller's."""
        return self._ask(List())

    def _ask(self, message: Message, fds: Sequence[int] = ()) -> list[tuple[Kept, int]]:
        found: list[tuple[Kept, int]] = []
        with self._lock:
            try:
                send(self._sock, message, fds)
                while True:
                    answer, got = receive(self._sock)
                    if isinstance(answer, Put):
                        found += zip(answer.kept, got, strict=True)
                    elif isinstance(answer, Ok):
                        return found
                    elif isinstance(answer, Full):
                        raise Failed(
                            f"the store keeps {answer.limit} blocks at most: half of the files that it may open",
                            hint="raise its limit of open files: LimitNOFILE= of its unit, or `ulimit -n`",
                        )
                    else:
                        raise ConnectionError("the keeper ended")
            except OSError as error:
                for _, fd in found:
                    os.close(fd)
                raise Unavailable(f"the store's keeper does not answer: {error}", hint="restart the store") from error
