"""Workloads come, change and go while others are served. Part of the core: synchronous, no I/O.

Comes: looked at before anybody is told that it does not run. Changes: its settings are swapped in place; what makes its
process or container counts at its next start. Becomes another container: what is in flight ends first, new requests
wait. Goes: new requests and those that wait are told, what is in flight ends (it gets its seat back for that, if it
must), a job under way ends; then it is forgotten. Its container is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hotseat.config import Workload
from hotseat.daemon.book import Answer, Record
from hotseat.daemon.messages import (
    Arrived,
    Configure,
    Drained,
    EngineDown,
    Equip,
    Fetch,
    JobEnded,
    Look,
    Message,
    Observed,
    Park,
    PartDone,
    Prewarm,
    Probed,
    Progress,
    Say,
    Seat,
    Spill,
    Stop,
    Swap,
)
from hotseat.errors import NotFound
from hotseat.words import State

if TYPE_CHECKING:
    from hotseat.daemon.core import Core

AT_NEXT_START = frozenset({"command", "env", "workdir", "image", "run", "interposed"})
"""Settings that make a process or container; a change of any other counts at once."""

WHERE_IT_ANSWERS = ("url", "port", "health")
"""Settings after whose change its engine is asked again before anybody is sent to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a `Configure` has done, by workload; for `changed` and `at_next_start` with the names of the settings."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    at_next_start: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": {name: list(fields) for name, fields in self.changed.items()},
            "at_next_start": {name: list(fields) for name, fields in self.at_next_start.items()},
        }


def configure(core: Core, message: Configure) -> None:
    added: list[str] = []
    changed: dict[str, tuple[str, ...]] = {}
    at_next_start: dict[str, tuple[str, ...]] = {}
    records: dict[str, Record] = {}
    for name, spec in message.specs.items():
        record = core.records.get(name)
        if record is None:
            record = core.new_record(name, spec, epoch=core.first_epoch)
            core.do(Look(workload=name))
            added.append(name)
        else:
            fields = _differences(record.successor or record.spec, spec)
            if record.leaving:
                added.append(name)
            elif fields:
                changed[name] = tuple(f for f in fields if f not in AT_NEXT_START)
                at_next_start[name] = tuple(f for f in fields if f in AT_NEXT_START)
            _change(record, spec)
        records[name] = record
    removed = [name for name, record in core.records.items() if name not in records and not record.leaving]
    for name, record in core.records.items():
        if name not in records:
            record.leaving = True
            record.held = False
            records[name] = record
    core.records = records
    core.caps = dict(message.caps)
    if message.host is not None:
        core.host.parked, core.host.reserve = message.host.parked, message.host.reserve
    changes = Changes(
        added=tuple(added),
        removed=tuple(removed),
        changed={name: fields for name, fields in changed.items() if fields},
        at_next_start={name: fields for name, fields in at_next_start.items() if fields},
    )
    publish(core)
    _say(core, changes)
    if message.answer is not None:
        core.tell(message.answer, changes)


def settle(core: Core) -> None:
    """Those that can go, go; those that become another container do."""
    busy = [r for r in core.records.values() if r.in_flight or r.waiting or r.park_answers]
    gone = [r for r in core.records.values() if r.leaving and r.job is None and r not in busy]
    for record in gone:
        del core.records[record.name]
        core.first_epoch = max(core.first_epoch, record.epoch + 1)
        for answer in record.drained:
            core.tell(answer, None)
        core.do(Say(kind="config", workload=record.name, data={"change": "forgotten", "state": record.state.value}))
    become = [r for r in core.records.values() if r.successor is not None and r.job is None and not r.in_flight]
    for record in become:
        _become(core, record)
    if gone or become:
        publish(core)


def unknown(core: Core, name: str) -> NotFound:
    """What is told who asks for a workload that is not, or not any more, in the configuration."""
    known = [record.name for record in core.records.values() if not record.leaving]
    return NotFound(f"no workload {name!r}", hint="there are: " + ", ".join(known), workloads=known)


