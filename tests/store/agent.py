"""A process with device memory that speaks hs_store.h, over whichever libcuda the loader finds: `agent.py SOCKET`.
Without a socket ("") it is one that knows nothing of a store.

Takes one command a line on its standard input, answers each with one JSON line:
`alloc ID CHUNKS SEED`, `odd ID BYTES SEED`, `write ID CHUNK SEED`, `read` (digest of every block), `free ID`,
`refuse` (the next question of the store), `quit`.
Blocks are filled by `pattern`. The store's questions are answered between commands, by a thread.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import random
import socket
import sys
import threading

from hotseat.store import cuda as abi
from hotseat.store import wire
from hotseat.store.wire import GRANULE, Block, Type


def pattern(seed: int) -> bytes:
    """Random bytes; below 0 some that can be compressed, of 0 zeros."""
    if seed < 0:
        return random.Random(seed).randbytes(1024) * (GRANULE // 1024)
    return random.Random(seed).randbytes(GRANULE) if seed else bytes(GRANULE)


class Agent:
    def __init__(self, path: str) -> None:
        self.cuda = abi.Cuda()
        self.uuid = self.cuda.device_uuids()[0]
        self.context = ctypes.c_void_p()
        self.cuda.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), 0)
        self.cuda.call("cuCtxSetCurrent", self.context)
        self.path = path
        self.blocks: dict[int, Block] = {}
        self.handles: dict[int, int] = {}
        self.token = (0, 0)
        self.open = threading.Event()
        self.open.set()
        self.refuse = False
        self.arrived: list[tuple[Block, int]] = []
        self.sock: socket.socket | None = None
        self.lock = threading.Lock()
        if path:
            threading.Thread(target=self.serve, daemon=True).start()

    # What the process does

    def map(self, block: Block, handle: int) -> None:
        access = abi.AccessDesc(abi.Location(1, 0), abi.READ_WRITE)
        self.cuda.call("cuMemMap", block.address, block.bytes, 0, handle, 0)
        self.cuda.call("cuMemSetAccess", block.address, block.bytes, ctypes.byref(access), 1)
        self.blocks[block.id], self.handles[block.id] = block, handle

    def alloc(self, ident: int, chunks: int, seed: int) -> None:
        nbytes = chunks * GRANULE
        address, handle = ctypes.c_uint64(), ctypes.c_ulonglong()
        prop = abi.AllocationProp(type=1, handle_types=abi.FD_HANDLE, location=abi.Location(1, 0))
        self.cuda.call("cuMemAddressReserve", ctypes.byref(address), nbytes, 0, 0, 0)
        self.cuda.call("cuMemCreate", ctypes.byref(handle), nbytes, ctypes.byref(prop), 0)
        self.map(Block(ident, address.value, nbytes, self.uuid, False), handle.value)
        for chunk in range(chunks):
            self.write(ident, chunk, seed + chunk if seed else 0)

    def odd(self, ident: int, nbytes: int, seed: int) -> None:
        """Memory of any size, by cuMemAlloc."""
        address = ctypes.c_uint64()
        self.cuda.call("cuMemAlloc_v2", ctypes.byref(address), nbytes)
        self.blocks[ident] = Block(ident, address.value, nbytes, self.uuid, False)
        data = pattern(seed) * (nbytes // GRANULE + 1)
        self.cuda.call("cuMemcpyHtoDAsync_v2", address.value, data, nbytes, None)
        self.cuda.call("cuStreamSynchronize", None)

    def write(self, ident: int, chunk: int, seed: int) -> None:
        at = self.blocks[ident].address + chunk * GRANULE
        self.cuda.call("cuMemcpyHtoDAsync_v2", at, pattern(seed), GRANULE, None)
        self.cuda.call("cuStreamSynchronize", None)

    def read(self) -> dict[int, str]:
        out = {}
        for ident, block in self.blocks.items():
            data = ctypes.create_string_buffer(block.bytes)
            self.cuda.call("cuMemcpyDtoHAsync_v2", data, block.address, block.bytes, None)
            self.cuda.call("cuStreamSynchronize", None)
            out[ident] = hashlib.sha256(data.raw).hexdigest()
        return out

    def free(self, ident: int) -> None:
        block = self.blocks.pop(ident)
        self.cuda.call("cuMemUnmap", block.address, block.bytes)
        self.cuda.call("cuMemRelease", self.handles.pop(ident))
        self.cuda.call("cuMemAddressFree", block.address, block.bytes)
        if block.lent and self.sock is not None:
            self.sock.send(bytes(wire.Freed(wire.head(Type.FREED, 0), ident)))

    # What the store asks

    def serve(self) -> None:
        self.cuda.call("cuCtxSetCurrent", self.context)
        while True:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                sock.connect(self.path)
                self.arrived.clear()
                try:
                    self.talk(sock)
                finally:
                    self.sock = None
                    for _, fd in self.arrived:  # of a store that died before it said RESUME
                        os.close(fd)

    def talk(self, sock: socket.socket) -> None:
        state = wire.STATE_RUNNING if self.open.is_set() else wire.STATE_YIELDED
        sizes = [block.bytes for block in self.blocks.values()]
        lent = sum(block.bytes for block in self.blocks.values() if block.lent)
        token = (ctypes.c_uint64 * 2)(*self.token)
        hello = wire.Hello(wire.head(Type.HELLO, 0), state, os.getpid(), token, len(sizes), sum(sizes), lent)
        sock.send(bytes(hello))
        while True:
            data, fds, _, _ = socket.recv_fds(sock, wire.MESSAGE_MAX, wire.BATCH)
            if not data:
                return
            message = wire.decode(data)
            match message.type:
                case Type.WELCOME:
                    self.token = tuple(message.body.token)
                    self.sock = sock
                case Type.YIELD:
                    self.give_up(sock, message.request)
                case Type.BLOCKS:
                    self.arrived += zip(message.blocks, fds, strict=True)
                case Type.RESUME:
                    self.resume(sock, message.request, self.arrived)
                    self.arrived.clear()
                case Type.LOCALISE:
                    self.localise(sock, message.request)

    def failed(self, sock: socket.socket, request: int) -> None:
        self.refuse = False
        text = b"it was told to refuse"
        sock.send(bytes(wire.Failed(wire.head(Type.FAILED, request), 999, 0, len(self.blocks), 0, text)))

    def give_up(self, sock: socket.socket, request: int) -> None:
        with self.lock:
            if self.refuse:
                return self.failed(sock, request)
            self.open.clear()
            blocks = list(self.blocks.values())
            for at in range(0, len(blocks), wire.BATCH):
                part, fds = blocks[at : at + wire.BATCH], []
                for block in part:
                    if not block.lent:
                        fd = ctypes.c_int()
                        args = (ctypes.byref(fd), self.handles[block.id], abi.FD_HANDLE, 0)
                        self.cuda.call("cuMemExportToShareableHandle", *args)
                        fds.append(fd.value)
                socket.send_fds(sock, [wire.encode_blocks(part, request=request)], fds)
                for fd in fds:
                    os.close(fd)
                if not self.kept(sock):
                    self.open.set()
                    return
            for block in blocks:
                self.cuda.call("cuMemUnmap", block.address, block.bytes)
                self.cuda.call("cuMemRelease", self.handles.pop(block.id))
            sock.send(bytes(wire.Done(wire.head(Type.YIELDED, request), len(blocks), sum(b.bytes for b in blocks))))

    def kept(self, sock: socket.socket) -> bool:
        try:
            answer = sock.recv(wire.MESSAGE_MAX)
        except OSError:
            return False
        return bool(answer) and wire.decode(answer).type is Type.KEPT

    def resume(self, sock: socket.socket, request: int, arrived: list[tuple[Block, int]]) -> None:
        with self.lock:
            if self.refuse:
                for _, fd in arrived:
                    os.close(fd)
                return self.failed(sock, request)
            for block, fd in arrived:
                handle = ctypes.c_ulonglong()
                args = (ctypes.byref(handle), ctypes.c_void_p(fd), abi.FD_HANDLE)
                self.cuda.call("cuMemImportFromShareableHandle", *args)
                os.close(fd)
                self.map(Block(block.id, block.address, block.bytes, block.uuid, True), handle.value)
            self.open.set()
            sock.send(bytes(wire.Done(wire.head(Type.RESUMED, request), len(arrived), 0)))

    def localise(self, sock: socket.socket, request: int) -> None:
        with self.lock:
            if self.refuse:
                return self.failed(sock, request)
            for block in [block for block in self.blocks.values() if block.lent]:
                data = ctypes.create_string_buffer(block.bytes)
                self.cuda.call("cuMemcpyDtoHAsync_v2", data, block.address, block.bytes, None)
                self.cuda.call("cuStreamSynchronize", None)
                self.cuda.call("cuMemUnmap", block.address, block.bytes)
                self.cuda.call("cuMemRelease", self.handles[block.id])
                handle = ctypes.c_ulonglong()
                prop = abi.AllocationProp(type=1, handle_types=abi.FD_HANDLE, location=abi.Location(1, 0))
                self.cuda.call("cuMemCreate", ctypes.byref(handle), block.bytes, ctypes.byref(prop), 0)
                self.map(Block(block.id, block.address, block.bytes, block.uuid, False), handle.value)
                self.cuda.call("cuMemcpyHtoDAsync_v2", block.address, data, block.bytes, None)
                self.cuda.call("cuStreamSynchronize", None)
            sock.send(bytes(wire.Done(wire.head(Type.LOCALISED, request), len(self.blocks), 0)))


def main() -> None:
    agent = Agent(sys.argv[1])
    for line in sys.stdin:
        name, *numbers = line.split()
        agent.open.wait()
        with agent.lock:
            if name == "quit":
                return
            if name == "refuse":
                agent.refuse = True
                answer = None
            else:
                answer = getattr(agent, name)(*map(int, numbers))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
