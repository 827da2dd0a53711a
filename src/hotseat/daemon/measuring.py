"""Feeds the meters: from events, from requests that ended, and from the actor's records whenever somebody asks.

Reads only; nothing here changes who sits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import hotseat
from hotseat.daemon import rooms
from hotseat.daemon.actor import Actor
from hotseat.daemon.book import JobKind, Record
from hotseat.errors import HotseatError, Refused
from hotseat.events import Event, EventBus
from hotseat.gateway import usage
from hotseat.gateway.port import RequestSeen
from hotseat.metrics import catalogue as c
from hotseat.metrics.history import History
from hotseat.metrics.meters import Count, Meters, Reading, Times
from hotseat.words import Direction, State

_log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds of one point of the history."""
FORGET_AFTER = 3600.0
"""Seconds that the counts of a workload outlive it, so that nothing is missed between two scrapes."""
_DIRECTIONS = {JobKind.SWAP_OUT.value: Direction.OUT.value, JobKind.SWAP_IN.value: Direction.IN.value}


@dataclass(slots=True, kw_only=True)
class _Sheet:
    """Where all requests with the same labels are counted: looking that up costs more than adding."""

    model: str
    """The label."""
    served: str
    """By which workload; "": by none."""
    requests: Count
    seconds: Times
    waited: Times | None = None
    first_byte: Times | None = None
    tokens: list[Count] | None = None
    """Read and written."""
    deltas: Count | None = None
    """All four are made with the first that has one: there is no series that nobody ever adds to."""


