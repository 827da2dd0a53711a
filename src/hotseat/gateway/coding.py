"""Reads a bounded copy of a body that came with a content coding. The body itself is not touched. Pure."""

from __future__ import annotations

import zlib

from hotseat.errors import UsageError

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class UnknownCoding(UsageError):
    http_status = 415


class TooLarge(UsageError):
    http_status = 413


def unpacked(body: bytes, coding: str, *, limit: int) -> bytes:
    """`UnknownCoding`, `TooLarge` (a small body can be of any size unpacked), `UsageError` (not of that coding)."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    bits = _WINDOW_BITS.get(coding)
    if bits is None:
        raise UnknownCoding(
            f"the content coding {coding!r} is not understood, so the model cannot be read",
            hint="send the body plain, or with gzip or deflate; or name the model in the header x-hotseat-model",
        )
    try:
        reader = zlib.decompressobj(bits)
        plain = reader.decompress(body, limit + 1)
    except zlib.error as error:
        raise UsageError(f"the body is not the {coding} that its Content-Encoding says: {error}") from error
    if len(plain) > limit:
        raise TooLarge(f"the body unpacked is larger than {limit} bytes", hint="gateway.max_body sets the limit")
    if not reader.eof:
        raise UsageError(f"the {coding} of the body breaks off")
    return plain
