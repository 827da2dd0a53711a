"""Finds out what a request wants, holding no more of its body than that takes. Pure but for the body it looks at.

JSON must be whole to be read. A form is read as it comes, up to the file, which then streams. Where the query or a
header names the model, nothing is read at all.
"""

from __future__ import annotations

from hotseat.errors import UsageError
from hotseat.gateway import headers
from hotseat.gateway.coding import TooLarge, UnknownCoding, unpacked
from hotseat.gateway.dialects import naming
from hotseat.gateway.dialects.multipart import Reader, Standing, boundary_of
from hotseat.gateway.dialects.naming import Named
from hotseat.gateway.dialects.port import Dialect
from hotseat.gateway.http.limits import Limits
from hotseat.gateway.http.request import Head, Request


def is_plain(head: Head) -> bool:
    """Whether the body is JSON without a content coding, and alone says what is wanted; so it is of most requests."""
    by_name = head.by_name
    return (
        head.method == "POST"
        and not head.query
        and b"content-encoding" not in by_name
        and headers.MODEL.encode() not in by_name
        and b"multipart/" not in by_name.get(b"content-type", b"").lower()
    )


class Reading:
    """`look` after every piece, until it names a model; from then on `passing` for every piece that goes on."""

    def __init__(self, request: Request, dialect: Dialect, limits: Limits) -> None:
        """`UsageError`, before a byte of the body is read."""
        self._request = request
        self._dialect = dialect
        self._max_body = limits.max_body
        self._fed = 0
        """Bytes of the body that the form's reader has."""
        self._passed = 0
        self._form = _form_of(request)
        self._known = _in_header(request)
        json = b"json" in request.by_name.get(b"content-type", b"").lower()
        if self._known is None and self._form is None and request.query and not (json and _has_body(request)):
            self._known = naming.from_query(request.query)
        self._streams_through = self._form is not None or (self._known is not None and not json)
        body = request.body
        body.limit = limits.max_upload if self._streams_through else limits.max_body
        body.high = limits.max_body
        if request.length is not None and request.length > body.limit:
            raise self._too_large()

    def look(self) -> Named | None:
        """None: more of the body is needed. `UsageError`."""
        body = self._request.body
        self.check_size()
        if self._known is not None and self._streams_through:
            if self._form is not None and body.complete:  # all can be seen before a seat is taken for it
                for piece in body.since(self._fed):
                    self._form.feed(piece)
                self._fed = body.total
                self._must_be_same(self._form.named)
            return self._known
        if self._form is not None:
            return self._of_form(self._form)
        if not body.complete:
            return None
        if self._known is not None and not body.total:
            return self._known
        named = self._dialect.of_json(self._plain(body.whole()))
        self._must_be_same(named)
        return named

    def check_size(self) -> None:
        """`TooLarge`."""
        body = self._request.body
        if body.limit is not None and body.total > body.limit:
            raise self._too_large()

    def passing(self, piece: bytes) -> None:
        """`UsageError` if it names another model than what was seated for it. Engines differ in which they take."""
        self._passed += len(piece)
        if self._form is not None and self._passed > self._fed:
            self._fed = self._passed
            self._form.feed(piece)
            self._must_be_same(self._form.named)

    def _must_be_same(self, named: Named | None) -> None:
        if self._known is not None and named is not None and named.model != self._known.model:
            raise UsageError(f"the request names two models, {self._known.model!r} and {named.model!r}", param="model")

    def _plain(self, raw: bytes) -> bytes:
        coding = self._request.by_name.get(b"content-encoding")
        return raw if coding is None else unpacked(raw, coding.decode("latin-1"), limit=self._max_body)

    def _of_form(self, form: Reader) -> Named | None:
        body = self._request.body
        standing = form.standing
        for piece in body.since(self._fed):
            standing = form.feed(piece)
        self._fed = body.total
        if standing is Standing.SETTLED:
            return form.named
        if body.complete:
            return form.end()
        if body.total > self._max_body:
            raise TooLarge(
                f"the first {self._max_body} bytes of the form name no model",
                hint="put the field `model` before the file, or name it in the header x-hotseat-model",
                param="model",
            )
        return None

    def _too_large(self) -> TooLarge:
        limit = self._request.body.limit
        assert limit is not None
        return too_large(limit, "max_upload" if self._streams_through else "max_body")


def too_large(limit: int, setting: str) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes", hint=f"gateway.{setting} sets the limit")


def _form_of(request: Request) -> Reader | None:
    content_type = request.by_name.get(b"content-type", b"")
    if b"multipart/" not in content_type.lower():
        return None
    boundary = boundary_of(content_type.decode("latin-1"))
    if boundary is None:
        return None
    if request.by_name.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise UnknownCoding("a form with a content coding is not read", hint="send the form plain")
    return Reader(boundary)


def _in_header(request: Request) -> Named | None:
    value = request.by_name.get(headers.MODEL.encode())
    if value is None:
        return None
    try:
        return Named(naming.checked(value.decode()))
    except UnicodeDecodeError as error:
        raise UsageError(f"the header {headers.MODEL} is not UTF-8", param="model") from error


def _has_body(request: Request) -> bool:
    return request.chunked or bool(request.length)
