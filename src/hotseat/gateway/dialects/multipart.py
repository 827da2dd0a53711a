"""Finds the field `model` of a multipart body while the body arrives. Pure.

The parser is python-multipart's, told to call back; nothing of a part is kept but the value of the few short fields
that matter, so a file of any size costs no memory here. The body itself is not this module's: it goes on as it came.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from hotseat.errors import UsageError
from hotseat.gateway.dialects.naming import LONGEST, Named, checked

_WANTED = ("model", "stream")
_LONGEST_VALUE = 4 * LONGEST
"""Bytes of a field that is kept; a model's name in UTF-8 has at most so many."""
_TRUE = frozenset({b"true", b"1", b"on", b"yes", b"True"})
MOST_PARTS = 128
"""Parts before the model is known. Between two of them nothing is kept, but each costs time."""
MOST_IN_ALL = 1024
"""Parts of a form."""


class Standing(enum.Enum):
    """How far the reading has come."""

    SEARCHING = enum.auto()
    """No model so far; it needs more of the body."""
    FOUND = enum.auto()
    """The model is known; other short fields may yet come."""
    SETTLED = enum.auto()
    """The model is known, and a file has begun or the body has ended: no need to wait for more."""
    ABSENT = enum.auto()
    """The body has ended and named no model."""


def boundary_of(content_type: str) -> bytes | None:
    """The boundary, if it is the type of a form; None: it is something else. `UsageError`: a form without one."""
    if not content_type.lstrip().lower().startswith("multipart/form-data"):
        return None
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind.lower() != b"multipart/form-data" or not 0 < len(boundary) <= 70:
        raise UsageError(
            "the body is said to be multipart/form-data, without a boundary of 1 to 70 characters",
            hint="let the HTTP library set Content-Type",
        )
    return boundary


class Reader:
    """Feed it the body, piece by piece as it comes, then `end`. A mistake in the body is a `UsageError`, once and for
    all: do not feed it again."""

    def __init__(self, boundary: bytes) -> None:
        self._values: dict[str, bytes] = {}
        self._ended = False
        self._in_file = False
        self._parts = 0
        self._field = b""
        """Name and value of the header that is being read, and the disposition once it is known."""
        self._value = b""
        self._disposition = b""
        self._name: str | None = None
        """Of the part that is being read, if it is one of those wanted."""
        calls: dict[str, Callable[..., None]] = {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, calls)  # type: ignore[arg-type]
        self._model: str | None = None
        self._pending: dict[str, bytearray] = {}

    @property
    def standing(self) -> Standing:
        if self._model is None:
            return Standing.ABSENT if self._ended else Standing.SEARCHING
        return Standing.SETTLED if self._ended or self._in_file else Standing.FOUND

    @property
    def named(self) -> Named | None:
        """The model, as soon as it is known; whether a stream is asked for, as far as it is known."""
        if self._model is None:
            return None
        stream = self._values.get("stream")
        return Named(self._model, None if stream is None else stream in _TRUE)

    def feed(self, piece: bytes) -> Standing:
        if not self._ended:
            try:
                self._parser.write(piece)
            except FormParserError as error:
                raise UsageError(
                    f"the body is not the multipart/form-data that its Content-Type says: {error}",
                    hint="let the HTTP library set Content-Type, with its boundary",
                ) from error
        return self.standing

    def end(self) -> Named:
        """The body is complete. `UsageError` if it named no model, or broke off before its last boundary."""
        if not self._ended:
            raise UsageError("the multipart body ends before its last boundary")
        if self._model is None:
            raise UsageError(
                "the form names no model; add a field `model`", hint="GET /v1/models lists them", param="model"
            )
        named = self.named
        assert named is not None
        return named

    # Called by the parser.

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS and self._model is None:
            raise UsageError(f"the first {MOST_PARTS} parts of the form name no model", param="model")
        if self._parts > MOST_IN_ALL:
            raise UsageError(f"the form has more than {MOST_IN_ALL} parts")
        self._in_file, self._name, self._disposition = False, None, b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._in_file = b"filename" in options
        name = options.get(b"name", b"").decode(errors="replace")
        if name in _WANTED and not self._in_file:
            self._name = name
            self._pending[name] = bytearray()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None:
            value = self._pending[self._name]
            value += data[start:end]
            if len(value) > _LONGEST_VALUE:
                raise UsageError(f"the field {self._name} is too long", param=self._name)

    def _part_end(self) -> None:
        self._in_file = False
        if self._name is None:
            return
        value = bytes(self._pending.pop(self._name)).strip()
        if self._name == "model":
            self._take_model(value)
        else:
            self._values.setdefault(self._name, value)
        self._name = None

    def _take_model(self, value: bytes) -> None:
        try:
            model = checked(value.decode())
        except UnicodeDecodeError as error:
            raise UsageError("the field model is not UTF-8", param="model") from error
        if self._model not in (None, model):
            # Engines differ in which they take, and a key may reach only one of them.
            raise UsageError(f"the form names two models, {self._model!r} and {model!r}", param="model")
        self._model = model

    def _end(self) -> None:
        self._ended = True
