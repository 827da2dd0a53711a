#!/usr/bin/env python3
"""Writes a Llama-shaped model of random weights for llama.cpp: `make_gguf.py FILE [--size 1b]`. f16, always the same.

GGUF version 3, as ggml's docs/gguf.md has it. The vocabulary is of bytes and made-up words: what it says means nothing.
Needs numpy.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

SIZES = {  # hidden, intermediate, layers, heads, key-value heads
    "tiny": (256, 1024, 4, 4, 2),
    "1b": (2048, 8192, 16, 32, 8),
}
VOCABULARY = 32000
ALIGNMENT = 32
U32, I32, F32, STRING, ARRAY = 4, 5, 6, 8, 9
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
PIECE = 1 << 22
SPREAD = 0.06
"""Weights are even between half of it below and above zero."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    """The fastest dimension first."""

    @property
    def norm(self) -> bool:
        """f32 and all ones; others are f16 and random."""
        return len(self.shape) == 1

    @property
    def count(self) -> int:
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        return self.count * (4 if self.norm else 2)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(given: object) -> bytes:
    """With its type before it."""
    if isinstance(given, str):
        return struct.pack("<I", STRING) + text(given)
    if isinstance(given, int):
        return struct.pack("<II", U32, given)
    if isinstance(given, float):
        return struct.pack("<If", F32, given)
    assert isinstance(given, list)
    kind, pack = {str: (STRING, text), float: (F32, struct.Struct("<f").pack), int: (I32, struct.Struct("<i").pack)}[
        type(given[0])
    ]
    return struct.pack("<IIQ", ARRAY, kind, len(given)) + b"".join(pack(item) for item in given)


def words() -> tuple[list[str], list[int]]:
    """The vocabulary and what kind each is."""
    special = ["<unk>", "<s>", "</s>"]
    single = [f"<0x{byte:02X}>" for byte in range(256)]
    made = [f"\u2581w{number}" for number in range(VOCABULARY - len(special) - len(single))]
    kinds = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * len(single) + [NORMAL] * len(made)
    return special + single + made, kinds


def tensors(size: str) -> Iterator[Tensor]:
    hidden, intermediate, layers, heads, kv_heads = SIZES[size]
    kv = hidden // heads * kv_heads
    yield Tensor(name="token_embd.weight", shape=(hidden, VOCABULARY))
    yield Tensor(name="output_norm.weight", shape=(hidden,))
    yield Tensor(name="output.weight", shape=(hidden, VOCABULARY))
    for layer in range(layers):
        shapes = {
            "attn_norm": (hidden,), "attn_q": (hidden, hidden), "attn_k": (hidden, kv), "attn_v": (hidden, kv),
            "attn_output": (hidden, hidden), "ffn_norm": (hidden,), "ffn_gate": (hidden, intermediate),
            "ffn_up": (hidden, intermediate), "ffn_down": (intermediate, hidden),
        }  # fmt: skip
        for name, shape in shapes.items():
            yield Tensor(name=f"blk.{layer}.{name}.weight", shape=shape)


def metadata(size: str) -> dict[str, object]:
    hidden, intermediate, layers, heads, kv_heads = SIZES[size]
    vocabulary, kinds = words()
    return {
        "general.architecture": "llama",
        "general.name": f"random {size}",
        "general.file_type": 1,
        "llama.vocab_size": VOCABULARY,
        "llama.context_length": 8192,
        "llama.embedding_length": hidden,
        "llama.block_count": layers,
        "llama.feed_forward_length": intermediate,
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": hidden // heads,
        "llama.rope.freq_base": 500000.0,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": vocabulary,
        "tokenizer.ggml.scores": [-float(number) for number in range(VOCABULARY)],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def pad(file: BinaryIO) -> None:
    file.write(bytes(-file.tell() % ALIGNMENT))


def write(file: BinaryIO, size: str) -> None:
    wanted, known = list(tensors(size)), metadata(size)
    file.write(b"GGUF" + struct.pack("<IQQ", 3, len(wanted), len(known)))
    for key, given in known.items():
        file.write(text(key) + value(given))
    offset = 0
    for tensor in wanted:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        file.write(text(tensor.name) + shape + struct.pack("<IQ", 0 if tensor.norm else 1, offset))
        offset += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
    pad(file)
    random = np.random.default_rng(7)
    for tensor in wanted:
        if tensor.norm:
            file.write(np.ones(tensor.count, np.float32).tobytes())
        for first in range(0, 0 if tensor.norm else tensor.count, PIECE):
            even = random.random(min(PIECE, tensor.count - first), np.float32)
            file.write(((even - np.float32(0.5)) * np.float32(SPREAD)).astype(np.float16).tobytes())
        pad(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--size", choices=sorted(SIZES), default="1b")
    args = parser.parse_args()
    args.file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = args.file.with_suffix(".part")
    with unfinished.open("wb") as file:
        write(file, args.size)
    unfinished.rename(args.file)


if __name__ == "__main__":
    main()
