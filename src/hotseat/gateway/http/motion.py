"""Whether a client moves: counts bytes, compares them now and then. Pure."""

from __future__ import annotations

LEAST = 1024
"""Bytes that a client moves within the limit, if it has as many to move; fewer are none. A trickle would do to hold a
seat for ever."""


class Motion:
    __slots__ = ("_at", "_drained", "_received", "received", "sent")

    def __init__(self, now: float) -> None:
        self.received = 0
        self.sent = 0
        self._received = 0
        self._drained = 0
        self._at = now

    def stalled(self, now: float, *, backlog: int, sending: bool, limit: float) -> bool:
        """`backlog`: bytes it was sent and has not taken. `sending`: more is awaited from it. `limit` in seconds."""
        drained = self.sent - backlog
        moved = self.received - self._received if sending else 0
        if backlog:
            moved = max(moved, drained - self._drained)
        if moved >= LEAST or not (backlog or sending):
            self._received, self._drained, self._at = self.received, drained, now
            return False
        return now - self._at > limit
