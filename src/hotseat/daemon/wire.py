"""The control API's JSON: records and errors, there and back. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from hotseat import errors
from hotseat.errors import Failed, HotseatError
from hotseat.events import Event
from hotseat.words import DeviceUse, SwapReport


def encode(value: object) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


def decode(body: bytes) -> Any:
    return msgspec.json.decode(body)


def report_to(report: SwapReport) -> dict[str, Any]:
    return {**msgspec.to_builtins(report, str_keys=True), "seconds": report.seconds, "own_seconds": report.own_seconds}


def report_from(data: dict[str, Any]) -> SwapReport:
    return msgspec.convert(data, SwapReport, strict=False)


def use_to(use: DeviceUse) -> dict[str, Any]:
    out: dict[str, Any] = msgspec.to_builtins(use, str_keys=True)
    return out


def use_from(data: dict[str, Any]) -> DeviceUse:
    return msgspec.convert(data, DeviceUse, strict=False)


def event_to(event: Event) -> bytes:
    """One server-sent event."""
    data = {"at": event.at, "kind": event.kind, "workload": event.workload, **event.data}
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.kind.encode(), encode(data))


def error_from(data: dict[str, Any]) -> HotseatError:
    """The same type that was raised at the other end."""
    code = str(data.get("code", ""))
    kind = next((cls for cls in _classes(HotseatError) if cls.code == code), Failed)
    error = kind(str(data.get("message", "it failed")), hint=str(data.get("hint", "")))
    error.rule = str(data.get("rule", ""))
    details = data.get("details")
    error.details = dict(details) if isinstance(details, dict) else {}
    return error


def _classes(root: type[HotseatError]) -> Iterator[type[HotseatError]]:
    """Parents first, and only those of `hotseat.errors`: a subclass elsewhere shares its parent's code."""
    queue: Sequence[type[HotseatError]] = [root]
    while queue:
        yield from (cls for cls in queue if cls.__module__ == errors.__name__)
        queue = [child for cls in queue for child in cls.__subclasses__()]
