"""A process with device memory that knows its bytes: `python -m hotseat.bench.by_store.child BYTES BLOCK`.

It takes plain `cuMemAlloc` memory in blocks of BLOCK bytes, as an engine does; the last one may be smaller. One command
a line, one JSON line of answer: `fill SEED FROM TO` (the chunks from FROM to TO thousandths of all; SEED 0: zeros),
`check` (chunks that are not what was filled in last), `rate` (pinned copies, bytes a second; the content stays).
Chunks of 2 MiB differ from each other, and are the same in every process that fills them with the same seed.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import random
import struct
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from hotseat.store.cuda import PORTABLE, Cuda

CHUNK = 2 << 20
TIMES = 5
HEAD = 16
"""Bytes."""
BASE = random.Random(7).randbytes(CHUNK)
"""What a chunk is but for its head: the same in every process."""
TAIL = BASE[HEAD:]
ZEROS = bytes(CHUNK)
MEMCMP = ctypes.CDLL(None).memcmp
MEMCMP.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)


def head(seed: int, chunk: int) -> bytes:
    return struct.pack("QQ", seed, chunk)


class Child:
    def __init__(self, nbytes: int, block: int) -> None:
        self.cuda = Cuda()
        self.cuda.call("cuInit", 0)
        context = ctypes.c_void_p()
        self.cuda.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.cuda.call("cuCtxSetCurrent", context)
        self.staging = mmap.mmap(-1, block)
        self.pinned = ctypes.addressof(ctypes.c_char.from_buffer(self.staging))
        self.cuda.call("cuMemHostRegister_v2", self.pinned, block, PORTABLE)
        sizes = [block] * (nbytes // block) + [nbytes % block] * bool(nbytes % block)
        self.blocks = [(self.allocate(size), size) for size in sizes]
        self.seeds = [0] * (nbytes // CHUNK)
        self.pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 16))
        self.fill(1, 0, 1000)

    def allocate(self, nbytes: int) -> int:
        address = ctypes.c_uint64()
        self.cuda.call("cuMemAlloc_v2", ctypes.byref(address), nbytes)
        return address.value

    def pieces(self) -> Iterator[tuple[int, int, range]]:
        """Address and bytes of each block, and its chunks."""
        first = 0
        for address, nbytes in self.blocks:
            yield address, nbytes, range(first, first + nbytes // CHUNK)
            first += nbytes // CHUNK

    def fill(self, seed: int, first: int, last: int) -> str:
        """On the device, but for the first chunk of each block and the head of each chunk."""
        count = len(self.seeds)
        wanted = range(count * first // 1000, count * last // 1000)
        for chunk in wanted:
            self.seeds[chunk] = seed
        for address, _, chunks in self.pieces():
            here = range(max(chunks.start, wanted.start), min(chunks.stop, wanted.stop))
            if here:
                self.fill_block(address + (here.start - chunks.start) * CHUNK, here, seed)
        return "filled"

    def fill_block(self, at: int, chunks: range, seed: int) -> None:
        nbytes = len(chunks) * CHUNK
        if not seed:
            self.cuda.call("cuMemsetD8Async", at, 0, nbytes, None)
        else:
            self.staging[:CHUNK] = BASE
            self.cuda.call("cuMemcpyHtoDAsync_v2", at, self.pinned, CHUNK, None)
            done = CHUNK
            while done < nbytes:
                more = min(done, nbytes - done)
                self.cuda.call("cuMemcpyDtoDAsync_v2", at + done, at, more, None)
                done += more
            self.cuda.call("cuStreamSynchronize", None)
            for place, chunk in enumerate(chunks):
                self.staging[place * HEAD : (place + 1) * HEAD] = head(seed, chunk)
                source = self.pinned + place * HEAD
                self.cuda.call("cuMemcpyHtoDAsync_v2", at + place * CHUNK, source, HEAD, None)
        self.cuda.call("cuStreamSynchronize", None)

    def check(self) -> int:
        """Compared by the CPU: what the store says of bytes is what is to be checked."""
        wrong = 0
        for address, nbytes, chunks in self.pieces():
            self.down(address, nbytes)
            wrong += sum(self.pool.map(self.differs, range(len(chunks)), chunks))
        return wrong

    def differs(self, place: int, chunk: int) -> bool:
        seed, at = self.seeds[chunk], place * CHUNK
        if self.staging[at : at + HEAD] != (head(seed, chunk) if seed else bytes(HEAD)):
            return True
        return bool(MEMCMP(self.pinned + at + HEAD, TAIL if seed else ZEROS, CHUNK - HEAD))

    def rate(self) -> dict[str, float]:
        """The best of some. What goes down comes up again."""
        best = {}
        address, nbytes = self.blocks[0]
        for name, copy in (("to_host", self.down), ("to_device", self.up)):
            times = []
            for _ in range(TIMES):
                began = time.perf_counter()
                copy(address, nbytes)
                times.append(time.perf_counter() - began)
            best[name] = nbytes / min(times)
        return best

    def up(self, address: int, nbytes: int) -> None:
        self.copy("cuMemcpyHtoDAsync_v2", address, self.pinned, nbytes)

    def down(self, address: int, nbytes: int) -> None:
        self.copy("cuMemcpyDtoHAsync_v2", self.pinned, address, nbytes)

    def copy(self, name: str, target: int, source: int, nbytes: int) -> None:
        self.cuda.call(name, target, source, nbytes, None)
        self.cuda.call("cuStreamSynchronize", None)


def main() -> None:
    child = Child(int(sys.argv[1]), int(sys.argv[2]))
    commands: dict[str, Callable[..., object]] = {"fill": child.fill, "check": child.check, "rate": child.rate}
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        name, *numbers = line.split()
        print(json.dumps(commands[name](*map(int, numbers))), flush=True)


if __name__ == "__main__":
    main()
