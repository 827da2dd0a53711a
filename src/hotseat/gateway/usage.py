"""Tokens of an answer: no body is parsed, held or encoded anew for it. Pure.

Engines put what they counted at the end: OpenAI's `usage` in the JSON or in the last chunk of a stream (where the
client asked for it), Anthropic's in `message_delta`, Ollama's `eval_count` in its last line. A name inside the
generated text cannot be taken for it: there its quotes are escaped.

OpenAI's streams tell `usage` only if their client asks. Of those the deltas with text are counted while they pass,
which is what engines send for a token, most of the time: an estimate.
"""

from __future__ import annotations

import json
import re

import msgspec

TAIL = 4096
"""Bytes of the end of a body that are looked at: room for `usage` with all its details and what follows it."""

_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
_OLLAMA = re.compile(rb'"(prompt_eval_count|eval_count)"\s*:\s*(\d{1,15})\b')
_decode = json.JSONDecoder().raw_decode
_NEWLINE = 10
_FIRST_KEY = 64
"""Bytes in which the first member of an event ends: they show whether the engine writes a space after a colon."""
_IN, _OUT = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")


_DELTAS = {"/v1/chat/completions": b'content":"', "/v1/completions": b'"text":"'}
"""What stands before the text of a delta, `reasoning_content` included."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens that the engine says it has read and written. None: it does not say."""

    prompt: int | None = None
    completion: int | None = None


def read(tail: bytes) -> Usage | None:
    """None where the end of the body tells nothing."""
    # To search for plain bytes costs a fraction of what the expressions do, and most ends tell nothing or only `usage`.
    # (`in` would first try whether they are a number.)
    for found in reversed(list(_USAGE.finditer(tail))) if tail.find(b'"usage"') >= 0 else ():
        usage = _object(tail[found.end() :])
        if usage is not None:
            prompt, completion = _count(usage, _IN), _count(usage, _OUT)
            if prompt is not None or completion is not None:
                return Usage(prompt=prompt, completion=completion)
    if tail.find(b'eval_count"') < 0:
        return None
    counts = {name: int(value) for name, value in _OLLAMA.findall(tail)}
    if not counts:
        return None
    return Usage(prompt=counts.get(b"prompt_eval_count"), completion=counts.get(b"eval_count"))


def delta(path: str, piece: bytes) -> bytes:
    """What stands before the text of each delta in a stream of events whose first piece this is; b"": it has none, or
    tells `usage` in any case."""
    mark = _DELTAS.get(path, b"")
    return mark.replace(b":", b": ") if b'": ' in piece[:_FIRST_KEY] else mark


def deltas(mark: bytes, tail: bytes, piece: bytes) -> int:
    """How many deltas with text begin in `piece`, which comes after `tail`."""
    empty = mark + b'"'
    found = piece.count(mark) - piece.count(empty)
    if tail and tail[-1] != _NEWLINE:  # an event is in two pieces; what stands across the seam is in neither
        size = len(mark)
        found += (tail[-size + 1 :] + piece[: size - 1]).count(mark) - (tail[-size:] + piece[:size]).count(empty)
    return found


def keep(tail: bytes, chunk: bytes) -> bytes:
    """The tail after one more chunk."""
    return (tail + chunk)[-TAIL:] if len(chunk) < TAIL else chunk[-TAIL:]


def _object(text: bytes) -> dict[str, object] | None:
    try:
        value, _ = _decode(text.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _count(usage: dict[str, object], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15:
            return value
    return None
