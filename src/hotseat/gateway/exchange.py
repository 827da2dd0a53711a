"""One request on its way to an engine and back.

Almost every request finds its workload seated and a connection to its engine in the pool: then all of it happens in
callbacks, without a task. If it must wait for a seat or a connection, a task waits, and sends it on.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time

from hotseat.errors import EngineFailed, EngineTimeout, HotseatError
from hotseat.gateway import headers
from hotseat.gateway.answer import Answer
from hotseat.gateway.asking import Asking
from hotseat.gateway.desk import Desk
from hotseat.gateway.http.body import WINDOW
from hotseat.gateway.http.client import Client
from hotseat.gateway.http.engine import Engine, Head
from hotseat.gateway.http.request import Headers, Request
from hotseat.gateway.port import HeldLease, Lease, RequestSeen, Unreachable
from hotseat.gateway.upload import Upload, send_whole

_log = logging.getLogger(__name__)

_REFUSAL_LIMIT = 1 << 16


class _Stale(Exception):
    """A pooled connection was closed before the first byte of the answer."""


class Exchange:
    """Implements `http.port.Turn` towards the client and `http.engine.Sink` towards the engine."""

    # Most requests end without most of these.
    _waited: float | None = None
    _workload = ""
    _swapped = False
    _sought = False
    """It was asked for a seat that could not be had at once."""
    _lease: Lease | None = None
    """While the engine is asked."""
    _held: HeldLease | None = None
    """The same, if it was had without a task, which would give it back."""
    _engine: Engine | None = None
    _upload: Upload | None = None
    """While the body is sent on as it comes."""
    _task: asyncio.Task[None] | None = None
    _passed: asyncio.Future[None] | None = None
    """Of the task: the answer is written."""
    _share = 0
    """Bytes of the body that are counted as held."""
    _over = False
    _state = "seated"
    """Of the workload, when the request came."""
    _heard = True
    """The engine moved since the last tick."""
    _heard_at = 0.0
    _comment_at: float | None = None
    _refusal: bytearray | None = None
    """What an engine says instead of the stream whose head was sent early."""

    def __init__(self, desk: Desk, client: Client, request: Request, asking: Asking) -> None:
        self._desk = desk
        self._client = client
        self._request = request
        self._asking = asking
        self._answer = Answer(client, request, asking.dialect, request_id=asking.request_id)
        self._arrived = time.monotonic()
        client.turn = self
        body = request.body
        if not body.complete:
            body.changed = self._read_on
            client.want_body(request)
        if body.complete or body.held:
            self._read()

    # The request is read until it is known what it asks for.

    def _read_on(self) -> None:
        if self._has_room():
            self._read()

    def _read(self) -> None:
        try:
            if not self._asking.look():
                return
            self._request.body.changed = self._watch_size
            self._asking.enter()
            self._seat()
        except HotseatError as error:
            self._fail(error)
        except Exception:
            self._fail(self._fault())

    def _watch_size(self) -> None:
        """While the request waits for its seat and more of its body comes."""
        try:
            self._asking.check_size()
        except HotseatError as error:
            self._give_up()
            self._fail(error)
            return
        self._has_room()

    def _has_room(self) -> bool:
        """For what has come of the body. If not, the exchange is over."""
        held = self._request.body.held
        if held > WINDOW:
            try:
                self._share = self._desk.held.change(self._share, held)
            except HotseatError as error:
                self._give_up()
                self._fail(error)
                return False
        return True

    def _unhold(self) -> None:
        """The body is gone from memory."""
        if self._share:
            self._share = self._desk.held.change(self._share, 0)

    def _seat(self) -> None:
        asking = self._asking
        lease = asking.try_seat()
        if lease is None:
            self._sought = True
            self._state = asking.state()
        else:
            self._held = lease
            engine = self._pooled(lease.url)
            if engine is not None:
                self._send(engine, lease)
                return
        self._task = asyncio.get_running_loop().create_task(self._run(fresh=False))

    # The task of a request that waits.

    async def _run(self, *, fresh: bool) -> None:
        try:
            try:
                if self._held is not None:
                    if await self._try(self._held, fresh=fresh, last=False):
                        return
                    self._release()
                else:
                    async with self._asking.seat() as lease:
                        if lease.swapped:
                            # Those that idled while it was parked are stale, or soon will be.
                            self._desk.pool.flush(lease.url)
                        if await self._try(lease, fresh=False, last=False):
                            return
                # Nothing was sent, so once more; this time its engine is probed first.
                async with self._asking.seat() as lease:
                    await self._try(lease, fresh=False, last=True)
            finally:
                self._release()
        except HotseatError as error:
            self._fail(error)
        except Exception:
            self._fail(self._fault())

    async def _try(self, lease: Lease, *, fresh: bool, last: bool) -> bool:
        """Whether the engine could be reached. The answer, good or bad, is written then."""
        try:
            if not fresh and (engine := self._pooled(lease.url)) is not None:
                try:
                    await self._pass(engine, lease)
                    return True
                except _Stale:
                    pass  # all that are pooled may be
            await self._pass(await self._desk.pool.connect(lease.url), lease)
        except Unreachable:
            lease.engine_down()
            if last:
                raise
            return False
        return True

    def _pooled(self, url: str) -> Engine | None:
        """One that may turn out to be closed, so only for what can then be sent once more."""
        body = self._request.body
        again = self._asking.repeatable and body.complete and not body.consumed and not body.trailers
        return self._desk.pool.take(url) if again else None

    async def _pass(self, engine: Engine, lease: Lease) -> None:
        self._passed = asyncio.get_running_loop().create_future()
        try:
            self._send(engine, lease)
            await self._passed
        finally:
            self._passed = None
            self._drop_engine()

    # To the engine.

    def _send(self, engine: Engine, lease: Lease) -> None:
        self._engine, self._lease = engine, lease
        self._waited, self._workload, self._swapped = lease.waited, lease.workload, lease.swapped
        self._heard = True
        request, asking, origin = self._request, self._asking, self._desk.pool.origin(lease.url)
        if request.body.complete and not request.body.trailers and not request.body.consumed:
            send_whole(request, engine, asking, origin, sink=self)
        else:
            self._upload = Upload(request, engine, asking, failed=self._wrong)
            self._upload.start(origin, sink=self)
            if self._upload is not None and not self._upload.waits_for_engine:
                self._unhold()

    def _wrong(self, error: HotseatError) -> None:
        """The body is wrong, and the engine has a part of it."""
        self._settle(error)

    # From the engine.

    def informed(self, head: Head) -> None:
        self._heard = True
        self._answer.informed(head)

    def headed(self, head: Head, length: int | None) -> None:
        lease = self._lease
        assert lease is not None
        self._heard = True
        answer = self._answer
        if not answer.early:
            answer.head(head, length, self._ours(lease))
            return
        answer.comment(f"seated after {lease.waited:.1f} s")
        if head.status != 200 or not answer.is_stream(head):
            self._refusal = bytearray(b"%d: " % head.status)

    def arrived(self, piece: bytes) -> None:
        self._heard = True
        if self._refusal is None:
            self._answer.piece(piece)
        elif len(self._refusal) < _REFUSAL_LIMIT:
            self._refusal += piece

    def flush(self) -> None:
        self._answer.flush()

    def ended(self, trailers: Headers) -> None:
        self._engine = None
        if self._refusal is not None:
            text = bytes(self._refusal[:2000]).decode(errors="replace")
            self._settle(EngineFailed(f"the engine of {self._workload} answered {text}"))
            return
        self._release()
        self._close_books()
        self._answer.end(trailers)
        self._done()

    def broken(self, said: str, *, heard: bool) -> None:
        engine, self._engine = self._engine, None
        stale = engine is not None and engine.reused and not heard
        if stale and not self._request.body.consumed:
            self._lease = self._upload = None
            if self._passed is not None:
                self._passed.set_exception(_Stale())
            else:
                self._task = asyncio.get_running_loop().create_task(self._run(fresh=True))
            return
        if self._answer.status:
            message = f"the engine broke off in the middle of its answer: {said}"
        else:
            message = f"the engine gave no answer: {said}"
        self._settle(EngineFailed(message, hint="its log says why; hotseat ps shows whether it runs"))

    def switched(self, head: Head, early: bytes) -> None:
        self._settle(EngineFailed("the engine switched protocols, which it was not asked to"))

    def engine_writable(self, yes: bool) -> None:
        self._heard = True
        if self._upload is not None:
            self._upload.writable(yes)
            if yes:
                self._unhold()

    # From the client.

    def gone(self) -> None:
        if not self._over:
            self._answer.broken = bool(self._answer.status)
            self._give_up()
            self._release()
            self._close_books(left=True)

    def writable(self, yes: bool) -> None:
        self._heard = True
        if self._engine is not None:
            self._engine.hold(not yes)

    def tick(self, now: float) -> None:
        lease, patience = self._lease, self._desk.patience
        if lease is not None and not lease.frozen:
            if self._heard or self._client.backlog or (self._upload is not None and self._upload.waits_for_client):
                self._heard, self._heard_at = False, now
            elif now - self._heard_at > patience.max_silence:
                self._settle(_silent(lease, patience.max_silence))
                return
            self._comment_at = now + patience.keepalive
            return
        self._heard_at = now
        if self._comment_at is None:
            self._comment_at = now + patience.keepalive
        if self._asking.stream and now >= self._comment_at:
            self._comment_at = now + patience.keepalive
            answer = self._answer
            if not answer.status and self._asking.dialect.keepalive(""):
                answer.begin_early(self._ours(None))
            answer.comment("waiting for the seat" if lease is None else "parked, goes on later")

    # Ends.

    def _settle(self, error: HotseatError) -> None:
        """An error while the engine is asked."""
        self._drop_engine()
        if self._passed is not None:
            if not self._passed.done():
                self._passed.set_exception(error)
            return
        self._fail(error)

    def _fail(self, error: HotseatError) -> None:
        if self._over:
            return
        self._drop_engine()
        self._release()
        answer = self._answer
        if not answer.status:
            answer.status = error.http_status
            self._close_books()
            answer.refuse(error, known=self._known(error))
        else:
            answer.broken = True
            self._close_books()
            answer.fail(error)
        self._done()

    def _fault(self) -> HotseatError:
        """Of ours: whoever asked must not wait for ever, and the seat must not stay taken."""
        given = self._asking.request_id
        _log.exception("request %s", given)
        return HotseatError("hotseat failed on this request", hint=f"its log has more at {given}")

    def _done(self) -> None:
        if self._passed is not None and not self._passed.done():
            self._passed.set_result(None)

    def _give_up(self) -> None:
        """Neither the wait nor the engine's work is wanted any more."""
        self._drop_engine()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _drop_engine(self) -> None:
        engine, self._engine = self._engine, None
        self._lease = self._upload = None
        if engine is not None:
            engine.abort()

    def _release(self) -> None:
        if (lease := self._held) is not None:
            self._held = None
            lease.release()

    def _close_books(self, *, left: bool = False) -> None:
        """The exchange is over. Before the last byte is written, as the next request may begin with that."""
        self._over = True
        self._lease = self._upload = None
        self._request.body.changed = None
        self._unhold()
        asking, desk = self._asking, self._desk
        asking.leave()
        if not desk.counts:
            return
        answer, arrived = self._answer, self._arrived
        desk.seen(
            RequestSeen(
                model=asking.model,
                workload=self._workload,
                dialect=asking.dialect_name,
                status=answer.status or (499 if left else 0),
                seconds=time.monotonic() - arrived,
                waited=self._waited,
                first_byte=None if answer.first_byte is None else answer.first_byte - arrived,
                broken=answer.broken,
                tail=answer.tail,
                deltas=answer.deltas,
            )
        )

    def _known(self, error: HotseatError) -> list[tuple[str, str]]:
        """What an answer would say in its headers, as far as it got."""
        waited = self._waited
        workload, swapped = self._workload, self._swapped
        if waited is None:
            if not self._sought or not self._state:  # it was asked for what is not there
                return []
            waited = time.monotonic() - self._arrived
            workload, swapped = error.details.get("workload", ""), bool(error.details.get("swapped"))
        said = [(headers.WAITED, str(round(waited * 1000)))]
        if workload:
            said += [(headers.WORKLOAD, workload), (headers.SWAPPED, str(int(swapped)))]
        if self._state:
            said.append((headers.STATE, self._state))
        return said

    def _ours(self, lease: Lease | None) -> bytes:
        identity = b"x-request-id: " + self._asking.request_id.encode() + b"\r\n"
        if lease is None:
            waited = round((time.monotonic() - self._arrived) * 1000)
            return b"%bx-hotseat-waited-ms: %d\r\nx-hotseat-state: %b\r\n" % (identity, waited, self._state.encode())
        return identity + _said_of(lease.workload, round(lease.waited * 1000), bool(lease.swapped), self._state)


@functools.lru_cache(maxsize=1024)
def _said_of(workload: str, waited_ms: int, swapped: bool, state: str) -> bytes:
    """Kept, as almost all have waited 0 ms."""
    return b"x-hotseat-workload: %b\r\nx-hotseat-waited-ms: %d\r\nx-hotseat-swapped: %d\r\nx-hotseat-state: %b\r\n" % (
        workload.encode(),
        waited_ms,
        swapped,
        state.encode(),
    )


def _silent(lease: Lease, seconds: float) -> EngineTimeout:
    return EngineTimeout(
        f"the engine of {lease.workload} said nothing for {seconds:g} s while it was seated",
        hint="raise gateway.max_silence if its answers take so long",
    )
