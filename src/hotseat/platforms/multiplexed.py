"""The Engine API's frames around stdout and stderr of a container without a terminal. Pure, no I/O."""

from __future__ import annotations

import struct

_HEADER = struct.Struct(">BxxxL")
"""Stream (0 stdin, 1 stdout, 2 stderr), then the length of what follows."""


def payload(raw: bytes) -> bytes:
    """What both streams said, in the order of arrival. A frame that was cut off gives what there is of it."""
    return Splitter().feed(raw)


class Splitter:
    """The same for a stream that comes in pieces, wherever they are cut. Holds at most one header."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        """Bytes of the frame that are still to come."""

    def feed(self, piece: bytes) -> bytes:
        out = bytearray()
        at = 0
        while at < len(piece):
            if self._left:
                part = piece[at : at + self._left]
                out += part
                self._left -= len(part)
                at += len(part)
                continue
            missing = _HEADER.size - len(self._header)
            self._header += piece[at : at + missing]
            at += missing
            if len(self._header) == _HEADER.size:
                _, self._left = _HEADER.unpack(self._header)
                self._header = b""
        return bytes(out)