class Measuring:
    def __init__(self, actor: Actor, *, events: EventBus) -> None:
        self._actor = actor
        self._events = events
        self._states: dict[str, str] = {}
        self._gone: dict[str, float] = {}
        self.last_swaps: dict[str, dict[str, Any]] = {}
        """Workload -> "kind", "direction", "seconds", "at" of its last swap or cold start."""
        self.held_bytes: Callable[[], int] = int
        """Of the gateway, which is made later."""
        self.meters = Meters(self._readings)
        self._models: Mapping[str, Record] = actor.models
        """For which `_sheets` were made."""
        self._sheets: dict[tuple[str, str, int, str], _Sheet] = {}
        """By model, dialect, status and workload; none of a model that only a client has made up."""
        self.history = History()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._tick())

    def request(self, seen: RequestSeen) -> None:
        """The gateway's `OnRequest`."""
        if self._models is not self._actor.models:  # made anew whenever the workloads change
            self._models = self._actor.models
            self._sheets.clear()
        sheet = self._sheets.get((seen.model, seen.dialect, seen.status, seen.workload)) or self._sheet(seen)
        sheet.requests.value += 1
        sheet.seconds.observe(seen.seconds)
        if seen.waited is not None and seen.workload:
            if sheet.waited is None:
                sheet.waited = self.meters.times(c.SEAT_WAIT, seen.workload)
            sheet.waited.observe(seen.waited)
        if seen.first_byte is not None:
            if sheet.first_byte is None:
                sheet.first_byte = self.meters.times(c.FIRST_BYTE, sheet.model, seen.dialect)
            sheet.first_byte.observe(seen.first_byte)
        if seen.broken:
            self.meters.add(c.BROKEN, sheet.model, seen.dialect)
        written = 0
        if seen.tail and seen.status == 200 and (used := usage.read(seen.tail)) is not None:
            written = used.completion or 0
            if sheet.tokens is None:
                kinds = "prompt", "completion"
                sheet.tokens = [self.meters.count(c.TOKENS, sheet.model, kind, "usage") for kind in kinds]
            sheet.tokens[0].value += used.prompt or 0
            sheet.tokens[1].value += written
        elif seen.deltas > 0:
            written = seen.deltas
            if sheet.deltas is None:
                sheet.deltas = self.meters.count(c.TOKENS, sheet.model, "completion", "deltas")
            sheet.deltas.value += written
        if sheet.served:
            self.history.count(sheet.served, error=seen.status >= 500, tokens=written)

    def happened(self, event: Event) -> None:
        """Count one event."""
        name = event.workload or ""
        match event.kind, event.data:
            case "state", {"state": state}:
                self._entered(name, str(state))
            case "swap", data:
                self._keep(event)
                self.meters.swap(
                    workload=name,
                    direction=str(data["direction"]),
                    seconds=data["seconds"],
                    phases=[(phase["name"], phase["part"], phase["seconds"]) for phase in data["phases"]],
                    gpu_bytes=data["gpu_bytes"],
                )
            case "start", data:
                self._keep(event)
                self.meters.add(c.COLD_STARTS, name, "done")
                self.meters.observe(c.COLD_START_SECONDS, name, seconds=data["seconds"])
            case "note", {"error": error, "job": job}:
                self._failed(name, str(job), error)

    async def _follow(self) -> None:
        async for event in self._events.subscribe(after=0):
            try:
                self.happened(event)
            except Exception:
                # A figure that is missing must not cost all the others.
                _log.exception("cannot count %s", event)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += TICK
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.tick(time.time())

    def tick(self, now: float) -> None:
        """A second is over; `now` in seconds since the epoch."""
        records = self._actor.records
        queues = {name: (len(record.waiting), len(record.in_flight)) for name, record in records.items()}
        self.history.tick(now, queues)
        for name in self._states:
            if name in records:
                self._gone.pop(name, None)
            else:
                self._gone.setdefault(name, now)
        for name in [name for name, since in self._gone.items() if now - since > FORGET_AFTER]:
            del self._gone[name], self._states[name]
            self.last_swaps.pop(name, None)
            self.meters.forget(name)
            self._sheets.clear()

    def _keep(self, event: Event) -> None:
        self.last_swaps[event.workload or ""] = {
            "kind": event.kind,
            "direction": str(event.data.get("direction", Direction.IN)),
            "seconds": event.data["seconds"],
            "at": event.at,
        }

    def _entered(self, name: str, state: str) -> None:
        # What the first look after a start of the daemon finds in quarantine was put there before.
        if state == State.QUARANTINED and self._states.get(name, state) != state:
            self.meters.add(c.QUARANTINES, name)
        self._states[name] = state

    def _failed(self, name: str, job: str, error: dict[str, Any]) -> None:
        outcome = _outcome(str(error.get("code", "")))
        if job in _DIRECTIONS:
            self.meters.add(c.SWAPS, name, _DIRECTIONS[job], outcome)
        elif job == JobKind.START:
            self.meters.add(c.COLD_STARTS, name, outcome if outcome == "refused" else "failed")

    def _sheet(self, seen: RequestSeen) -> _Sheet:
        model, meters = self._known(seen), self.meters
        sheet = _Sheet(
            model=model,
            served=seen.workload or self._workload_of(model),
            requests=meters.count(c.REQUESTS, model, seen.dialect, str(seen.status)),
            seconds=meters.times(c.REQUEST_SECONDS, model, seen.dialect),
        )
        if seen.model in ("", model):
            self._sheets[seen.model, seen.dialect, seen.status, seen.workload] = sheet
        return sheet

    def _known(self, seen: RequestSeen) -> str:
        """The label of its model: never text that only a client has made up."""
        if seen.dialect == "upstream":
            return seen.workload
        return seen.model if self._workload_of(seen.model) else ""

    def _workload_of(self, model: str) -> str:
        for record in self._actor.records.values():
            if model in (record.spec.models or (record.name,)):
                return record.name
        return ""

    def _readings(self) -> Iterator[Reading]:
        yield c.BUILD, (hotseat.__version__,), 1
        uses = self._actor.uses
        yield c.EMULATED, (), int(any(use.device.emulated for use in uses))
        yield c.HELD, (), self.held_bytes()
        records = self._actor.records
        for use in uses:
            device = use.device
            yield c.DEVICE_TOTAL, (str(device.index), device.uuid, device.name), device.total_bytes
            yield c.DEVICE_USED, (str(device.index),), use.used_bytes
            ahead = self._actor.ahead.get(device.uuid, 0)
            yield c.DEVICE_FOREIGN, (str(device.index),), rooms.foreign(use, records.values(), ahead=ahead)
        now = asyncio.get_running_loop().time()
        for name, record in records.items():
            for state in State:
                yield c.STATE, (name, state.value), int(record.state is state)
            yield c.WAITING, (name,), len(record.waiting)
            yield c.RUNNING, (name,), len(record.in_flight)
            yield c.OLDEST, (name,), max((now - ticket.arrived for ticket in record.waiting), default=0.0)
            if (seen := record.observation) is not None:
                yield c.WORKLOAD_HOST, (name,), seen.host_bytes
                if record.state is State.STORED:
                    yield c.WORKLOAD_STORED, (name,), sum(one.disk_bytes for one in seen.held.values())
                for index, count in seen.gpu_bytes.items():
                    yield c.WORKLOAD_DEVICE, (name, str(index)), count
                for index, count in seen.parked_gpu_bytes.items():
                    yield c.WORKLOAD_PARKED, (name, str(index)), count


def _outcome(code: str) -> str:
    if code in ("rolled_back", "quarantined"):
        return code
    return "refused" if code in _codes(Refused) else "failed"


def _codes(kind: type[HotseatError]) -> set[str]:
    return {kind.code}.union(*[_codes(child) for child in kind.__subclasses__()])
