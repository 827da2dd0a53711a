"""A store in small, for tests: holds the memory of one process. Commands on stdin, one JSON answer a line on stdout.

    python holder.py SOCKET        with the environment of an emulated node

`yield`, `out` (copy to host memory, free the device's), `in`, `give` (the blocks, without RESUME), `resume`,
`localise`, `drop` (close the connection),
`wait` (for the next connection), `spoil` (change one byte of what is out), `forget` (everything), `quit`.
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import socket
import struct
import sys
from typing import Any

HEAD = struct.Struct("<IIQ")
HELLO = struct.Struct("<IIQIIQQQQQ")
BLOCKS = struct.Struct("<IIQII")
BLOCK = struct.Struct("<QQQ16sII")
DONE = struct.Struct("<IIQQQQQQ")
FAILED = struct.Struct("<IIQiIQQ160s")
HELLO_T, WELCOME, YIELD, BLOCKS_T, YIELDED, RESUME, RESUMED, LOCALISE, LOCALISED, FAILED_T = range(1, 11)
BATCH, ROOM = 64, 1 << 16


class Location(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("id", ctypes.c_int))


class Prop(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("handles", ctypes.c_int),
        ("location", Location),
        ("meta", ctypes.c_void_p),
        ("flags", ctypes.c_ubyte * 8),
    )


class Access(ctypes.Structure):
    _fields_ = (("location", Location), ("flags", ctypes.c_int))


class Cuda:
    def __init__(self) -> None:
        self._lib = ctypes.CDLL("libcuda.so.1")
        self("cuInit", 0)
        context = ctypes.c_void_p()
        self("cuCtxCreate_v2", ctypes.byref(context), 0, 0)
        self.prop = Prop(1, 1, Location(1, 0), None)

    def __call__(self, name: str, *arguments: Any) -> None:
        if result := getattr(self._lib, name)(*arguments):
            raise RuntimeError(f"{name}: {result}")

    def create(self, size: int) -> int:
        handle = ctypes.c_ulonglong()
        self("cuMemCreate", ctypes.byref(handle), ctypes.c_size_t(size), ctypes.byref(self.prop), ctypes.c_ulonglong(0))
        return handle.value

    def take(self, fd: int) -> int:
        handle = ctypes.c_ulonglong()
        self("cuMemImportFromShareableHandle", ctypes.byref(handle), ctypes.c_void_p(fd), 1)
        return handle.value

    def export(self, handle: int) -> int:
        fd = ctypes.c_int()
        self("cuMemExportToShareableHandle", ctypes.byref(fd), ctypes.c_ulonglong(handle), 1, ctypes.c_ulonglong(0))
        return fd.value

    def release(self, handle: int) -> None:
        self("cuMemRelease", ctypes.c_ulonglong(handle))

    def copy(self, handle: int, size: int, data: bytearray | None) -> bytearray:
        """Out of the block, or `data` into it."""
        at, length = ctypes.c_ulonglong(), ctypes.c_size_t(size)
        self(
            "cuMemAddressReserve",
            ctypes.byref(at),
            length,
            ctypes.c_size_t(0),
            ctypes.c_ulonglong(0),
            ctypes.c_ulonglong(0),
        )
        self("cuMemMap", at, length, ctypes.c_size_t(0), ctypes.c_ulonglong(handle), ctypes.c_ulonglong(0))
        self("cuMemSetAccess", at, length, ctypes.byref(Access(Location(1, 0), 3)), ctypes.c_size_t(1))
        if data is None:
            data = bytearray(size)
            self("cuMemcpyDtoH_v2", (ctypes.c_char * size).from_buffer(data), at, length)
        else:
            self("cuMemcpyHtoD_v2", at, (ctypes.c_char * size).from_buffer(data), length)
        self("cuMemUnmap", at, length)
        self("cuMemAddressFree", at, length)
        return data


class Holder:
    def __init__(self, path: str) -> None:
        self.cuda = Cuda()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen()
        self.listener.settimeout(20)
        self.blocks: dict[int, dict[str, Any]] = {}
        self.request = 0
        self.connection: socket.socket | None = None

    def wait(self) -> dict[str, Any]:
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(20)
        said = HELLO.unpack(self.connection.recv(ROOM))
        assert said[1] == HELLO_T, said
        self.connection.send(HEAD.pack(1, WELCOME, 0) + struct.pack("<QQ", said[5] or 17, said[6] or 4))
        pid, _, _ = struct.unpack("iii", self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return {"state": said[3], "pid": pid, "token": said[5], "blocks": said[7], "bytes": said[8], "lent": said[9]}

    def ask(self, kind: int, rest: bytes = b"") -> dict[str, Any]:
        self.request += 1
        assert self.connection is not None
        self.connection.send(HEAD.pack(1, kind, self.request) + rest)
        named: set[int] = set()
        while True:
            message, fds, *_ = socket.recv_fds(self.connection, ROOM, BATCH)
            if not message:
                return {"failed": "the connection was lost"}
            _, kind, request = HEAD.unpack_from(message)
            assert request == self.request, message
            if kind == FAILED_T:
                said = FAILED.unpack(message)
                return {"failed": said[7].split(b"\0")[0].decode(), "result": said[3], "bytes": said[6]}
            if kind != BLOCKS_T:
                done = DONE.unpack(message)
                if kind == YIELDED:  # what the process has freed since
                    self.forget(set(self.blocks) - named)
                return {"blocks": done[3], "bytes": done[4]}
            count = BLOCKS.unpack_from(message)[3]
            local = list(fds)
            for i in range(count):
                ident, address, size, _, lent, _ = BLOCK.unpack_from(message, BLOCKS.size + i * BLOCK.size)
                named.add(ident)
                if lent:
                    assert ident in self.blocks
                else:
                    fd = local.pop(0)
                    self.blocks[ident] = {"size": size, "address": address, "handle": self.cuda.take(fd), "fd": fd}
            assert not local

    def out(self) -> dict[str, Any]:
        for block in self.blocks.values():
            block["data"] = self.cuda.copy(block["handle"], block["size"], None)
            self.cuda.release(block["handle"])
            if "fd" in block:
                os.close(block.pop("fd"))
        return {"bytes": sum(len(block["data"]) for block in self.blocks.values())}

    def into(self) -> dict[str, Any]:
        for block in self.blocks.values():
            block["handle"] = self.cuda.create(block["size"])
            self.cuda.copy(block["handle"], block["size"], block.pop("data"))
        return {}

    def resume(self, leave: int = 0) -> dict[str, Any]:
        """`leave`: so many blocks are not sent."""
        self.give(leave)
        return self.ask(RESUME)

    def give(self, leave: int = 0) -> dict[str, Any]:
        """The blocks alone."""
        assert self.connection is not None
        given = list(self.blocks.items())[leave:]
        for start in range(0, len(given), BATCH):
            part = given[start : start + BATCH]
            fds = [os.dup(one["fd"]) if "fd" in one else self.cuda.export(one["handle"]) for _, one in part]
            body = b"".join(BLOCK.pack(ident, one["address"], one["size"], bytes(16), 1, 0) for ident, one in part)
            message = BLOCKS.pack(1, BLOCKS_T, self.request + 1, len(part), 0) + body
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            self.connection.sendmsg([message], rights)
            for fd in fds:
                os.close(fd)
        return {}

    def spoil(self) -> dict[str, Any]:
        block = max(self.blocks.values(), key=lambda one: len(one["data"]))
        at = next(i for i, byte in enumerate(block["data"]) if byte)
        block["data"][at] ^= 1
        return {}

    def forget(self, which: set[int] | None = None) -> dict[str, Any]:
        for ident in set(self.blocks) if which is None else which:
            block = self.blocks.pop(ident)
            if "data" not in block:
                self.cuda.release(block["handle"])
            if "fd" in block:
                os.close(block["fd"])
        return {}

    def run(self) -> None:
        for line in sys.stdin:
            command, *arguments = line.split()
            numbers = [int(one) for one in arguments]
            if command == "quit":
                return
            if command == "yield":
                answer = self.ask(YIELD, struct.pack("<II", *(numbers or [5000]), 0))
            elif command == "localise":
                answer = self.ask(LOCALISE)
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
