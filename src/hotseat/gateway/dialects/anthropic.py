"""Anthropic's shapes: errors, errors inside a stream, the list of models. Pure.

https://docs.anthropic.com/en/api/errors
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any

from hotseat.errors import HotseatError
from hotseat.gateway.dialects import naming
from hotseat.gateway.dialects.naming import Named
from hotseat.gateway.dialects.port import SSE, SSE_ENDS, Asked, Header, Page
from hotseat.gateway.dialects.saying import as_json, encode, one_of, seat_of, sentence
from hotseat.gateway.port import ModelView
from hotseat.gateway.site import Reply

VERSION = "anthropic-version"
"""The header that every client of this API sends."""

_MESSAGES = "/v1/messages"
_MODELS = "/v1/models"
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


class Anthropic:
    """Implements `hotseat.gateway.dialects.port.Dialect`: /v1/messages and what is beneath it; and all of /v1 for who
    sends anthropic-version."""

    name = "anthropic"
    stream_type = SSE
    event_ends = SSE_ENDS
    id_header = "request-id"
    mend = b"\n\n"

    def owns(self, path: str, header: Header) -> bool:
        if (path + "/").startswith(_MESSAGES + "/"):
            return True
        return path.startswith("/v1/") and header(VERSION) is not None

    def page(self, method: str, path: str) -> Page | None:
        if method != "GET":
            return None
        if path == _MODELS:
            return _all
        if path.startswith(_MODELS + "/"):
            return lambda asked: _one(asked, path.removeprefix(_MODELS + "/"))
        return None

    def serves(self, method: str, path: str) -> bool:
        return method in ("GET", "POST", "DELETE") and not (path + "/").startswith(_MODELS + "/")

    def of_json(self, body: bytes) -> Named:
        return naming.from_json(body)

    def streams(self, named: Named) -> bool:
        return named.stream is True

    def resolve(self, model: str, known: Callable[[str], bool]) -> str:
        return model

    def error_body(self, error: HotseatError, *, status: int, request_id: str) -> bytes:
        return error_body(error, status=status, request_id=request_id)

    def error_event(self, error: HotseatError, *, path: str, request_id: str) -> bytes:
        return error_event(error, request_id=request_id)

    def keepalive(self, text: str) -> bytes:
        # A comment rather than this API's `ping`: a client may take nothing before message_start.
        return f": hotseat: {text}\n\n".encode()


def _all(asked: Asked) -> Reply:
    return as_json(model_list(asked.models, created=asked.created))


def _one(asked: Asked, name: str) -> Reply:
    return as_json(one_model(one_of(name, asked.models), created=asked.created))
