"""What the demo engine's device memory holds: the same arithmetic as native/engine/mix.h and seeds.h.

For tests and for whoever wants to damage a chosen byte: the pattern tells where in a device's file a word lies.
"""

from __future__ import annotations

import mmap
from pathlib import Path

GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mix64(value: int) -> int:
    """splitmix64's finalizer."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def fill_word(seed: int, index: int) -> int:
    """The 64-bit word that the kernel hotseat_fill writes at `index`."""
    return mix64(seed ^ (index + 1) * GOLDEN & _MASK)


def digest(words: list[int], *, first_index: int = 0) -> int:
    """What the kernel hotseat_digest adds up over `words`."""
    total = sum(mix64(word ^ (first_index + i + 1) * GOLDEN & _MASK) for i, word in enumerate(words))
    return total & _MASK


def weights_word(seed: int, index: int) -> int:
    """Word `index` of the weights of an engine with `seed`."""
    return fill_word(mix64(seed + 1), index)


def kv_word(seed: int, index: int) -> int:
    """Word `index` of the KV cache, as it is before anything is written there."""
    return fill_word(mix64(seed + 2), index)


def find_word(path: Path, word: int) -> list[int]:
    """Byte offsets of `word` in a file, such as an emulated device's memory."""
    needle = word.to_bytes(8, "little")
    found = []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        at = memory.find(needle)
        while at >= 0:
            found.append(at)
            at = memory.find(needle, at + 1)
    return found
