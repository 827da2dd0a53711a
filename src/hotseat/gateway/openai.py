"""The OpenAI dialect: what is read of a request, and the shape of errors and lists. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from hotseat.errors import HotseatError, NotFound, UsageError
from hotseat.gateway.port import ModelView


class _Head(msgspec.Struct):
    model: Any = None
    stream: Any = None


_decode = msgspec.json.Decoder(_Head).decode
encode = msgspec.json.encode

DONE = b"data: [DONE]\n\n"


def read_head(body: bytes) -> tuple[str, bool]:
    """(model, whether a stream is asked for) of a JSON body. `UsageError` says what is wrong with it."""
    try:
        head = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the body is not a JSON object: {error}", param=None) from error
    if not isinstance(head.model, str) or not head.model:
        raise UsageError(
            'the body names no model; add "model": "NAME"', hint="GET /v1/models lists them", param="model"
        )
    return head.model, head.stream is True


def error_body(error: HotseatError) -> bytes:
    message = f"{error.message}. {error.hint}" if error.hint else error.message
    kind = "invalid_request_error" if error.http_status < 500 else "server_error"
    code = "model_not_found" if isinstance(error, NotFound) else error.code
    param = "model" if isinstance(error, NotFound) else error.details.get("param")
    return encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def error_event(error: HotseatError) -> bytes:
    """The same inside a stream that has begun."""
    return b"data: " + error_body(error) + b"\n\n" + DONE


def retry_after(error: HotseatError) -> int | None:
    seconds = error.details.get("retry_after")
    return max(1, math.ceil(seconds)) if isinstance(seconds, int | float) else None


def model_entry(view: ModelView, *, created: int) -> dict[str, Any]:
    seat: dict[str, Any] = {"workload": view.workload, "state": view.state.value, "waiting": view.waiting}
    if view.note:
        seat["note"] = view.note
    return {"id": view.id, "object": "model", "created": created, "owned_by": "hotseat", "hotseat": seat}


def model_list(views: Sequence[ModelView], *, created: int) -> bytes:
    return encode({"object": "list", "data": [model_entry(view, created=created) for view in views]})
