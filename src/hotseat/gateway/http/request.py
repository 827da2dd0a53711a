"""The head of a client's request, and what is refused of it. Pure. RFC 9110, RFC 9112.

llhttp itself refuses obs-fold, bare CR and LF, white space before a colon, Content-Length twice or beside
Transfer-Encoding. Here stands what it lets pass and what two readers could take for two different requests.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from hotseat.errors import UsageError
from hotseat.gateway.http.body import Body

Headers = list[tuple[bytes, bytes]]

_ONCE = frozenset({b"host", b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"expect"})
"""Headers of which a second one is refused: whoever reads the first and whoever reads the last would disagree."""


class BadRequest(UsageError):
    """`status` where it is not 400. The connection is closed after it: where the next request begins is not known."""

    def __init__(self, message: str, *, status: int = 400, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Head:
    """The head of a request. One object stands for all requests with the same head, so it is not changed; what others
    work out of it they may keep in it."""

    __slots__ = (
        "by_name",
        "chunked",
        "forward",
        "headers",
        "keep_alive",
        "method",
        "opening",
        "path",
        "plan",
        "query",
        "target",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        *,
        method: str,
        target: bytes,
        path: str,
        query: str,
        version: str,
        headers: Headers,
        by_name: dict[bytes, bytes],
        keep_alive: bool,
        upgrade: bytes,
    ) -> None:
        self.method = method
        self.target = target
        """As it was sent, in origin form."""
        self.path = path
        """Decoded, without the query."""
        self.query = query
        """As it was sent."""
        self.version = version
        """ "1.1" or "1.0"."""
        self.headers = headers
        self.by_name = by_name
        """By lower-case names; the last of several. Content-Length may be another request's: see `Request.length`."""
        self.keep_alive = keep_alive
        self.upgrade = upgrade
        """The protocol to switch to, in lower case; b"": none."""
        self.chunked = b"transfer-encoding" in by_name
        self.plan: object = None
        """Of whoever answers."""
        self.forward: dict[bool, bytes] = {}
        """The lines that go on to an engine, for streams and for others."""
        self.opening: tuple[bytes, object, bytes] | None = None
        """How the last request with this head began on its way to an engine: for which lines and which origin, and
        the bytes."""


class Request:
    __slots__ = ("body", "early", "head", "length", "upgrade")

    def __init__(self, head: Head, *, length: int | None) -> None:
        self.head = head
        self.length = length
        """Of the body as announced; None: not known before its end, or no body."""
        self.body = Body()
        self.early = b""
        """Bytes after the head of a request for an upgrade."""
        self.upgrade = head.upgrade
        """b"" if it is not taken up."""

    @property
    def method(self) -> str:
        return self.head.method

    @property
    def target(self) -> bytes:
        return self.head.target

    @property
    def path(self) -> str:
        return self.head.path

    @property
    def query(self) -> str:
        return self.head.query

    @property
    def version(self) -> str:
        return self.head.version

    @property
    def headers(self) -> Headers:
        return self.head.headers

    @property
    def by_name(self) -> dict[bytes, bytes]:
        return self.head.by_name

    @property
    def keep_alive(self) -> bool:
        return self.head.keep_alive

    @property
    def chunked(self) -> bool:
        return self.head.chunked

    def header(self, name: str) -> str | None:
        value = self.head.by_name.get(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")


def read_head(*, method: bytes, target: bytes, version: str, headers: Headers, keep_alive: bool, upgrade: bool) -> Head:
    """`BadRequest`."""
    by_name: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in by_name and lower in _ONCE:
            raise BadRequest(f"the header {lower.decode('latin-1')} stands there twice")
        by_name[lower] = value
    if version not in ("1.1", "1.0"):
        raise BadRequest(f"HTTP/{version} is not spoken here", status=505, hint="use HTTP/1.1")
    if b"host" not in by_name and version == "1.1":
        raise BadRequest("the header Host is missing")
    if (host := by_name.get(b"host")) is not None and _is_no_host(host):
        raise BadRequest("the header Host is not a host")
    if (coding := by_name.get(b"transfer-encoding")) is not None:
        if version == "1.0":
            raise BadRequest("HTTP/1.0 has no Transfer-Encoding")
        if coding.strip().lower() != b"chunked":
            raise BadRequest("the only Transfer-Encoding understood is chunked", status=501)
    if (expected := by_name.get(b"expect")) is not None and expected.strip().lower() != b"100-continue":
        raise BadRequest("the only expectation understood is 100-continue", status=417)
    if method == b"CONNECT":
        raise BadRequest("CONNECT is not served here", status=405, hint="this is a gateway, no forward proxy")
    target = _origin_form(target)
    raw, _, query = target.partition(b"?")
    return Head(
        method=method.decode("latin-1"),
        target=target,
        path=(unquote_to_bytes(raw) if b"%" in raw else raw).decode(errors="replace"),
        query=query.decode("latin-1"),
        version=version,
        headers=headers,
        by_name=by_name,
        keep_alive=keep_alive,
        upgrade=by_name.get(b"upgrade", b"").strip().lower() if upgrade else b"",
    )


def _origin_form(target: bytes) -> bytes:
    if target.startswith(b"/") or target == b"*":
        return target
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise BadRequest("the request's target is neither a path nor a URL")
    authority_ends = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    path = rest[authority_ends:]
    return path if path.startswith(b"/") else b"/" + path


def _is_no_host(host: bytes) -> bool:
    return any(byte in host for byte in b" \t,/@?#\\")
