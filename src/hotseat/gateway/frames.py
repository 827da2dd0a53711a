"""WebSocket frames, as far as it matters whether anybody says anything. Pure. RFC 6455, 5.2."""

from __future__ import annotations

_PING, _PONG = 0x9, 0xA
_LONGEST = 125
"""Bytes that a control frame carries."""


def only_control(data: bytes) -> bool:
    """Whether that is whole pings and pongs and nothing else: no work, and nothing that an answer is waited for."""
    at = 0
    while at + 2 <= len(data):
        length = data[at + 1] & 0x7F
        if data[at] & 0x0F not in (_PING, _PONG) or length > _LONGEST:
            return False
        at += 2 + length + (4 if data[at + 1] & 0x80 else 0)
    return at == len(data) > 0