def publish(core: Core) -> None:
    """What others read of the living set, made anew: the table of models, the settings that hands act by."""
    core.models = {
        model: record
        for record in core.records.values()
        if not record.leaving
        for model in (record.successor or record.spec).models or (record.name,)
    }
    core.do(Equip(specs={name: record.spec for name, record in core.records.items()}, caps=dict(core.caps)))


def _differences(old: Workload, new: Workload) -> list[str]:
    return [name for name in type(new).model_fields if getattr(old, name) != getattr(new, name)]


def _change(record: Record, spec: Workload) -> None:
    record.leaving = False
    if _same_container(record.spec, spec):
        if any(getattr(record.spec, name) != getattr(spec, name) for name in WHERE_IT_ANSWERS):
            record.ready, record.probing = False, 0  # also a probe under way asks at the old place
        record.spec, record.successor = spec, None
    else:
        record.successor = spec
        record.held = False


def _same_container(old: Workload, new: Workload) -> bool:
    if old.platform != new.platform:
        return False
    if old.identity is not None and new.identity is not None:
        return old.identity == new.identity
    return old.container == new.container


def _become(core: Core, record: Record) -> None:
    """The same name for another container: nothing that was seen of the old one holds, and nothing that was learned,
    unless it was made anew as what it was."""
    assert record.successor is not None
    anew = _named(record.spec) == _named(record.successor)
    fresh = core.new_record(record.name, record.successor, epoch=record.epoch + 1, unknown=not anew)
    fresh.waiting, fresh.wishes = record.waiting, record.wishes
    fresh.park_after, fresh.park_answers, fresh.park_whole = record.park_after, record.park_answers, record.park_whole
    core.records[record.name] = fresh
    core.do(Say(kind="state", workload=record.name, data={"state": State.STOPPED.value, "note": fresh.note}))
    core.do(Look(workload=record.name))


def _named(spec: Workload) -> tuple[object, ...]:
    return spec.platform, spec.container, spec.models


def _say(core: Core, changes: Changes) -> None:
    for name in changes.added:
        core.do(Say(kind="config", workload=name, data={"change": "added"}))
    for name in changes.removed:
        core.do(Say(kind="config", workload=name, data={"change": "removed"}))
    for name, fields in changes.changed.items():
        core.do(Say(kind="config", workload=name, data={"change": "changed", "settings": list(fields)}))
    for name, fields in changes.at_next_start.items():
        core.do(Say(kind="config", workload=name, data={"change": "at its next start", "settings": list(fields)}))


def nobody(core: Core, message: Message) -> bool:
    """Whether its workload was forgotten, or goes: who asks for it is told so; news of it has no reader any more."""
    match message:
        case Arrived(ticket=ticket):
            return _refused(core, ticket.answer, ticket.workload)
        case (
            Park(workload=name, answer=answer)
            | Seat(workload=name, answer=answer)
            | Stop(workload=name, answer=answer)
            | Spill(workload=name, answer=answer)
            | Fetch(workload=name, answer=answer)
            | Prewarm(workload=name, answer=answer)
        ):
            return _refused(core, answer, name)
        case Swap(workload=name, out=out, answer=answer):
            return _refused(core, answer, name) or _refused(core, answer, out)
        case Drained(workload=name, answer=answer) if name not in core.records:
            core.tell(answer, None)
            return True
        case (
            EngineDown(workload=name)
            | Progress(workload=name)
            | PartDone(workload=name)
            | Observed(workload=name)
            | JobEnded(workload=name)
            | Probed(workload=name)
        ):
            return name not in core.records
        case _:
            return False


def _refused(core: Core, answer: Answer, name: str) -> bool:
    record = core.records.get(name)
    if record is not None and not record.leaving:
        return False
    core.tell(answer, None, unknown(core, name))
    return True
