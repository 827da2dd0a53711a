"""From two looks to events: whatever happened between them, hearing the events leads to the second look."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hotseat.platforms import changes
from hotseat.platforms.port import Container, EventKind, PlatformEvent, Status

CREATED, STARTED, EXITED = EventKind.CREATED, EventKind.STARTED, EventKind.EXITED
PAUSED, UNPAUSED, REMOVED = EventKind.PAUSED, EventKind.UNPAUSED, EventKind.REMOVED

AFTER = {
    CREATED: Status.CREATED,
    STARTED: Status.RUNNING,
    UNPAUSED: Status.RUNNING,
    PAUSED: Status.PAUSED,
    EXITED: Status.EXITED,
}
BEFORE = {
    CREATED: {None},
    STARTED: {Status.CREATED, Status.EXITED},
    PAUSED: {Status.RUNNING},
    UNPAUSED: {Status.PAUSED},
    EXITED: {Status.RUNNING, Status.PAUSED},
    REMOVED: {Status.CREATED, Status.EXITED},
}
"""What a container must be for an event to be possible at all."""


def seen(status: Status, *, started_at: float = 1.0, key: str = "x") -> Container:
    never = status is Status.CREATED
    return Container(
        platform="docker",
        id=key,
        name=key,
        image="",
        status=status,
        pid=None,
        started_at=0.0 if never else started_at,
    )


statuses = st.sampled_from([Status.CREATED, Status.RUNNING, Status.PAUSED, Status.EXITED])
containers = st.builds(lambda status, start: seen(status, started_at=float(start)), statuses, st.integers(1, 2))


def kinds(before: Container | None, after: Container | None) -> list[EventKind]:
    looks = [changes.look([one] if one else []) for one in (before, after)]
    return [event.kind for event in changes.between(*looks, at=9.0)]


@given(before=st.none() | containers, after=st.none() | containers)
def test_the_events_are_possible_and_lead_there(before: Container | None, after: Container | None) -> None:
    if before and after:
        # Time does not go back, and nothing becomes new again.
        assume(after.started_at >= before.started_at)
        assume(before.status is Status.CREATED or after.status is not Status.CREATED)
    status = before.status if before else None
    for kind in kinds(before, after):
        assert status in BEFORE[kind], (before, after, kind)
        status = AFTER.get(kind)
    assert status == (after.status if after else None)


@given(one=st.none() | containers)
def test_nothing_changed_nothing_told(one: Container | None) -> None:
    assert kinds(one, one) == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (seen(Status.RUNNING), seen(Status.RUNNING, started_at=2.0), [EXITED, STARTED]),
        (seen(Status.PAUSED), seen(Status.PAUSED, started_at=2.0), [EXITED, STARTED, PAUSED]),
        (seen(Status.PAUSED), None, [EXITED, REMOVED]),
        (None, seen(Status.PAUSED), [CREATED, STARTED, PAUSED]),
        (None, seen(Status.EXITED), [CREATED, STARTED, EXITED]),
        (seen(Status.EXITED), seen(Status.EXITED, started_at=2.0), [STARTED, EXITED]),
    ],
)
def test_what_was_missed_is_told(before: Container | None, after: Container | None, told: list[EventKind]) -> None:
    assert kinds(before, after) == told


def test_an_event_gives_a_later_start_than_the_daemon_keeps() -> None:
    """The look after it shows the same incarnation, started a moment before the event was written."""
    assert kinds(seen(Status.RUNNING, started_at=1.001), seen(Status.RUNNING, started_at=1.0)) == []


@pytest.mark.parametrize(
    ("kind", "status", "stale"),
    [
        (STARTED, Status.RUNNING, True),
        (STARTED, Status.EXITED, False),
        (PAUSED, Status.PAUSED, True),
        (PAUSED, Status.RUNNING, False),
        (UNPAUSED, Status.RUNNING, True),
        (UNPAUSED, Status.PAUSED, False),
        (EXITED, Status.EXITED, True),
        (EXITED, Status.RUNNING, False),
        (CREATED, Status.CREATED, True),
        (REMOVED, Status.EXITED, False),
    ],
)
def test_an_event_that_the_look_shows_already(kind: EventKind, status: Status, stale: bool) -> None:
    event = PlatformEvent(kind=kind, key="docker:x", name="x", at=1.0)
    assert changes.tells_nothing_new(seen(status), event) is stale


def test_nothing_is_left_of_what_was_removed() -> None:
    event = PlatformEvent(kind=REMOVED, key="docker:x", name="x", at=1.0)
    assert changes.tells_nothing_new(None, event)
    assert not changes.tells_nothing_new(None, replace(event, kind=CREATED))


def test_a_new_name_is_told_with_it() -> None:
    old = seen(Status.PAUSED)
    new = replace(old, name="new")
    (event,) = changes.between(changes.look([old]), changes.look([new]), at=9.0)
    assert (event.kind, event.name) == (EventKind.RENAMED, "new")
    assert changes.tells_nothing_new(new, event)
    assert not changes.tells_nothing_new(old, event)
