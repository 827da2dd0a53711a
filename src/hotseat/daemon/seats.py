"""The gateway's seats, given by the actor."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Mapping, Sequence
from types import TracebackType

from hotseat.daemon.actor import Actor, answer_of
from hotseat.daemon.book import Record, Ticket
from hotseat.daemon.hands import base_url
from hotseat.daemon.messages import Arrived, EngineDown
from hotseat.errors import HotseatError, NotFound, Unavailable
from hotseat.gateway.port import ANYONE, Caller, ModelView
from hotseat.words import State


class ActorLease:
    __slots__ = ("actor", "record", "ticket", "url", "waited", "workload")

    def __init__(self, actor: Actor, record: Record, ticket: Ticket, workload: str, waited: float, url: str) -> None:
        self.actor = actor
        self.record = record
        self.ticket = ticket
        self.workload = workload
        self.waited = waited
        self.url = url

    @property
    def swapped(self) -> bool:
        return self.ticket.swapped

    @property
    def frozen(self) -> bool:
        return self.record.frozen

    def engine_down(self) -> None:
        self.actor.send(EngineDown(workload=self.record.name))

    def release(self) -> None:
        if not self.ticket.ended:
            self.actor.leave(self.ticket)


class ActorSeats:
    """Implements `hotseat.gateway.port.Seats`."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def models(self) -> Sequence[ModelView]:
        wait = self._actor.outlook().of
        return [self._view(model, record, wait(record)) for model, record in self._actor.models.items()]

    def state(self, model: str) -> State | None:
        record = self._actor.models.get(model)
        return None if record is None else record.state

    def try_seat(self, model: str, *, caller: Caller = ANYONE) -> ActorLease | None:
        actor = self._actor
        record = actor.models.get(model)
        if record is None:
            return None
        try:
            url = record.spec.url or _url(record)  # before the seat is taken: nobody would give it back
        except HotseatError:
            return None
        name = record.name
        ticket = Ticket(name, actor.clock(), _never_asked, caller.priority)
        if not actor.admit(ticket):
            return None
        return ActorLease(actor, record, ticket, name, 0.0, url)

    def seat(self, model: str, *, caller: Caller = ANYONE) -> contextlib.AbstractAsyncContextManager[ActorLease]:
        return _Visit(self._actor, self._actor.models, "model", model, caller)

    def seat_workload(
        self, name: str, *, caller: Caller = ANYONE
    ) -> contextlib.AbstractAsyncContextManager[ActorLease]:
        return _Visit(self._actor, self._actor.records, "workload", name, caller)

    def _view(self, model: str, record: Record, expected_wait: float | None) -> ModelView:
        seen = record.observation
        return ModelView(
            id=model,
            workload=record.name,
            state=record.state,
            waiting=len(record.waiting),
            running=len(record.in_flight),
            expected_wait=expected_wait,
            note=record.note,
            gpu_bytes=sum(seen.gpu_bytes.values()) if seen is not None else 0,
            needs_bytes=sum((record.need or {}).values()),
        )


class _Visit(contextlib.AbstractAsyncContextManager[ActorLease]):
    """One lease, waited for if need be."""

    def __init__(self, actor: Actor, records: Mapping[str, Record], kind: str, name: str, caller: Caller) -> None:
        self._actor = actor
        self._records = records
        self._kind = kind
        self._name = name
        self._caller = caller
        self._ticket: Ticket | None = None

    async def __aenter__(self) -> ActorLease:
        actor, record = self._actor, self._records.get(self._name)
        if record is None:
            known = list(self._records)
            hint = "there are: " + ", ".join(known)
            raise NotFound(f"no {self._kind} {self._name!r}", hint=hint, models=known)
        loop = asyncio.get_running_loop()
        given: asyncio.Future[float] = loop.create_future()
        ticket = self._ticket = Ticket(record.name, loop.time(), answer_of(given), self._caller.priority)
        waited = 0.0
        try:
            if not actor.admit(ticket):
                actor.send(Arrived(ticket=ticket))
                waited = await given
            record = actor.records[record.name]  # its container may be another one than when the request came
            return ActorLease(actor, record, ticket, record.name, waited, _url(record))
        except HotseatError as error:
            actor.leave(ticket)
            # A copy: who waited beside it is told the same one.
            refused = copy.copy(error)
            refused.details = {**error.details, "workload": record.name, "swapped": ticket.swapped}
            raise refused from error
        except BaseException:
            # Given up while it waited, or granted in this very moment.
            actor.leave(ticket)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ticket is not None:
            self._actor.leave(self._ticket)


def _url(record: Record) -> str:
    """`Unavailable` if its container has no address that this host reaches, or the look after its start failed."""
    if record.observation is None:
        raise Unavailable(f"{record.name} was not looked at yet", hint="try again in a second", rule="not looked at")
    return base_url(record.name, record.spec, record.observation.container)


def _never_asked(value: object, error: HotseatError | None) -> None:
    """The answer of a ticket that did not wait."""
