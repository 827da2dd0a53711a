"""A process with device memory in blocks that speaks hs_store.h itself, in the place of the interposer.

`store_process.py SOCKET BLOCKS BLOCK_BYTES` (SOCKET "-": no store). Takes one command a line, answers each with one
JSON line: `fill SEED`, `check SEED` (bytes that differ), `rate` (pinned copies, bytes a second), `quit`. Every 2 MiB
differ from each other and from those of another seed.
"""

import ctypes
import json
import mmap
import os
import socket
import struct
import sys
import threading
import time

from hotseat.store import cuda as abi
from hotseat.store import wire
from hotseat.store.wire import GRANULE, Block, Type

DEVICE = abi.Location(1, 0)
TIMES = 5


class Process:
    def __init__(self, blocks: int, block_bytes: int) -> None:
        self.cuda, self.block_bytes = abi.Cuda(), block_bytes
        self.uuid = self.cuda.device_uuids()[0]
        self.context = ctypes.c_void_p()
        self.cuda.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), 0)
        self.cuda.call("cuCtxSetCurrent", self.context)
        self.blocks: dict[int, Block] = {}
        self.handles: dict[int, int] = {}
        self.gate = threading.Lock()
        self.source, self.target = self.pinned(os.urandom(block_bytes)), self.pinned(b"")
        for ident in range(1, blocks + 1):
            address, handle = ctypes.c_uint64(), ctypes.c_ulonglong()
            prop = abi.AllocationProp(type=1, handle_types=abi.FD_HANDLE, location=DEVICE)
            self.cuda.call("cuMemAddressReserve", ctypes.byref(address), block_bytes, 0, 0, 0)
            self.cuda.call("cuMemCreate", ctypes.byref(handle), block_bytes, ctypes.byref(prop), 0)
            self.map(Block(ident, address.value, block_bytes, self.uuid, False), handle.value)

    def pinned(self, data: bytes) -> mmap.mmap:
        memory = mmap.mmap(-1, self.block_bytes)
        memory[: len(data)] = data
        self.cuda.call("cuMemHostRegister_v2", at(memory), self.block_bytes, abi.PORTABLE)
        return memory

    def map(self, block: Block, handle: int) -> None:
        access = abi.AccessDesc(DEVICE, abi.READ_WRITE)
        self.cuda.call("cuMemMap", block.address, block.bytes, 0, handle, 0)
        self.cuda.call("cuMemSetAccess", block.address, block.bytes, ctypes.byref(access), 1)
        self.blocks[block.id], self.handles[block.id] = block, handle

    def stamp(self, seed: int, ident: int) -> None:
        for chunk in range(0, self.block_bytes, GRANULE):
            self.source[chunk : chunk + 24] = struct.pack("QQQ", seed, ident, chunk)

    def up(self, block: Block) -> None:
        self.cuda.call("cuMemcpyHtoDAsync_v2", block.address, at(self.source), block.bytes, None)
        self.cuda.call("cuStreamSynchronize", None)

    def down(self, block: Block) -> None:
        self.cuda.call("cuMemcpyDtoHAsync_v2", at(self.target), block.address, block.bytes, None)
        self.cuda.call("cuStreamSynchronize", None)

    def fill(self, seed: int) -> None:
        for block in self.blocks.values():
            self.stamp(seed, block.id)
            self.up(block)

    def check(self, seed: int) -> int:
        wrong = 0
        for block in self.blocks.values():
            self.stamp(seed, block.id)
            self.down(block)
            if self.source[:] != self.target[:]:
                wrong += sum(a != b for a, b in zip(self.source[:], self.target[:], strict=True))
        return wrong

    def rate(self) -> dict[str, float]:
        """The best of some; the last fill is broken by it."""
        block = next(iter(self.blocks.values()))
        best = {}
        for name, copy in (("to_device", self.up), ("to_host", self.down)):
            times = []
            for _ in range(TIMES):
                began = time.perf_counter()
                copy(block)
                times.append(time.perf_counter() - began)
            best[name] = block.bytes / min(times)
        return best

    def serve(self, path: str) -> None:
        self.cuda.call("cuCtxSetCurrent", self.context)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.connect(path)
            size = sum(block.bytes for block in self.blocks.values())
            token = (ctypes.c_uint64 * 2)()
            hello = wire.Hello(
                wire.head(Type.HELLO, 0), wire.STATE_RUNNING, os.getpid(), token, len(self.blocks), size, 0
            )
            sock.send(bytes(hello))
            arrived: list[tuple[Block, int]] = []
            while True:
                data, fds, _, _ = socket.recv_fds(sock, wire.MESSAGE_MAX, wire.BATCH)
                if not data:
                    return
                message = wire.decode(data)
                if message.type is Type.YIELD:
                    self.gate.acquire()
                    self.give_up(sock, message.request)
                elif message.type is Type.BLOCKS:
                    arrived += zip(message.blocks, fds, strict=True)
                elif message.type is Type.RESUME:
                    self.take_back(sock, message.request, arrived)
                    arrived = []
                    self.gate.release()

    def give_up(self, sock: socket.socket, request: int) -> None:
        blocks = list(self.blocks.values())
        for first in range(0, len(blocks), wire.BATCH):
            part, fds = blocks[first : first + wire.BATCH], []
            for block in part:
                if not block.lent:
                    fd = ctypes.c_int()
                    handle = self.handles[block.id]
                    self.cuda.call("cuMemExportToShareableHandle", ctypes.byref(fd), handle, abi.FD_HANDLE, 0)
                    fds.append(fd.value)
            socket.send_fds(sock, [wire.encode_blocks(part, request=request)], fds)
            for one in fds:
                os.close(one)
        for block in blocks:
            self.cuda.call("cuMemUnmap", block.address, block.bytes)
            self.cuda.call("cuMemRelease", self.handles.pop(block.id))
        size = sum(block.bytes for block in blocks)
        sock.send(bytes(wire.Done(wire.head(Type.YIELDED, request), len(blocks), size)))

    def take_back(self, sock: socket.socket, request: int, arrived: list[tuple[Block, int]]) -> None:
        for block, fd in arrived:
            handle = ctypes.c_ulonglong()
            given = (ctypes.byref(handle), ctypes.c_void_p(fd), abi.FD_HANDLE)
            self.cuda.call("cuMemImportFromShareableHandle", *given)
            os.close(fd)
            self.map(Block(block.id, block.address, block.bytes, block.uuid, True), handle.value)
        sock.send(bytes(wire.Done(wire.head(Type.RESUMED, request), len(arrived), 0)))


def at(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def main() -> None:
    path, blocks, block_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    process = Process(blocks, block_bytes)
    if path != "-":
        threading.Thread(target=process.serve, args=[path], daemon=True).start()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        name, *numbers = line.split()
        if name == "quit":
            return
        with process.gate:
            answer = getattr(process, name)(*map(int, numbers))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
