"""Numbers as people read them. Bytes are binary (GiB) as GPU tools show them; rates are decimal GB/s as in FACTS.md."""

from __future__ import annotations

from hotseat.config.units import format_size


def size(nbytes: int) -> str:
    """As messages have it; nothing is "-"."""
    return format_size(nbytes) if nbytes else "-"


def amount(nbytes: int) -> str:
    """In a sentence, where "-" says nothing."""
    return format_size(nbytes) if nbytes else "none"


def duration(seconds: float) -> str:
    """Milliseconds below one second, then seconds."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def age(seconds: float) -> str:
    """Of what runs for long: the two largest units."""
    left, said = int(seconds), list[str]()
    for name, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (said and len(said) < 2):
            said.append(f"{count} {name}")
    return " ".join(said[:2]) or "0 s"


def rate(nbytes: int, seconds: float) -> str:
    """Decimal GB/s; "-" where nothing moved."""
    return f"{nbytes / seconds / 1e9:.2f} GB/s" if nbytes and seconds > 0 else "-"
