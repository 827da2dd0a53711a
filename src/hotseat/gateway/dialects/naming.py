"""Where a request names its model: in a JSON body, in the query, and which names are near. Pure.

Multipart bodies are in `multipart.py`, because they are read while they arrive.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qsl

import msgspec

from hotseat.errors import NotFound, UsageError

LISTED = "GET /v1/models lists what there is"
ELSEWHERE = "a request without a JSON body names it as ?model=NAME or in the header x-hotseat-model"
LONGEST = 512
"""Characters of a model's name. It is echoed in errors, and matched against the scopes of keys."""


_MOST_FIELDS = 1000
"""Of a query."""


class Named(msgspec.Struct, frozen=True, gc=False):
    """What the gateway reads of a request; everything else is between client and engine."""

    model: str
    stream: bool | None = None
    """Whether it asks for a stream; None: it does not say."""


class _Head(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None


class _NameToo(_Head):
    name: str | None = None


class _Odd(msgspec.Struct):
    """The same where something stands that does not belong there. It may be of any size, so nothing is made of it."""

    model: msgspec.Raw = msgspec.Raw(b"null")
    stream: msgspec.Raw = msgspec.Raw(b"null")
    name: msgspec.Raw = msgspec.Raw(b"null")


_LONGEST_ODD = 12 * LONGEST
"""Bytes of what is looked at nevertheless: room for a name all of whose characters are escaped."""

_decode = msgspec.json.Decoder(_Head).decode
_decode_name_too = msgspec.json.Decoder(_NameToo).decode
_decode_odd = msgspec.json.Decoder(_Odd).decode


def from_json(body: bytes | bytearray | memoryview, *, name_too: bool = False) -> Named:
    """Of a JSON object. `name_too`: `name` stands for `model` where that is missing (Ollama's older requests).
    `UsageError` says what is wrong with it."""
    if not len(body):
        raise UsageError(
            "the request has no body, and names no model",
            hint=f'send a JSON object with "model": "NAME"; {ELSEWHERE}; {LISTED}',
            param="model",
        )
    try:
        try:
            if not name_too:
                head = _decode(body)
                return Named(checked(head.model), head.stream)
            named = _decode_name_too(body)
            return Named(checked(named.name if named.model is None else named.model), named.stream)
        except msgspec.ValidationError:
            odd = _decode_odd(body)
            model, stream, name = _value(odd.model), _value(odd.stream), _value(odd.name)
            model = name if name_too and model is None else model
            return Named(checked(model), stream if isinstance(stream, bool) else None)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = f'send a JSON object with "model": "NAME"; {ELSEWHERE}'
        raise UsageError(f"the body is not a JSON object: {error}", hint=hint, param=None) from error


def _value(raw: msgspec.Raw) -> object:
    return msgspec.json.decode(raw) if len(raw) <= _LONGEST_ODD else raw


def from_query(query: str) -> Named | None:
    """Of `model=NAME` in a query as it stands in the URL, or None: it names none."""
    if "model" not in query:
        return None
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise UsageError(f"the query has more than {_MOST_FIELDS} fields", param="model") from error
    found = [value for name, value in fields if name == "model"]
    return Named(checked(found[-1])) if found else None


def checked(model: object) -> str:
    """The name, if it is one. `UsageError`."""
    if model is None or model == "":
        raise UsageError("the request names no model", hint=f'add "model": "NAME"; {LISTED}', param="model")
    if not isinstance(model, str):
        raise UsageError("the request's `model` is no name", hint=f'write "model": "NAME"; {LISTED}', param="model")
    if len(model) > LONGEST:
        raise UsageError(f"a model's name has at most {LONGEST} characters", param="model")
    return model


def unknown(model: str, known: Sequence[str]) -> NotFound:
    """The error for a name that nobody serves. `known`: those that the caller may see."""
    near = nearest(model, known)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif known:
        shown = sorted(known)
        hint = f"there are: {', '.join(shown[:10])}" + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")
    else:
        hint = "no model is served here yet"
    return NotFound(f"no model {model!r}", hint=hint, models=list(known), near=near, param="model")


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """At most three, the nearest first; case and what stands before a slash ("org/") count less."""
    by_fold: dict[str, list[str]] = {}
    for one in known:
        by_fold.setdefault(_fold(one), []).append(one)
    near = difflib.get_close_matches(_fold(name), by_fold, n=3, cutoff=0.6)
    return [one for fold in near for one in by_fold[fold]][:3]


def _fold(name: str) -> str:
    return name.rpartition("/")[2].lower()
