"""The digest of a chunk in numpy: the reference for the kernel in native/store/chunks.cu and its twin in C."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hotseat.store.wire import GRANULE

CHUNK = GRANULE
"""Bytes of one chunk; blocks are whole chunks."""
WORDS = CHUNK // 8

U64 = np.uint64
_STEP = U64(0x9E3779B97F4A7C15)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> U64(27))) * U64(0x94D049BB133111EB)
    return x ^ (x >> U64(31))


def _again(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> U64(32))) * U64(0xD6E8FEB86659FD93)
    return x ^ (x >> U64(32))


def chunk_digests(data: bytes | bytearray | memoryview, *, key: int, words: int = WORDS) -> NDArray[np.uint64]:
    """Of each run of `words` 8-byte words in `data`: (first, second, 0 if all are zero). Shape (chunks, 3)."""
    rows = np.frombuffer(data, dtype=U64).reshape(-1, words)
    places = np.arange(1, words + 1, dtype=U64) * _STEP + U64(key)
    mixed = _mix(rows ^ _mix(places))
    sums = (mixed.sum(axis=1, dtype=U64), _again(mixed).sum(axis=1, dtype=U64), np.bitwise_or.reduce(rows, axis=1))
    return np.stack(sums, axis=1)
