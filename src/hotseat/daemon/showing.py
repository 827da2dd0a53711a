"""One picture of everything, for people: what `hotseat top` and the page at /ui draw. Reads only."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import hotseat
from hotseat.daemon import rooms, verdicts
from hotseat.daemon.actor import Actor
from hotseat.daemon.book import JobKind, Record, row
from hotseat.daemon.measuring import Measuring
from hotseat.daemon.waits import Wait
from hotseat.gpu.entries import device_entry
from hotseat.words import DeviceUse, State

_PUSHED = {
    State.SEATED: "is seated already",
    State.PARKED: "is parked already",
    State.STORED: "is stored on disk already",
    State.SWAPPING_OUT: "is on its way out",
    State.SWAPPING_IN: "is on its way in",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    actor: Actor
    measuring: Measuring

    def snapshot(self, *, now: float) -> dict[str, Any]:
        """`now`: seconds on the event loop's clock. Times in it are seconds since the epoch, durations seconds."""
        epoch = time.time()
        records, outlook = self.actor.records, self.actor.outlook()
        return {
            "at": epoch,
            "version": hotseat.__version__,
            "closing": self.actor.closing,
            "emulated": any(use.device.emulated for use in self.actor.uses),
            "devices": devices(self.actor.uses, records, self.actor.caps, ahead=self.actor.ahead),
            "workloads": [
                self._workload(record, outlook.look(record), now=now, epoch=epoch) for record in records.values()
            ],
        }

    def _workload(self, record: Record, wait: Wait, *, now: float, epoch: float) -> dict[str, Any]:
        requests, tokens = self.measuring.history.rates(record.name)
        job = record.job
        why, hint = why_and_hint(record, wait, closing=self.actor.closing)
        return {
            **row(record),
            "doing": None
            if job is None
            else {
                "kind": job.kind.value,
                "step": job.step,
                "since": epoch - (now - job.begun),
                "makes_room_for": job.makes_room_for,
            },
            "seated_since": epoch - (now - record.seated_since) if record.state is State.SEATED else None,
            "oldest_wait": max((now - ticket.arrived for ticket in record.waiting), default=0.0),
            "requests_per_second": requests,
            "tokens_per_second": tokens,
            "last_swap": self.measuring.last_swaps.get(record.name),
            "expected_wait": wait.seconds,
            "why": why,
            "hint": hint,
            "warm_seconds": max(0.0, record.warm_until - now),
            "cannot": {
                "park": cannot_park(record),
                "seat": cannot_seat(record, closing=self.actor.closing),
                "prewarm": cannot_prewarm(record, closing=self.actor.closing),
            },
        }


def devices(
    uses: Sequence[DeviceUse], records: Mapping[str, Record], caps: Mapping[int, int], *, ahead: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Each device: who holds how much of it, by the device's own account of the processes. `ahead`: as of
    `rooms.rooms`."""
    owner = {pid: record.name for record in records.values() for pid in record.pids}
    return [
        device_entry(
            use,
            owner=owner,
            cap=caps.get(use.device.index),
            foreign=rooms.foreign(use, records.values(), ahead=ahead.get(use.device.uuid, 0)),
        )
        for use in uses
    ]


def why_and_hint(record: Record, wait: Wait, *, closing: bool) -> tuple[str, str]:
    """Why it is where it is, and what to do about it, if anything."""
    if (error := verdicts.hopeless(record, closing=closing)) is not None:
        return error.message, error.hint
    if record.job is not None:
        target = record.job.makes_room_for
        return (f"makes room for {target}" if target else "", "")
    if record.waiting and record.trouble:
        return record.trouble, ""
    match record.state:
        case State.PARKED | State.STORED if record.held:
            return "parked by hand: a new request or `seat` brings it back", ""
        case State.PARKED | State.STORED if record.waiting or record.in_flight:
            held = verdicts.held_by(wait)
            return "waits for its turn" + (f": {held}" if held else ""), ""
        case State.PARKED:
            return "the next request for it brings it back", ""
        case State.STORED:
            return "the next request for it brings it back from disk", ""
        case State.STOPPED:
            return "the next request for it starts it", ""
        case _:
            return "", ""


def cannot_park(record: Record) -> str:
    """The reason, or nothing."""
    if record.job is not None:
        return f"{record.name}: a {record.job.kind.value} is under way"
    if record.state is State.SEATED:
        return ""
    return f"{record.name} {_PUSHED.get(record.state, f'is {record.state}: it has no seat to give up')}"


def cannot_seat(record: Record, *, closing: bool) -> str:
    """The reason, or nothing."""
    if record.job is not None and record.job.kind not in (JobKind.SWAP_OUT, JobKind.STORE, JobKind.FETCH):
        return f"{record.name}: a {record.job.kind.value} is under way"
    if record.state is State.SEATED and record.job is None:
        return f"{record.name} is seated already"
    return cannot_prewarm(record, closing=closing)


def cannot_prewarm(record: Record, *, closing: bool) -> str:
    """The reason, or nothing. A hint waits for a swap that is under way, and keeps a seat that is taken."""
    error = verdicts.hopeless(record, closing=closing)
    return error.message if error is not None else ""
