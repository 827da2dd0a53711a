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


class Again(Generic[Kept]):
    """The last head of one connection: the next is most often the same, and to compare costs less than to search."""

    __slots__ = ("_after", "_before", "_head")

    def __init__(self) -> None:
        self._head: Kept | None = None
        self._before = self._after = b""
        """What stood before and after the digits of its Content-Length."""

    def find(self, data: bytes) -> tuple[Kept, int, int] | None:
        """(that head, where the body begins, its length), if `data` begins with it, but for those digits."""
        head, before, after = self._head, self._before, self._after
        if head is None or not data.startswith(before):
            return None
        at = stop = len(before)
        end, length = min(len(data), at + 15), 0
        while stop < end and 48 <= (digit := data[stop]) <= 57:
            length = length * 10 + digit - 48
            stop += 1
        if stop == at or not data.startswith(after, stop):
            return None
        return head, stop + len(after), length

    def keep(self, head: Kept, data: bytes, end: int) -> None:
        """`end`: of the head in `data`, which `split` has taken apart."""
        for name in _NAMES:
            at = data.find(name, 0, end)
            if at >= 0:
                at += len(name)
                self._head, self._before, self._after = head, data[:at], data[data.find(b"\r", at) : end]
                return


class Heads(Generic[Kept]):
    def __init__(self) -> None:
        self._kept: dict[bytes, Kept] = {}
        self.find = self._kept.get

    def keep(self, key: bytes, head: Kept) -> None:
        if len(self._kept) >= MOST:
            self._kept.clear()  # those that come again are soon back
        self._kept[key] = head
