"""What those who wait in vain are told. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hotseat.daemon import healing
from hotseat.daemon.book import Record
from hotseat.errors import HotseatError, NoRoom, NotFound, Quarantined, TooMany, Unavailable
from hotseat.platforms import remedies
from hotseat.words import State

if TYPE_CHECKING:
    from hotseat.daemon.waits import Holder, Wait

MOMENT = 0.05
"""Seconds that are told as none."""


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


def queue_is_full(record: Record, wait: Wait) -> TooMany:
    held = held_by(wait)
    return TooMany(
        f"{len(record.waiting)} requests wait for {record.name} already" + (f": {held}" if held else ""),
        hint="try again later, or raise max_queue",
        rule="max_queue",
        retry_after=wait.retry_after,
    )


def too_late(record: Record, wait: Wait) -> Unavailable:
    why, held = record.trouble or record.note, held_by(wait)
    return Unavailable(
        f"{record.name} could not be seated within {record.spec.max_wait:g} s: it is {record.state}"
        + (f" ({why})" if why else "")
        + (f"; {held}" if held else ""),
        hint="try again, or raise max_wait",
        rule="max_wait",
        retry_after=wait.retry_after,
    )


def held_by(wait: Wait) -> str:
    """Who holds what it waits for, and until when at least; nothing if nobody does."""
    return ", ".join(_holds(holder) for holder in wait.holders)


def _holds(holder: Holder) -> str:
    where = "device " + " and ".join(map(str, holder.devices))
    if holder.state is State.SWAPPING_OUT:
        return f"{holder.name} is on its way out of {where}"
    if not math.isfinite(holder.stays):
        return f"{holder.name} ({holder.state}) holds {where} and may not be asked to leave"
    if holder.state is State.SWAPPING_IN:
        return f"{holder.name} is on its way in to {where} and stays for at least {holder.stays:.1f} s"
    stays = f"stays for at least {holder.stays:.1f} s" if holder.stays >= MOMENT else "may leave now"
    return f"{holder.name} holds {where} and {stays}"


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
