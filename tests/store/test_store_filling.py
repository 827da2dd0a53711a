"""Memory that is filled group by group: what has bytes first, each byte where it belongs, nothing left by a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from hotseat.emulator.node import EmulatedNode

FILL = """
import json, mmap, os, sys, threading
import numpy as np
from hotseat.errors import HotseatError
from hotseat.store import tenant
from hotseat.store.arena import Arena
from hotseat.store.device import Device, Devices
from hotseat.store.digest import CHUNK
from hotseat.store.filling import filled
from hotseat.store.tenant import Piece, Share
from hotseat.store.wire import Block

tenant.GROUP = 4 * CHUNK
lengths, slots, stopped = json.loads(sys.argv[1])
made, created = Device.create, []
Device.create = lambda self, nbytes: created.append(nbytes // CHUNK) or made(self, nbytes)
devices = Devices("libcuda.so.1")
device = devices.any()
memory = os.memfd_create("arena")
os.truncate(memory, 8 * CHUNK)
arena = Arena(memory)
for slot in range(8):
    arena.chunk(slot)[:] = bytes([slot + 1]) * CHUNK
pieces = [Piece(Block(i + 1, i << 40, n * CHUNK, device.uuid, True)) for i, n in enumerate(lengths)]
share = Share(device.uuid, pieces, 0, len(slots))
stop = threading.Event()
if stopped:
    stop.set()
open_before, answer = len(os.listdir("/proc/self/fd")), {}
try:
    fds, mapped = filled(device, share, np.array(slots, dtype=np.int32), arena=arena, stop=stop, stream=None)
except HotseatError as error:
    answer["error"] = type(error).__name__
else:
    answer["created"], back = list(created), []
    mapped.close()
    handles = [(device.import_(fd), n * CHUNK) for fd, n in zip(fds, lengths, strict=True)]
    host = mmap.mmap(-1, CHUNK)
    from hotseat.store.runs import Run
    import ctypes
    at_host = ctypes.addressof(ctypes.c_char.from_buffer(host))
    with device.window(handles) as base:
        for chunk in range(len(slots)):
            with device.copies(arena=at_host, stop=threading.Event()) as copies:
                copies.out([Run(base + chunk * CHUNK, 0, 1)])
            assert len(set(host[:])) == 1
            back.append(host[0])
    answer["back"] = back
    for handle, _ in handles:
        device.release(handle)
    for fd in fds:
        os.close(fd)
answer["left open"] = len(os.listdir("/proc/self/fd")) - open_before
whole = device.create(json.loads(sys.argv[2]) * CHUNK)
print(json.dumps(answer))
"""


def fill(node: EmulatedNode, lengths: list[int], slots: list[int], *, stopped: bool = False, after: int) -> dict:
    """`lengths` in chunks; `after`: chunks of the device that must be free once all is let go of."""
    what = json.dumps([lengths, slots, stopped])
    environ = {**os.environ, **node.environment()}
    done = subprocess.run(
        [sys.executable, "-c", FILL, what, str(after)], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.emulated
def test_what_has_bytes_is_made_first_and_all_lies_in_its_place(node: EmulatedNode) -> None:
    # Groups of at most four chunks: zeros alone, bytes and zeros, zeros alone, bytes.
    lengths, slots = [3, 2, 2, 4, 1], [-1, -1, -1, 5, -1, 0, 1, -1, -1, -1, -1, 7]
    found = fill(node, lengths, slots, after=60)
    assert found == {
        "created": [2, 2, 1, 3, 4],
        "back": [0, 0, 0, 6, 0, 1, 2, 0, 0, 0, 0, 8],
        "left open": 0,
    }


@pytest.mark.emulated
def test_a_device_without_room_keeps_nothing_of_what_was_begun(node: EmulatedNode) -> None:
    found = fill(node, [4, 4, 60], [0, 1, 2, 3, -1, -1, 4, 5, *[-1] * 60], after=60)
    assert found == {"error": "NoRoom", "left open": 0}


@pytest.mark.emulated
@pytest.mark.parametrize("slots", [[0, 1, 2, 3], [-1] * 4], ids=["bytes", "zeros"])
def test_a_fill_that_is_told_to_stop_keeps_nothing(node: EmulatedNode, slots: list[int]) -> None:
    assert fill(node, [2, 2], slots, stopped=True, after=60) == {"error": "DriverTimeout", "left open": 0}
