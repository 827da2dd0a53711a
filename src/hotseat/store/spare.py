"""How much of the host's memory an arena may take whose size nobody gave."""

from __future__ import annotations

from hotseat.gpu.procfs import memory_bytes

RESERVE = 0.1
"""Of the host's memory: stays free for all others."""
SMALL_PIECE = 64 << 20
"""Bytes by which such an arena grows: so much is pinned with one call."""


def spare_bytes() -> int:
    """Of host memory: what an arena may take."""
    total, available = memory_bytes()
    return max(0, available - int(total * RESERVE))
