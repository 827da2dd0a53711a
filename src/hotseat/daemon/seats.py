"""The gateway's seats, given by the actor."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from hotseat.daemon.actor import Actor, answer_of
from hotseat.daemon.book import Record, Ticket
from hotseat.daemon.hands import base_url
from hotseat.daemon.messages import Arrived, EngineDown, Left
from hotseat.errors import NotFound
from hotseat.gateway.port import ANYONE, Caller, ModelView


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorLease:
    actor: Actor
    record: Record
    ticket: Ticket
    waited: float
    url: str

    @property
    def workload(self) -> str:
        return self.record.name

    @property
    def swapped(self) -> bool:
        return self.ticket.swapped

    @property
    def frozen(self) -> bool:
        return self.record.frozen

    def engine_down(self) -> None:
        self.actor.send(EngineDown(workload=self.record.name))


class ActorSeats:
    """Implements `hotseat.gateway.port.Seats`."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def models(self) -> Sequence[ModelView]:
        return [self._view(model, record) for model, record in self._actor.models.items()]

    def try_seat(self, model: str, *, caller: Caller = ANYONE) -> None:
        return None

    def seat(self, model: str, *, caller: Caller = ANYONE) -> contextlib.AbstractAsyncContextManager[ActorLease]:
        return self._seat(self._actor.models, "model", model)

    def seat_workload(
        self, name: str, *, caller: Caller = ANYONE
    ) -> contextlib.AbstractAsyncContextManager[ActorLease]:
        return self._seat(self._actor.records, "workload", name)

    def _view(self, model: str, record: Record) -> ModelView:
        seen = record.observation
        return ModelView(
            id=model,
            workload=record.name,
            state=record.state,
            waiting=len(record.waiting),
            running=len(record.in_flight),
            expected_wait=self._actor.expected_wait(record),
            note=record.note,
            gpu_bytes=sum(seen.gpu_bytes.values()) if seen is not None else 0,
            needs_bytes=sum((record.view().need or {}).values()),
        )

    @contextlib.asynccontextmanager
    async def _seat(self, records: Mapping[str, Record], kind: str, name: str) -> AsyncIterator[ActorLease]:
        record = records.get(name)
        if record is None:
            known = list(records)
            raise NotFound(f"no {kind} {name!r}", hint="there are: " + ", ".join(known), models=known)
        loop = asyncio.get_running_loop()
        given: asyncio.Future[float] = loop.create_future()
        ticket = Ticket(workload=record.name, arrived=loop.time(), answer=answer_of(given))
        self._actor.send(Arrived(ticket=ticket))
        try:
            waited = await given
            record = self._actor.records[record.name]  # its container may be another one than when the request came
            # Seated, so it was observed and has a container.
            assert record.observation is not None
            url = base_url(record.name, record.spec, record.observation.container)
            yield ActorLease(actor=self._actor, record=record, ticket=ticket, waited=waited, url=url)
        finally:
            # Whatever became of it: granted, refused, given up while it waited, or granted in this very moment.
            self._actor.send(Left(ticket=ticket))
