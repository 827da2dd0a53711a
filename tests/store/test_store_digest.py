"""The digest: the driver's kernel (its twin on the emulated driver) against numpy; what it must tell apart."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.emulator.node import EmulatedNode
from hotseat.store.digest import CHUNK, chunk_digests

KERNEL = """
import ctypes, json, random, sys, threading
from hotseat.store.device import Devices
from hotseat.store.runs import Run
from hotseat.store.wire import GRANULE
devices = Devices("libcuda.so.1")
device = devices.any()
handles = [(device.create(2 * GRANULE), 2 * GRANULE), (device.create(GRANULE), GRANULE)]
data = random.Random(7).randbytes(GRANULE) + bytes(GRANULE) + bytes(GRANULE - 1) + b"\\1"
host = ctypes.create_string_buffer(data, len(data))
with device.window(handles) as base:
    with device.copies(arena=ctypes.addressof(host), stop=threading.Event()) as copies:
        copies.into([Run(at=base, slot=0, length=3)])
    print(json.dumps(device.digests(base, 3, key=int(sys.argv[1])).tolist()))
"""


@pytest.mark.emulated
@pytest.mark.parametrize("key", [0, 0xFEDCBA9876543210])
def test_the_kernel_and_numpy_agree(node: EmulatedNode, key: int) -> None:
    environ = {**os.environ, **node.environment()}
    done = subprocess.run(
        [sys.executable, "-c", KERNEL, str(key)], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    data = random.Random(7).randbytes(CHUNK) + bytes(CHUNK) + bytes(CHUNK - 1) + b"\1"
    expected = chunk_digests(data, key=key)
    assert json.loads(done.stdout) == expected.tolist()
    assert [bool(row[2]) for row in expected] == [True, False, True]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=8, max_size=8), st.integers(0, 7), st.integers(1, 2**64 - 1))
def test_one_changed_word_always_shows_in_the_first_half(words: list[int], place: int, change: int) -> None:
    before = np.array(words, dtype=np.uint64)
    after = before.copy()
    after[place] ^= np.uint64(change)
    one, other = (chunk_digests(rows.tobytes(), key=1, words=8)[0] for rows in (before, after))
    assert one[0] != other[0]


def test_places_count_and_so_does_the_key() -> None:
    rows = np.array([[1, 2, 3, 4], [2, 1, 3, 4], [0, 0, 0, 0], [1, 2, 3, 4]], dtype=np.uint64)
    digests = [tuple(row[:2]) for row in chunk_digests(rows.tobytes(), key=5, words=4).tolist()]
    assert digests[0] == digests[3]
    assert len(set(digests)) == 3
    assert tuple(chunk_digests(rows.tobytes(), key=6, words=4)[0].tolist()[:2]) != digests[0]
