"""What a request asks for and who asks: the model of a dialect's request, or a workload by its name."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol
from urllib.parse import unquote

from hotseat.errors import NotFound, UsageError
from hotseat.gateway import headers
from hotseat.gateway.coding import TooLarge
from hotseat.gateway.desk import Desk
from hotseat.gateway.dialects import naming
from hotseat.gateway.dialects.naming import Named
from hotseat.gateway.dialects.port import Dialect
from hotseat.gateway.http.request import Headers, Request
from hotseat.gateway.keys import Bearer
from hotseat.gateway.port import HeldLease, Lease
from hotseat.gateway.reading import Reading, too_large

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})


class Asking(Protocol):
    @property
    def dialect(self) -> Dialect:
        """In which errors are said."""
        ...

    @property
    def dialect_name(self) -> str: ...

    @property
    def request_id(self) -> str: ...

    @property
    def model(self) -> str:
        """ "" until it is known."""
        ...

    @property
    def stream(self) -> bool:
        """The client reads a stream, into which comments may be put."""
        ...

    @property
    def target(self) -> bytes:
        """Path and query for the engine."""
        ...

    @property
    def repeatable(self) -> bool:
        """It may be sent again where a pooled connection closed before the first byte of an answer, although the
        engine may have read it."""
        ...

    def look(self) -> bool:
        """Whether it is known what is asked for; if not, more of the body is needed. `HotseatError`."""
        ...

    def check_size(self) -> None:
        """`TooLarge`."""
        ...

    def passing(self, piece: bytes) -> None:
        """This piece of the body goes on. `UsageError`."""
        ...

    def lines(self) -> bytes:
        """The headers that go on to the engine, as they stand on the wire, without our keys."""
        ...

    def enter(self) -> None:
        """Asks whether the caller may. `Forbidden`, `TooMany`. Then `leave` follows."""
        ...

    def leave(self) -> None:
        """Idempotent."""
        ...

    def try_seat(self) -> HeldLease | None: ...

    def seat(self) -> AbstractAsyncContextManager[Lease]: ...

    def state(self) -> str:
        """Of the workload, now; "" if it is not known."""
        ...


class _Common:
    model = ""
    stream = False
    repeatable = True
    _counted: AbstractContextManager[None] | None = None

    def __init__(self, desk: Desk, request: Request, bearer: Bearer, *, request_id: str) -> None:
        self._desk = desk
        self._request = request
        self._bearer = bearer
        self.request_id = request_id

    def lines(self) -> bytes:
        head, keys = self._request.head, self._desk.keys
        if not keys.any:
            found = head.forward.get(self.stream)
            if found is None:
                found = head.forward[self.stream] = self._joined(head.headers)
            return found
        instead = keys.for_engine(self._request.header)
        passing = [(name, value) for name, value in head.headers if name.lower().decode("latin-1") not in instead]
        replaced = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in instead.items() if value is not None
        ]
        return self._joined(passing + replaced)

    def _joined(self, pairs: Headers) -> bytes:
        connection = self._request.by_name.get(b"connection", b"")
        return b"".join(headers.to_engine(pairs, connection=connection, stream=self.stream))

    def leave(self) -> None:
        if (counted := self._counted) is not None:
            self._counted = None
            counted.__exit__(None, None, None)

    def _count(self) -> None:
        if self._desk.keys.any:
            counted = self._desk.keys.counted(self._bearer)
            counted.__enter__()
            self._counted = counted


class ModelAsking(_Common):
    _reading: Reading

    def __init__(self, desk: Desk, request: Request, bearer: Bearer, dialect: Dialect, *, request_id: str) -> None:
        """`UsageError`."""
        super().__init__(desk, request, bearer, request_id=request_id)
        self.dialect = dialect
        self._reading = Reading(request, dialect, desk.limits)

    @property
    def dialect_name(self) -> str:
        return self.dialect.name

    @property
    def target(self) -> bytes:
        return self._request.target

    def look(self) -> bool:
        named = self._named()
        if named is None:
            return False
        self.model = self.dialect.resolve(named.model, self._is_known)
        self.stream = self.dialect.streams(named)
        return True

    def _named(self) -> Named | None:
        return self._reading.look()

    def check_size(self) -> None:
        self._reading.check_size()

    def passing(self, piece: bytes) -> None:
        self._reading.passing(piece)

    def enter(self) -> None:
        if self._desk.keys.any:
            self._bearer.check(self.model)
            self._count()

    def try_seat(self) -> HeldLease | None:
        return self._desk.seats.try_seat(self.model, caller=self._bearer.caller)

    def seat(self) -> AbstractAsyncContextManager[Lease]:
        if not self._is_known(self.model):
            may = [view.id for view in self._desk.seats.models() if self._bearer.may_use(view.id)]
            raise naming.unknown(self.model, may)
        return self._desk.seats.seat(self.model, caller=self._bearer.caller)

    def state(self) -> str:
        state = self._desk.seats.state(self.model)
        return "" if state is None else state.value

    def _is_known(self, model: str) -> bool:
        return self._desk.seats.state(model) is not None


class PlainAsking(ModelAsking):
    """Of a request that `reading.is_plain`, so of almost every one: nothing but its whole body is read."""

    def __init__(self, desk: Desk, request: Request, bearer: Bearer, dialect: Dialect, *, request_id: str) -> None:
        """`TooLarge`."""
        self._desk = desk
        self._request = request
        self._bearer = bearer
        self.request_id = request_id
        self.dialect = dialect
        body = request.body
        limit = body.limit = body.high = desk.limits.max_body
        if request.length is not None and request.length > limit:
            raise too_large(limit, "max_body")

    def _named(self) -> Named | None:
        body = self._request.body
        if body.limit is not None and body.total > body.limit:
            raise too_large(body.limit, "max_body")
        return self.dialect.of_json(body.whole()) if body.complete else None

    def check_size(self) -> None:
        return None  # it was whole before it was known what is wanted

    def passing(self, piece: bytes) -> None:
        return None


def refuse_dots(path: str) -> None:
    """`UsageError`. An engine, or what stands before it, would take such a path for another one."""
    if "." in path or "%" in path:
        segments = unquote(path).replace("\\", "/").split("/")
        if "." in segments or ".." in segments:
            raise UsageError("the path has a segment . or ..", hint="write it without")


class WorkloadAsking(_Common):
    """/upstream/NAME/...: everything goes to NAME's engine as it is."""

    dialect_name = "upstream"
    first = ""
    """Any of its models; "" until it is known that it has one."""

    def __init__(
        self, desk: Desk, request: Request, bearer: Bearer, dialect: Dialect, *, request_id: str, workload: str
    ) -> None:
        """`UsageError`."""
        super().__init__(desk, request, bearer, request_id=request_id)
        self.dialect = dialect
        self.workload = workload
        self.repeatable = request.method in _IDEMPOTENT  # what a POST does there is not known
        body = request.body
        body.limit = desk.limits.max_upload
        body.high = desk.limits.max_body
        _, _, rest = request.target.removeprefix(b"/upstream/").partition(b"/")
        if b"/" not in request.target.removeprefix(b"/upstream/").partition(b"?")[0]:
            rest = b""
        refuse_dots(request.path)
        self.target = b"/" + rest
        if request.length is not None and request.length > body.limit:
            raise self._too_large()

    def look(self) -> bool:
        return True

    def check_size(self) -> None:
        body = self._request.body
        if body.limit is not None and body.total > body.limit:
            raise self._too_large()

    def passing(self, piece: bytes) -> None:
        return None

    def enter(self) -> None:
        models = [view for view in self._desk.seats.models() if view.workload == self.workload]
        if self._desk.keys.any:  # in the same words whether there is such a workload or not
            self._bearer.check_all([view.id for view in models], workload=self.workload)
        if not models:
            known = sorted({view.workload for view in self._desk.seats.models()})
            raise NotFound(f"no workload {self.workload!r}", hint="there are: " + ", ".join(known))
        self.first = models[0].id
        self._count()

    def try_seat(self) -> HeldLease | None:
        return None

    def seat(self) -> AbstractAsyncContextManager[Lease]:
        return self._desk.seats.seat_workload(self.workload, caller=self._bearer.caller)

    def state(self) -> str:
        state = self._desk.seats.state(self.first)
        return "" if state is None else state.value

    def _too_large(self) -> UsageError:
        limit = self._request.body.limit
        return TooLarge(f"the body is larger than {limit} bytes", hint="gateway.max_upload sets the limit")
