"""native/include/hs_store.h in Python: what the interposer and the store say to each other. No I/O here.

A test compiles the header and holds every size, offset and value equal.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Sequence
from ctypes import c_char, c_int32, c_uint32, c_uint64
from dataclasses import dataclass

VERSION = 2
GRANULE = 2 << 20
BLOCK_MAX = 1 << 40
BATCH = 64
STATE_RUNNING = 1
STATE_YIELDED = 2


Uuid = bytes
"""A device's 16 bytes."""


class Type(enum.IntEnum):
    HELLO = 1
    WELCOME = 2
    YIELD = 3
    BLOCKS = 4
    YIELDED = 5
    RESUME = 6
    RESUMED = 7
    LOCALISE = 8
    LOCALISED = 9
    FAILED = 10
    KEPT = 11
    FREED = 12


class Head(ctypes.Structure):
    _fields_ = (("version", c_uint32), ("type", c_uint32), ("request", c_uint64))


class Hello(ctypes.Structure):
    _fields_ = (
        ("head", Head),
        ("state", c_uint32),
        ("pid", c_uint32),
        ("token", c_uint64 * 2),
        ("blocks", c_uint64),
        ("bytes", c_uint64),
        ("lent_bytes", c_uint64),
    )


class Welcome(ctypes.Structure):
    _fields_ = (("head", Head), ("token", c_uint64 * 2))


class Yield(ctypes.Structure):
    _fields_ = (("head", Head), ("timeout_ms", c_uint32), ("unused", c_uint32))


class BlockRecord(ctypes.Structure):
    _fields_ = (
        ("id", c_uint64),
        ("address", c_uint64),
        ("bytes", c_uint64),
        ("device_uuid", ctypes.c_uint8 * 16),
        ("lent", c_uint32),
        ("unused", c_uint32),
    )


class Blocks(ctypes.Structure):
    _fields_ = (("head", Head), ("count", c_uint32), ("unused", c_uint32))


class Freed(ctypes.Structure):
    _fields_ = (("head", Head), ("id", c_uint64))


class Done(ctypes.Structure):
    _fields_ = (
        ("head", Head),
        ("blocks", c_uint64),
        ("bytes", c_uint64),
        ("gate_ns", c_uint64),
        ("device_ns", c_uint64),
        ("map_ns", c_uint64),
    )


class Failed(ctypes.Structure):
    _fields_ = (
        ("head", Head),
        ("result", c_int32),
        ("unused", c_uint32),
        ("blocks", c_uint64),
        ("bytes", c_uint64),
        ("text", c_char * 160),
    )


MESSAGES: dict[Type, type[ctypes.Structure]] = {
    Type.HELLO: Hello,
    Type.WELCOME: Welcome,
    Type.YIELD: Yield,
    Type.BLOCKS: Blocks,
    Type.YIELDED: Done,
    Type.RESUME: Done,
    Type.RESUMED: Done,
    Type.LOCALISE: Head,
    Type.LOCALISED: Done,
    Type.FAILED: Failed,
    Type.KEPT: Head,
    Type.FREED: Freed,
}
MESSAGE_MAX = ctypes.sizeof(Blocks) + BATCH * ctypes.sizeof(BlockRecord)


@dataclass(frozen=True, slots=True)
class Block:
    """One block as both sides name it."""

    id: int
    address: int
    bytes: int
    uuid: Uuid
    lent: bool

    def record(self) -> BlockRecord:
        uuid = (ctypes.c_uint8 * 16)(*self.uuid)
        return BlockRecord(self.id, self.address, self.bytes, uuid, int(self.lent), 0)


@dataclass(frozen=True, slots=True)
class Message:
    """One that was read: `body` is the structure of its type, `blocks` those of BLOCKS."""

    type: Type
    request: int
    body: ctypes.Structure
    blocks: tuple[Block, ...] = ()


class Garbled(ValueError):
    """The other side said something that is not of this protocol; the text says what."""


def head(kind: Type, request: int) -> Head:
    return Head(VERSION, int(kind), request)


def encode_blocks(blocks: Sequence[Block], *, request: int) -> bytes:
    """At most `BATCH` of them."""
    if len(blocks) > BATCH:
        raise ValueError(f"{len(blocks)} blocks in one message")
    return bytes(Blocks(head(Type.BLOCKS, request), len(blocks), 0)) + b"".join(bytes(b.record()) for b in blocks)


def decode(data: bytes) -> Message:
    """`Garbled` if it is not a whole, sensible message of our version."""
    if len(data) < ctypes.sizeof(Head):
        raise Garbled(f"a message of {len(data)} bytes")
    start = Head.from_buffer_copy(data)
    if start.version != VERSION:
        raise Garbled(f"version {start.version} of the protocol; this store speaks {VERSION}")
    if start.type not in MESSAGES:
        raise Garbled(f"a message of type {start.type}")
    kind = Type(start.type)
    shape = MESSAGES[kind]
    size = ctypes.sizeof(shape)
    if len(data) < size:
        raise Garbled(f"{kind.name} of {len(data)} bytes, not {size}")
    body = shape.from_buffer_copy(data)
    blocks: tuple[Block, ...] = ()
    if isinstance(body, Blocks):
        blocks = _blocks(data[size:], body.count)
    elif len(data) != size:
        raise Garbled(f"{kind.name} of {len(data)} bytes, not {size}")
    return Message(kind, start.request, body, blocks)


def _blocks(data: bytes, count: int) -> tuple[Block, ...]:
    if count > BATCH or len(data) != count * ctypes.sizeof(BlockRecord):
        raise Garbled(f"BLOCKS of {count} with {len(data)} bytes")
    out = []
    for record in (BlockRecord * count).from_buffer_copy(data) if count else ():
        if not 0 < record.bytes <= BLOCK_MAX or record.bytes % GRANULE or record.address % GRANULE:
            raise Garbled(f"block {record.id}: {record.bytes} bytes at {record.address:#x}")
        out.append(Block(record.id, record.address, record.bytes, bytes(record.device_uuid), bool(record.lent)))
    return tuple(out)
