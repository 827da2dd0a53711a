"""Anthropic's shapes: errors, errors inside a stream, the list of models. Pure.

https://docs.anthropic.com/en/api/errors
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from hotseat.errors import HotseatError
from hotseat.gateway.dialects.saying import encode, seat_of, sentence
from hotseat.gateway.port import ModelView

VERSION = "anthropic-version"
"""The header that every client of this API sends."""
REQUEST_ID = "request-id"
"""Where its clients look for the request's id."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_value(error: HotseatError, *, status: int | None = None, request_id: str = "") -> dict[str, Any]:
    status = status or error.http_status
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    value: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": sentence(error)}}
    if request_id:
        value["request_id"] = request_id
    return value


def error_body(error: HotseatError, *, status: int | None = None, request_id: str = "") -> bytes:
    return encode(error_value(error, status=status, request_id=request_id))


def error_event(error: HotseatError, *, request_id: str = "") -> bytes:
    """The same inside a stream of events that has begun. Nothing ends such a stream but its end."""
    return b"event: error\ndata: " + error_body(error, request_id=request_id) + b"\n\n"


def model_entry(view: ModelView, *, created: int) -> dict[str, Any]:
    when = datetime.datetime.fromtimestamp(created, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "model", "id": view.id, "display_name": view.id, "created_at": when, "hotseat": seat_of(view)}


def model_list(views: Sequence[ModelView], *, created: int) -> bytes:
    """All on one page, whatever `limit` says: there are few."""
    return encode(
        {
            "data": [model_entry(view, created=created) for view in views],
            "has_more": False,
            "first_id": views[0].id if views else None,
            "last_id": views[-1].id if views else None,
        }
    )


def one_model(view: ModelView, *, created: int) -> bytes:
    return encode(model_entry(view, created=created))
