"""What those who wait in vain are told. Pure."""

from __future__ import annotations

from hotseat.daemon import healing
from hotseat.daemon.book import Record
from hotseat.errors import HotseatError, NoRoom, NotFound, Quarantined, TooMany, Unavailable
from hotseat.platforms import remedies
from hotseat.words import State


def hopeless(record: Record, *, closing: bool) -> HotseatError | None:
    """Why waiting for it does not help; None while it may."""
    name, platform = record.name, record.spec.platform
    if closing:
        return Unavailable("hotseat is shutting down", hint="try again when it is back", rule="shutting down")
    if record.leaving:
        return NotFound(f"{name} was removed from the configuration", rule="removed")
    if record.job is not None or record.successor is not None or not record.looked or record.sought_until is not None:
        return None
    match record.state:
        case State.QUARANTINED if not healing.restarts(record):
            return Quarantined(
                f"{name} is quarantined: {record.note or 'a swap failed after its commit'}",
                hint=f"restart it to bring it back: {restart(record)}",
            )
        case State.PAUSED:
            return Unavailable(
                f"{name} was paused outside hotseat",
                hint=remedies.unpause(platform, record.spec.container or name),
                rule="what others paused stays paused",
            )
        case State.STOPPED if not record.can_start:
            why = f" ({record.note})" if record.note else ""
            if not record.exists:
                return Unavailable(
                    f"{name}: there is no {platform} container {record.spec.container}{why}",
                    hint="create it, correct `container` in hotseat.yaml, or give its `image` there",
                    rule="without `image` hotseat creates no container",
                )
            return Unavailable(
                f"{name} is stopped{why}",
                hint=f"start it, or set `start: true`: {restart(record)}",
                rule="start: false",
            )
        case _:
            return None


def queue_is_full(record: Record, retry_after: float) -> TooMany:
    return TooMany(
        f"{len(record.waiting)} requests wait for {record.name} already",
        hint="try again later, or raise max_queue",
        rule="max_queue",
        retry_after=retry_after,
    )


def too_late(record: Record, retry_after: float) -> Unavailable:
    why = record.trouble or record.note
    return Unavailable(
        f"{record.name} could not be seated within {record.spec.max_wait:g} s: it is {record.state}"
        + (f" ({why})" if why else ""),
        hint="try again, or raise max_wait",
        rule="max_wait",
        retry_after=retry_after,
    )


def no_room(record: Record, reason: str) -> NoRoom:
    trouble = f"; {record.trouble}" if record.trouble else ""
    return NoRoom(
        f"{record.name} cannot be seated: {reason}{trouble}",
        hint="`hotseat ps` shows who holds what; park, unpin or end one of those",
        rule="device memory",
    )


def restart(record: Record) -> str:
    if record.spec.platform == "process":
        return "end its processes; the next request starts it"
    return f"{record.spec.platform} restart {record.spec.container}"
