"""A store in small, for tests: holds the memory of one process. Commands on stdin, one JSON answer a line on stdout.

    python holder.py SOCKET        with the environment of an emulated node

`yield`, `out` (copy to host memory, free the device's), `in`, `give` (the blocks, without RESUME), `resume`,
`localise`, `snatch` (a yield whose store dies in it), `freed` (what the process says next that it freed), `drop` (close
the connection),
`wait` (for the next connection), `spoil` (change one byte of what is out), `forget` (everything), `quit`.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any

from hotseat.store import wire
from hotseat.store.cuda import Cuda
from hotseat.store.device import Device
from hotseat.store.wire import Block, Type


@dataclass
class Kept:
    """A block: its memory by `handle`, or out in `data`. `fd`: as its process gave it."""

    block: Block
    handle: int
    fd: int | None = None
    data: bytearray | None = None


class Holder:
    def __init__(self, path: str) -> None:
        self.cuda = Cuda()
        self.device = Device(self.cuda, 0, self.cuda.device_uuids()[0])
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen()
        self.listener.settimeout(20)
        self.kept: dict[int, Kept] = {}
        self.request = 0
        self.freed: list[int] = []
        """What the process said that it freed."""
        self.connection: socket.socket | None = None

    def wait(self) -> dict[str, Any]:
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(20)
        said = wire.decode(self.connection.recv(wire.MESSAGE_MAX)).body
        assert isinstance(said, wire.Hello), said
        token = (ctypes.c_uint64 * 2)(said.token[0] or 17, said.token[1] or 4)
        self.connection.send(bytes(wire.Welcome(wire.head(Type.WELCOME, 0), token)))
        pid, _, _ = struct.unpack("iii", self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        numbers = {"blocks": said.blocks, "bytes": said.bytes, "lent": said.lent_bytes}
        return {"state": said.state, "pid": pid, "token": said.token[0], **numbers}

    def ask(self, question: type[ctypes.Structure], kind: Type, *rest: int) -> dict[str, Any]:
        self.request += 1
        assert self.connection is not None
        head = wire.head(kind, self.request)
        self.connection.send(bytes(head if question is wire.Head else question(head, *rest)))
        named: set[int] = set()
        while True:
            data, fds, *_ = socket.recv_fds(self.connection, wire.MESSAGE_MAX, wire.BATCH)
            if not data:
                return {"failed": "the connection was lost"}
            message = wire.decode(data)
            if isinstance(message.body, wire.Freed):
                self.freed.append(message.body.id)
                continue
            assert message.request == self.request, message
            if isinstance(message.body, wire.Failed):
                said = message.body
                return {"failed": said.text.decode(), "result": said.result, "bytes": said.bytes}
            if isinstance(message.body, wire.Done):
                if message.type is Type.YIELDED:  # what the process has freed since
                    self.forget(set(self.kept) - named)
                return {"blocks": message.body.blocks, "bytes": message.body.bytes}
            local = list(fds)
            for block in message.blocks:
                named.add(block.id)
                if block.lent:
                    assert block.id in self.kept
                else:
                    fd = local.pop(0)
                    self.kept[block.id] = Kept(block, self.device.import_(fd), fd)
            assert not local
            self.connection.send(bytes(wire.head(Type.KEPT, self.request)))

    def hear_freed(self) -> int:
        assert self.connection is not None
        said = wire.decode(self.connection.recv(wire.MESSAGE_MAX)).body
        assert isinstance(said, wire.Freed), said
        self.forget({said.id})
        return int(said.id)

    def snatch(self) -> dict[str, Any]:
        """Asks for the blocks, and ends before it says that it keeps them."""
        assert self.connection is not None
        self.request += 1
        self.connection.send(bytes(wire.Yield(wire.head(Type.YIELD, self.request), 5000)))
        data, fds, *_ = socket.recv_fds(self.connection, wire.MESSAGE_MAX, wire.BATCH)
        for fd in fds:
            os.close(fd)
        self.connection.close()
        return {"blocks": len(wire.decode(data).blocks)}

    def out(self) -> dict[str, Any]:
        for one in self.kept.values():
            one.data = bytearray(one.block.bytes)
            self.copy("cuMemcpyDtoHAsync_v2", one)
            self.device.release(one.handle)
            self.close(one)
        return {"bytes": sum(one.block.bytes for one in self.kept.values())}

    def into(self) -> dict[str, Any]:
        for one in self.kept.values():
            one.handle = self.device.create(one.block.bytes)
            self.copy("cuMemcpyHtoDAsync_v2", one)
            one.data = None
        return {}

    def copy(self, call: str, one: Kept) -> None:
        assert one.data is not None
        size = one.block.bytes
        with self.device.window([(one.handle, size)]) as at:
            here = (ctypes.c_char * size).from_buffer(one.data)
            both = (here, at) if "DtoH" in call else (at, here)
            self.cuda.call(call, *both, size, None)
            self.cuda.call("cuStreamSynchronize", None)

    def close(self, one: Kept) -> None:
        if one.fd is not None:
            os.close(one.fd)
            one.fd = None

    def resume(self, leave: int = 0) -> dict[str, Any]:
        """`leave`: so many blocks are not sent."""
        self.give(leave)
        return self.ask(wire.Done, Type.RESUME)

    def give(self, leave: int = 0) -> dict[str, Any]:
        """The blocks alone."""
        assert self.connection is not None
        given = list(self.kept.values())[leave:]
        for start in range(0, len(given), wire.BATCH):
            part = given[start : start + wire.BATCH]
            fds = [os.dup(one.fd) if one.fd is not None else self.device.export(one.handle) for one in part]
            message = wire.encode_blocks([one.block for one in part], request=self.request + 1)
            socket.send_fds(self.connection, [message], fds)
            for fd in fds:
                os.close(fd)
        return {}

    def spoil(self) -> dict[str, Any]:
        largest = max(self.kept.values(), key=lambda one: one.block.bytes)
        assert largest.data is not None
        largest.data[next(i for i, byte in enumerate(largest.data) if byte)] ^= 1
        return {}

    def forget(self, which: set[int] | None = None) -> dict[str, Any]:
        for ident in set(self.kept) if which is None else which:
            one = self.kept.pop(ident)
            if one.data is None:
                self.device.release(one.handle)
            self.close(one)
        return {}

    def run(self) -> None:
        for line in sys.stdin:
            command, *arguments = line.split()
            numbers = [int(one) for one in arguments]
            if command == "quit":
                return
            if command == "yield":
                answer = self.ask(wire.Yield, Type.YIELD, *(numbers or [5000]))
            elif command == "localise":
                answer = self.ask(wire.Head, Type.LOCALISE)
                if "failed" not in answer:
                    self.forget()
            elif command == "drop":
                assert self.connection is not None
                self.connection.close()
                answer = {}
            elif command == "resume":
                answer = self.resume(*numbers)
            else:
                answer = {
                    "wait": self.wait,
                    "snatch": self.snatch,
                    "freed": lambda: {"freed": self.hear_freed()},
                    "out": self.out,
                    "in": self.into,
                    "spoil": self.spoil,
                    "forget": self.forget,
                    "give": self.give,
                }[command]()
            print(json.dumps(answer), flush=True)


holder = Holder(sys.argv[1])
print("listening", flush=True)
holder.run()
