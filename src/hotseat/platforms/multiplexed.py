"""The Engine API's frames around stdout and stderr of a container without a terminal. Pure, no I/O."""

from __future__ import annotations

import struct

_HEADER = struct.Struct(">BxxxL")
"""Stream (0 stdin, 1 stdout, 2 stderr), then the length of what follows."""


def payload(raw: bytes) -> bytes:
    """What both streams said, in the order of arrival. A frame that was cut off gives what there is of it."""
    out = bytearray()
    at = 0
    while at + _HEADER.size <= len(raw):
        _, length = _HEADER.unpack_from(raw, at)
        at += _HEADER.size
        out += raw[at : at + length]
        at += length
    return bytes(out)
