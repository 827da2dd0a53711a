"""What all dialects say of an error and of a model, before each puts it in its own shape. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from hotseat.errors import HotseatError
from hotseat.gateway.dialects import naming
from hotseat.gateway.port import ModelView
from hotseat.gateway.site import Reply

encode = msgspec.json.encode


def sentence(error: HotseatError) -> str:
    """What happened and what to do about it."""
    return f"{error.message}. {error.hint}" if error.hint else error.message


def retry_after(error: HotseatError) -> int | None:
    """Whole seconds for the header Retry-After."""
    seconds = error.details.get("retry_after")
    return max(1, math.ceil(seconds)) if isinstance(seconds, int | float) and math.isfinite(seconds) else None


def seat_of(view: ModelView) -> dict[str, Any]:
    """The member `hotseat` of a model's entry, the same in every dialect."""
    seat: dict[str, Any] = {
        "workload": view.workload,
        "state": view.state.value,
        "waiting": view.waiting,
        "running": view.running,
        "expected_wait_s": None if view.expected_wait is None else round(view.expected_wait, 3),
    }
    if view.note:
        seat["note"] = view.note
    return seat


def one_of(name: str, views: Sequence[ModelView]) -> ModelView:
    """The model of that name. `NotFound`, with near names."""
    for view in views:
        if view.id == name:
            return view
    raise naming.unknown(name, [view.id for view in views])


def as_json(body: bytes) -> Reply:
    return Reply(headers=[("Content-Type", "application/json")], body=body)
