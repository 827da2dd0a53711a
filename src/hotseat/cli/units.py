"""Numbers as people read them. Bytes are binary (GiB) as GPU tools show them; rates are decimal GB/s as in FACTS.md."""

from __future__ import annotations

from hotseat.config.units import format_size


def size(nbytes: int) -> str:
    """As messages have it; nothing is "-"."""
    return format_size(nbytes) if nbytes else "-"


def duration(seconds: float) -> str:
    """Milliseconds below one second, then seconds."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def rate(nbytes: int, seconds: float) -> str:
    """Decimal GB/s; "-" where nothing moved."""
    return f"{nbytes / seconds / 1e9:.2f} GB/s" if nbytes and seconds > 0 else "-"
