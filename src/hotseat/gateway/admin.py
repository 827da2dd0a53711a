"""The admin API over the gateway: what the control socket offers, for those who have an admin's key, or sit here.

    GET  /hotseat/v1/workloads                  as `hotseat ps --json` prints them
    GET  /hotseat/v1/workloads/NAME
    POST /hotseat/v1/workloads/NAME/park        {"reports": [...]}, one a swap; body {"whole": true}: no context stays
    POST /hotseat/v1/workloads/NAME/seat
    POST /hotseat/v1/workloads/NAME/spill       what is parked of it goes to the store's disk
    POST /hotseat/v1/workloads/NAME/fetch       ... and back into host memory
    POST /hotseat/v1/workloads/NAME/prewarm     {"seconds": 600}: it will be wanted for so long; 0 takes that back

A command goes on when its client leaves. Events are at /events, what people see at /ui.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from hotseat.errors import Forbidden, NotFound, Unauthorized, UsageError
from hotseat.gateway.site import Handler, Inquiry, Reply

PREFIX = "/hotseat/v1/"
LONGEST_PREWARM = 24 * 3600.0
"""Seconds."""
_COMMANDS = frozenset({"park", "seat", "spill", "fetch", "prewarm"})


class Desk(Protocol):
    """What the daemon does for an admin. All raise `NotFound` for a workload that there is not."""

    def rows(self) -> Sequence[dict[str, Any]]:
        """The workloads, as `hotseat ps --json` prints them."""
        ...

    async def park(self, name: str, *, whole: bool) -> list[dict[str, Any]]:
        """The reports of the swaps made. `whole`: no context stays on a device. Goes on if its caller is cancelled."""
        ...

    async def seat(self, name: str) -> list[dict[str, Any]]: ...

    async def spill(self, name: str) -> dict[str, Any]:
        """What is parked of it goes to the store's disk. What was moved; goes on if its caller is cancelled."""
        ...

    async def fetch(self, name: str) -> dict[str, Any]:
        """... and back into host memory."""
        ...

    async def prewarm(self, name: str, *, seconds: float) -> dict[str, Any]:
        """It will be wanted for so long: seat it while that costs nobody who waits. {"workload", "state", "seconds"}"""
        ...


class _Park(msgspec.Struct, forbid_unknown_fields=True):
    whole: bool = False


class _Prewarm(msgspec.Struct, forbid_unknown_fields=True):
    seconds: float = 600.0


class AdminSite:
    """A `gateway.site.Site`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def find(self, method: str, path: str) -> Handler | None:
        if not path.startswith(PREFIX):
            return None
        kind, _, rest = path.removeprefix(PREFIX).partition("/")
        name, _, command = rest.rpartition("/")
        if kind == "workloads" and method in ("GET", "HEAD"):
            return self._one if rest else self._all
        if kind == "workloads" and method == "POST" and name and command in _COMMANDS:
            return self._command
        return self._nothing

    async def _all(self, inquiry: Inquiry) -> Reply:
        _admin_only(inquiry)
        return _json(self._desk.rows())

    async def _one(self, inquiry: Inquiry) -> Reply:
        _admin_only(inquiry)
        name = inquiry.path.removeprefix(PREFIX + "workloads/")
        rows = self._desk.rows()
        for row in rows:
            if row["name"] == name:
                return _json(row)
        raise NotFound(f"no workload {name!r}", hint="there are: " + ", ".join(row["name"] for row in rows))

    async def _command(self, inquiry: Inquiry) -> Reply:
        _admin_only(inquiry)
        name, _, command = inquiry.path.removeprefix(PREFIX + "workloads/").rpartition("/")
        match command:
            case "park":
                return _json({"reports": await self._desk.park(name, whole=park_whole(inquiry.body))})
            case "seat":
                return _json({"reports": await self._desk.seat(name)})
            case "spill":
                return _json(await self._desk.spill(name))
            case "fetch":
                return _json(await self._desk.fetch(name))
        return _json(await self._desk.prewarm(name, seconds=prewarm_seconds(inquiry.body)), status=202)

    async def _nothing(self, inquiry: Inquiry) -> Reply:
        _admin_only(inquiry)
        raise NotFound(f"no page {inquiry.method} {inquiry.path[:200]}", hint="docs/api.md has those there are")


def park_whole(body: bytes) -> bool:
    """Of the body of a park; not if it is empty. `UsageError`."""
    try:
        return msgspec.json.decode(body or b"{}", type=_Park).whole
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError('write {"whole": true}, or nothing', hint=f"got: {error}") from error


def prewarm_seconds(body: bytes) -> float:
    """Of the body of a prewarm; 600 if it is empty. `UsageError`."""
    try:
        seconds = msgspec.json.decode(body or b"{}", type=_Prewarm).seconds
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError('write {"seconds": 600}, or nothing', hint=f"got: {error}") from error
    if not 0 <= seconds <= LONGEST_PREWARM:
        raise UsageError(f"seconds is from 0 to {LONGEST_PREWARM:g}", param="seconds")
    return seconds


def _admin_only(inquiry: Inquiry) -> None:
    if inquiry.admin:
        return
    if any(name in inquiry.headers for name in ("authorization", "x-api-key", "api-key")):
        raise Forbidden("this key is not an admin's", rule="admin", hint="a key with `admin: true` may do this")
    raise Unauthorized(
        "only for admins",
        rule="admin",
        hint="send an admin's key; or, where there are no keys, come from this host; or use the control socket",
    )


def _json(value: object, *, status: int = 200) -> Reply:
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    return Reply(status=status, headers=headers, body=msgspec.json.encode(value))
