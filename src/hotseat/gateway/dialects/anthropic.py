"""Anthropic's shapes: errors, errors inside a stream, the list of models. Pure.

https://docs.anthropic.com/en/api/errors
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from hotseat.errors import HotseatError
from hotseat.gateway.dialects.port import Header
from hotseat.gateway.dialects.saying import encode, seat_of, sentence
from hotseat.gateway.dialects.v1 import V1, is_about_models
from hotseat.gateway.port import ModelView

VERSION = "anthropic-version"
"""The header that every client of this API sends."""

_MESSAGES = "/v1/messages"
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
    return {
        "type": "model",
        "id": view.id,
        "display_name": view.id,
        "created_at": when,
        "lifecycle": "active",
        "hotseat": seat_of(view),
    }


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


class Anthropic(V1):
    """Implements `hotseat.gateway.dialects.port.Dialect`: /v1/messages and what is beneath it; and all of /v1 for who
    sends anthropic-version."""

    name = "anthropic"
    id_header = "request-id"

    def owns(self, path: str, header: Header) -> bool:
        if (path + "/").startswith(_MESSAGES + "/"):
            return True
        return path.startswith("/v1/") and header(VERSION) is not None

    def model_list(self, views: Sequence[ModelView], *, created: int) -> bytes:
        return model_list(views, created=created)

    def one_model(self, view: ModelView, *, created: int) -> bytes:
        return one_model(view, created=created)

    def serves(self, method: str, path: str) -> bool:
        return method in ("GET", "POST", "DELETE") and not is_about_models(path)

    def error_body(self, error: HotseatError, *, status: int, request_id: str) -> bytes:
        return error_body(error, status=status, request_id=request_id)

    def error_event(self, error: HotseatError, *, path: str, request_id: str) -> bytes:
        return error_event(error, request_id=request_id)
