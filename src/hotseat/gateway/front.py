"""Finds who answers a request: a page of ours, a page of the site, or an engine; and refuses the rest."""

from __future__ import annotations

import logging
from urllib.parse import parse_qsl, unquote

from hotseat.errors import Forbidden, HotseatError, Unauthorized, UsageError
from hotseat.gateway import headers
from hotseat.gateway.answer import Answer
from hotseat.gateway.asking import ModelAsking, PlainAsking, WorkloadAsking, refuse_dots
from hotseat.gateway.desk import Desk
from hotseat.gateway.dialects import table
from hotseat.gateway.dialects.port import Asked, Dialect
from hotseat.gateway.exchange import Exchange
from hotseat.gateway.http.client import Client
from hotseat.gateway.http.request import BadRequest, Request
from hotseat.gateway.keys import EVERYONE, Bearer
from hotseat.gateway.local import host_is_local, may_use
from hotseat.gateway.page import PageTurn
from hotseat.gateway.reading import is_plain
from hotseat.gateway.site import Inquiry, Reply
from hotseat.gateway.tunnel import Tunnel

_log = logging.getLogger(__name__)

UPSTREAM = "/upstream/"


class NotServed(UsageError):
    http_status = 404


class NotAllowed(UsageError):
    http_status = 405


class _Plan:
    """Where all requests with one head go, if that is to an engine and the body says to which."""

    __slots__ = ("allowed", "dialect")

    def __init__(self, dialect: Dialect, *, allowed: frozenset[str] | None) -> None:
        self.dialect = dialect
        self.allowed = allowed
        """The list by which this head was let in without a key; None: it was not asked."""


