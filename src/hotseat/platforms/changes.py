"""What happened between two looks at a platform's containers. Pure, no I/O.

Platforms without an event stream compare such looks several times a second; those with one compare the looks before
and after a gap in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hotseat.platforms.port import Container, EventKind, PlatformEvent, Status

Look = Mapping[str, Container]
"""Container key -> what was seen."""

_ALIVE = frozenset({Status.RUNNING, Status.PAUSED})


def look(containers: Iterable[Container]) -> dict[str, Container]:
    return {container.key: container for container in containers}


def between(before: Look, after: Look, *, at: float) -> list[PlatformEvent]:
    """The fewest events that lead from `before` to `after`, in an order in which they can have happened."""
    events: list[PlatformEvent] = []
    for key, old in before.items():
        if key not in after:
            if old.status in _ALIVE:
                events.append(_event(EventKind.EXITED, old, at))
            events.append(_event(EventKind.REMOVED, old, at))
    for key, new in after.items():
        events.extend(_event(kind, new, at) for kind in _kinds(before.get(key), new))
    return events


# An incarnation is told from the next by "started later", not "started at another time": the start time that an event
# brings is a little later than the one that the daemon keeps.


def _kinds(old: Container | None, new: Container) -> list[EventKind]:
    kinds: list[EventKind] = []
    if old is None:
        kinds.append(EventKind.CREATED)
    was = Status.CREATED if old is None else old.status
    again = old is not None and old.started_at < new.started_at
    alive = new.status in _ALIVE
    if old is not None and old.name != new.name:
        kinds.append(EventKind.RENAMED)
    if was in _ALIVE and (again or not alive):
        kinds.append(EventKind.EXITED)
        was = Status.EXITED
    elif was not in _ALIVE and not alive and (again or was is Status.CREATED) and new.status is not Status.CREATED:
        kinds += [EventKind.STARTED, EventKind.EXITED]
    if not alive:
        return kinds
    if was not in _ALIVE:
        kinds.append(EventKind.STARTED)
        was = Status.RUNNING
    if was is not new.status:
        kinds.append(EventKind.PAUSED if new.status is Status.PAUSED else EventKind.UNPAUSED)
    return kinds


def tells_nothing_new(seen: Container | None, event: PlatformEvent) -> bool:
    """A look already shows what the event tells: it happened before the look was taken."""
    match event.kind:
        case EventKind.CREATED:
            return seen is not None
        case EventKind.REMOVED:
            return seen is None
        case EventKind.RENAMED:
            return seen is not None and seen.name == event.name
        case EventKind.STARTED | EventKind.UNPAUSED:
            return seen is not None and seen.status is Status.RUNNING
        case EventKind.PAUSED:
            return seen is not None and seen.status is Status.PAUSED
        case EventKind.EXITED:
            return seen is not None and seen.status not in _ALIVE


def _event(kind: EventKind, container: Container, at: float) -> PlatformEvent:
    return PlatformEvent(kind=kind, key=container.key, name=container.name, at=at)
