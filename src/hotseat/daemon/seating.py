"""Requests: they come, wait in turns, are given their seat, and leave. Part of the core: synchronous, no I/O.

`admit` and `leave` are the short way of almost every request: for a workload that sits, is ready and keeps its seat
they cost a few dictionary operations and no round of the scheduler. A workload that has no work left may be asked to
leave after its `linger`, so `leave` only sees to it that somebody looks then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotseat.daemon import messages as m
from hotseat.daemon import verdicts
from hotseat.daemon.book import Record, Ticket
from hotseat.errors import HotseatError
from hotseat.words import State

if TYPE_CHECKING:
    from hotseat.daemon.core import Core


def admit(core: Core, ticket: Ticket, now: float) -> bool:
    """Give it the seat at once, without an answer, if there is nothing to wait for. Only between two batches of
    messages: one that was sent before may take the seat away."""
    record = core.records.get(ticket.workload)
    if record is None or not record.open or core.closing or record.waiting.tickets:
        return False
    record.in_flight[ticket] = None
    record.learned.rate.count(now)
    return True


def leave(core: Core, ticket: Ticket, now: float) -> None:
    """The request has ended, or its client has gone."""
    ticket.ended = True
    record = core.records.get(ticket.workload)
    if record is None:
        return
    if ticket not in record.in_flight:
        if ticket in record.waiting:
            record.waiting.discard(ticket)
            core.dirty = True
        return
    del record.in_flight[ticket]
    record.last_used = now
    if record.in_flight:
        return
    if record.drained or record.leaving or record.successor is not None or not record.open:
        core.dirty = True
    if core.demand:
        core.wake(now + record.spec.linger)
    if record.spec.idle_timeout is not None:
        core.wake(now + record.spec.idle_timeout)


def arrived(core: Core, ticket: Ticket, now: float) -> None:
    """It waits from now on; `TooMany` if `max_queue` others do."""
    record = core.records[ticket.workload]
    if len(record.waiting) >= record.spec.max_queue:
        core.tell(ticket.answer, None, verdicts.queue_is_full(record, core.outlook(now).look(record)))
        return
    record.learned.rate.count(now)
    ticket.swapped = record.job is not None
    # One more for a workload that is waited for already changes nothing, unless it is the most urgent now.
    waited_for = bool(record.waiting) and not record.held
    core.dirty |= record.waiting.add(ticket) or not waited_for
    record.held = False


def grant(core: Core, record: Record, now: float) -> None:
    """Those who wait get their seat, if it is one and its engine answers; else that is found out."""
    if record.state is not State.SEATED or record.job is not None or record.successor is not None:
        return
    if record.ready:
        for ticket in record.waiting.take_all():
            record.in_flight[ticket] = None
            core.tell(ticket.answer, now - ticket.arrived)
    elif record.waiting and not record.probing:
        record.probing = record.epoch = record.epoch + 1
        core.do(m.Probe(workload=record.name, number=record.probing))


def answer_wishes(core: Core, record: Record) -> None:
    """A person who wanted it seated has what he wanted, also if the next one wants its seat in the same moment."""
    if record.state is State.SEATED and record.job is None and record.successor is None:
        for wish in record.wishes:
            core.tell(wish.answer, wish.reports)
        record.wishes.clear()


def probed(core: Core, record: Record, number: int, error: HotseatError | None, now: float) -> None:
    """Its engine answered, or did not within its time: then those who wait are told."""
    if record.probing != number:
        return
    record.probing = 0
    if error is None:
        record.ready = True
    else:
        core.turn_away(record, error, now)


def expire(core: Core, record: Record, now: float) -> None:
    """Who waited for `max_wait` is told so."""
    limit = record.spec.max_wait
    late = record.waiting.take_late(now - limit)
    for ticket in late:
        core.tell(ticket.answer, None, verdicts.too_late(record, core.outlook(now).look(record)))
    for ticket in record.waiting:
        core.wake(ticket.arrived + limit)
        break
