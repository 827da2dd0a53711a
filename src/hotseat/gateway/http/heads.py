"""Heads that came before need not be read again.

A client sends the same head with every request, and an engine with every answer, but for Content-Length. So a head that
was read and found good is kept by its bytes without that line; the same bytes are as good the next time.
"""

from __future__ import annotations

from typing import Generic, TypeVar

LONGEST = 4096
"""Bytes of a head that is kept."""
MOST = 1024
"""Heads that are kept."""

_NAMES = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")

Kept = TypeVar("Kept")


def split(data: bytes) -> tuple[bytes, int, int] | None:
    """(the head without Content-Length, where the body begins, its length or -1); None: no whole head, or none for
    this."""
    end = data.find(b"\r\n\r\n", 0, LONGEST)
    if end < 0:
        return None
    end += 4
    for name in _NAMES:
        at = data.find(name, 0, end)
        if at >= 0:
            stop = data.find(b"\r\n", at + 18, end)
            digits = data[at + 18 : stop]
            if not digits.isdigit() or len(digits) > 15:
                return None
            return data[:at] + data[stop:end], end, int(digits)
    return data[:end], end, -1


class Heads(Generic[Kept]):
    def __init__(self) -> None:
        self._kept: dict[bytes, Kept] = {}
        self.find = self._kept.get

    def keep(self, key: bytes, head: Kept) -> None:
        if len(self._kept) >= MOST:
            self._kept.clear()  # those that come again are soon back
        self._kept[key] = head
