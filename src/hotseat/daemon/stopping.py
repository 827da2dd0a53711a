"""The graceful stop, in order: no new requests, answers end, a swap ends, the parked are left as told.

Each step is one event of kind "stop", so that whoever asked for it can follow. Every step has its deadline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hotseat.daemon import messages as m
from hotseat.daemon.actor import Actor
from hotseat.daemon.book import AWAY
from hotseat.daemon.messages import How
from hotseat.errors import HotseatError
from hotseat.events import EventBus

_log = logging.getLogger(__name__)

ANSWERS_GRACE = 10.0
"""Seconds that answers under way have to end at a stop."""
SWAP_GRACE = 120.0
"""Seconds that a swap has to end by itself at a stop, before it is asked to come to a stable end."""
LAST_GRACE = 300.0
"""Seconds after that. A driver call is never cut: its own deadline bounds it."""


@dataclass(slots=True, kw_only=True)
class Order:
    """Whether to stop, and how."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    """A second signal: answers under way are cut, a swap is asked to come to a stable end."""
    parked: How | None = None
    """"leave", "seat", "stop"; None: as the configuration says."""


class Front(Protocol):
    """The part of the gateway that a stop needs."""

    async def stop_listening(self) -> None: ...

    async def aclose(self) -> None: ...


async def stop(actor: Actor, gateway: Front, *, order: Order, parked: How, events: EventBus) -> None:
    def say(step: str, *, workload: str | None = None, **data: Any) -> None:
        events.publish("stop", workload=workload, step=step, **data)

    waits = sum(len(record.waiting) for record in actor.records.values())
    runs = sum(len(record.in_flight) for record in actor.records.values())
    say("no new requests", told=waits, running=runs)
    await gateway.stop_listening()
    actor.send(m.Closing())
    await _within(ANSWERS_GRACE, actor.answers_done(), order.hurry)
    cut = sum(len(record.in_flight) for record in actor.records.values())
    say("answers ended", cut=cut)
    await gateway.aclose()
    if swaps := [record.name for record in actor.records.values() if record.job is not None]:
        say("a swap comes to its end", workloads=swaps)
    await _jobs_end(actor, order)
    if parked != "leave":
        say(f"parked workloads: {parked}", workloads=_parked(actor))
        await _part(actor, parked, order, say)
    await _within(ANSWERS_GRACE, actor.idle(), asyncio.Event())
    say("ended", parked=_parked(actor))


async def _part(actor: Actor, how: How, order: Order, say: Callable[..., None]) -> None:
    parting = asyncio.ensure_future(actor.ask(lambda answer: m.Part(how=how, answer=answer)))
    await actor.idle()
    await _jobs_end(actor, order)
    if not await _within(ANSWERS_GRACE, parting, asyncio.Event()):
        return
    outcome: Mapping[str, HotseatError | None] = parting.result()
    done = {"seat": "seated", "stop": "stopped"}[how]
    for name, error in outcome.items():
        if error is None:
            say(done, workload=name)
        else:
            record = actor.records.get(name)
            lost = record is not None and record.state not in AWAY
            step = f"could not be {done}" if lost else "stays parked"
            _log.warning("%s %s: %s", name, step, error.message)
            say(step, workload=name, error=error.as_dict())


async def _jobs_end(actor: Actor, order: Order) -> None:
    if not await _within(SWAP_GRACE, actor.jobs_done(), order.hurry):
        actor.cancel_jobs()
        await _within(LAST_GRACE, actor.jobs_done(), asyncio.Event())
    await _within(ANSWERS_GRACE, actor.idle(), asyncio.Event())


def _parked(actor: Actor) -> list[str]:
    return [record.name for record in actor.records.values() if record.state in AWAY]


async def _within(seconds: float, work: Awaitable[Any], hurry: asyncio.Event) -> bool:
    """Whether `work` ended in that time and before somebody hurried."""
    task = asyncio.ensure_future(work)
    hurried = asyncio.create_task(hurry.wait())
    try:
        await asyncio.wait({task, hurried}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(task.done())
    finally:
        task.cancel()
        hurried.cancel()
        await asyncio.gather(task, hurried, return_exceptions=True)