class FrontDesk:
    """Implements `http.port.Front`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def begin(self, client: Client, request: Request) -> None:
        given = headers.request_id(request.by_name.get(b"x-request-id"))
        plan = request.head.plan
        dialect = plan.dialect if isinstance(plan, _Plan) else table.owner(request.path, request.header) or table.OPENAI
        try:
            if isinstance(plan, _Plan) and (plan.allowed is self._desk.allowed_hosts or self._guarded):
                asking = PlainAsking(self._desk, request, self._bearer(request), dialect, request_id=given)
                Exchange(self._desk, client, request, asking)
            else:
                self._route(client, request, dialect, given)
            return
        except HotseatError as error:
            refusal = error
        except Exception:
            _log.exception("request %s", given)
            refusal = HotseatError("hotseat failed on this request", hint=f"its log has more at {given}")
        turn, client.turn = client.turn, None
        if turn is not None:  # it may hold a seat
            turn.gone()
        Answer(client, request, dialect, request_id=given).refuse(refusal)

    def refuse(self, error: BadRequest, request: Request | None) -> tuple[list[tuple[str, str]], bytes]:
        dialect, given = table.OPENAI, None
        if request is not None:
            dialect = table.owner(request.path, request.header) or dialect
            given = request.by_name.get(b"x-request-id")
        identity = headers.request_id(given)
        names = dict.fromkeys([headers.REQUEST_ID, dialect.id_header])
        said = [("Content-Type", "application/json"), *[(name, identity) for name in names]]
        return said, dialect.error_body(error, status=error.status, request_id=identity)

    def _route(self, client: Client, request: Request, dialect: Dialect, given: str) -> None:
        desk, path = self._desk, request.path
        asked_as = "GET" if request.method == "HEAD" else request.method
        if path == "/health" and asked_as == "GET":
            ours = [("Content-Type", "application/json"), (headers.REQUEST_ID, given)]
            client.answer(request, status=200, headers=ours, body=b'{"status":"ok"}')
            return
        if not self._guarded:
            self._must_be_local(request)
        if desk.site is not None and (handler := desk.site.find(asked_as, path)) is not None:

            async def from_site(body: bytes) -> Reply:
                return await handler(self._inquiry(request, asked_as, body))

            PageTurn(client, request, table.OPENAI, from_site, request_id=given)
            return
        if desk.upstream and path.startswith(UPSTREAM):
            bearer = self._bearer(request)
            raw, mark, query = request.target[len(UPSTREAM) :].partition(b"?")
            if b"/" not in raw and asked_as == "GET" and b"text/html" in request.by_name.get(b"accept", b""):
                # A browser, for which the links of the engine's page begin at the last slash.
                there = (b"./" + raw + b"/" + mark + query).decode("latin-1")
                client.answer(request, status=307, headers=[("Location", there), (headers.REQUEST_ID, given)], body=b"")
                return
            name = unquote(raw.partition(b"/")[0].decode("latin-1"))
            upstream = WorkloadAsking(desk, request, bearer, dialect, request_id=given, workload=name)
            (Tunnel if request.upgrade else Exchange)(desk, client, request, upstream)
            return
        self._infer(client, request, dialect, given, asked_as)

    def _infer(self, client: Client, request: Request, dialect: Dialect, given: str, asked_as: str) -> None:
        desk, path = self._desk, request.path
        if not dialect.owns(path, request.header):
            raise NotServed(
                f"{request.method} {path} is not served here",
                hint="GET /v1/models, or POST to /v1/... with a model named in the body; docs/api.md lists every path",
            )
        bearer = self._bearer(request)
        if (page := dialect.page(asked_as, path)) is not None:

            async def from_dialect(body: bytes) -> Reply:
                models = [view for view in desk.seats.models() if bearer.may_use(view.id)]
                return page(Asked(models=models, body=body, created=desk.created))

            PageTurn(client, request, dialect, from_dialect, request_id=given)
            return
        if not dialect.serves(request.method, path):
            allowed = [method for method in ("GET", "POST", "DELETE") if _any(dialect, method, path)]
            said = f"{request.method} {path} is not served here"
            if not allowed:
                raise NotServed(said, hint="docs/api.md lists what is; /upstream/NAME/... reaches the engine of NAME")
            raise NotAllowed(said, hint=f"it takes {' and '.join(allowed)}", allow=", ".join(allowed))
        refuse_dots(path)
        plain = is_plain(request.head) and not request.upgrade
        if plain:
            request.head.plan = _Plan(dialect, allowed=None if self._guarded else desk.allowed_hosts)
        asking = (PlainAsking if plain else ModelAsking)(desk, request, bearer, dialect, request_id=given)
        (Tunnel if request.upgrade else Exchange)(desk, client, request, asking)

    def _bearer(self, request: Request) -> Bearer:
        keys = self._desk.keys
        return keys.identify(request.header) if keys.any else EVERYONE

    @property
    def _guarded(self) -> bool:
        """By keys; or it is open to other hosts, as somebody has said in so many words."""
        return self._desk.keys.any or not self._desk.loopback

    def _must_be_local(self, request: Request) -> None:
        """`Forbidden`. Else any web page could use every model: see `local`."""
        acts = request.method not in ("GET", "HEAD") or bool(request.upgrade)
        if not may_use(_decoded(request), acts=acts, allowed=self._desk.allowed_hosts):
            raise Forbidden(
                "without keys only programs of this host are answered, and this came for another name, from a web page "
                "elsewhere, or by a proxy",
                hint="ask for localhost; or set keys; or list the name in gateway.allowed_hosts",
            )

    def _inquiry(self, request: Request, method: str, body: bytes) -> Inquiry:
        by_name = _decoded(request)
        if self._desk.keys:
            try:
                admin = self._bearer(request).admin
            except Unauthorized:
                admin = False  # pages say for themselves who may read them
        else:
            admin = self._desk.loopback and host_is_local(by_name)
        return Inquiry(
            method=method,
            path=request.path,
            query=dict(parse_qsl(request.query, keep_blank_values=True)),
            headers=by_name,
            body=body,
            admin=admin,
        )


def _any(dialect: Dialect, method: str, path: str) -> bool:
    return dialect.page(method, path) is not None or dialect.serves(method, path)


def _decoded(request: Request) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in request.by_name.items()}
