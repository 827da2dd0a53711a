"""OpenAI's shapes: errors, errors inside a stream, the list of models. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hotseat.errors import HotseatError, NotFound
from hotseat.gateway.dialects import naming
from hotseat.gateway.dialects.naming import Named
from hotseat.gateway.dialects.port import SSE, SSE_ENDS, Asked, Header, Page
from hotseat.gateway.dialects.saying import as_json, encode, one_of, seat_of, sentence
from hotseat.gateway.port import ModelView
from hotseat.gateway.site import Reply

DONE = b"data: [DONE]\n\n"
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error_body(error: HotseatError, *, status: int | None = None, request_id: str = "") -> bytes:
    """`status`: where it is not the error's own. The request's id stands in the header x-request-id alone, as OpenAI
    has it."""
    status = status or error.http_status
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    unknown = isinstance(error, NotFound) and "models" in error.details
    code = "model_not_found" if unknown else error.code
    param = "model" if unknown else error.details.get("param")
    return encode({"error": {"message": sentence(error), "type": kind, "param": param, "code": code}})


def error_event(error: HotseatError, *, request_id: str = "") -> bytes:
    """The same inside a stream of events that has begun, and its end."""
    return b"data: " + error_body(error) + b"\n\n" + DONE


def model_entry(view: ModelView, *, created: int) -> dict[str, Any]:
    return {"id": view.id, "object": "model", "created": created, "owned_by": "hotseat", "hotseat": seat_of(view)}


def model_list(views: Sequence[ModelView], *, created: int) -> bytes:
    return encode({"object": "list", "data": [model_entry(view, created=created) for view in views]})


def one_model(view: ModelView, *, created: int) -> bytes:
    return encode(model_entry(view, created=created))


_BARE = frozenset({"/rerank", "/v2/rerank", "/score", "/classify", "/pooling", "/tokenize", "/detokenize", "/v2/embed"})
"""What engines serve outside /v1 with a model in the body: vLLM and others, and Cohere's API."""
_METHODS = frozenset({"GET", "POST", "DELETE"})
_MODELS = "/v1/models"


class OpenAI:
    """Implements `hotseat.gateway.dialects.port.Dialect`: any path beneath /v1 that names a model passes, and a few
    outside it."""

    name = "openai"
    stream_type = SSE
    event_ends = SSE_ENDS
    id_header = "x-request-id"
    mend = b"\n\n"

    def owns(self, path: str, header: Header) -> bool:
        return path.startswith("/v1/") or path in _BARE

    def page(self, method: str, path: str) -> Page | None:
        if method != "GET":
            return None
        if path == _MODELS:
            return _all
        if path.startswith(_MODELS + "/"):
            return lambda asked: _one(asked, path.removeprefix(_MODELS + "/"))
        return None

    def serves(self, method: str, path: str) -> bool:
        if path in _BARE:
            return method == "POST"
        return method in _METHODS and not (path + "/").startswith(_MODELS + "/")

    def of_json(self, body: bytes) -> Named:
        return naming.from_json(body)

    def streams(self, named: Named) -> bool:
        return named.stream is True

    def resolve(self, model: str, known: Callable[[str], bool]) -> str:
        return model

    def error_body(self, error: HotseatError, *, status: int, request_id: str) -> bytes:
        return error_body(error, status=status)

    def error_event(self, error: HotseatError, *, path: str, request_id: str) -> bytes:
        return error_event(error)

    def keepalive(self, text: str) -> bytes:
        return f": hotseat: {text}\n\n".encode()


def _all(asked: Asked) -> Reply:
    return as_json(model_list(asked.models, created=asked.created))


def _one(asked: Asked, name: str) -> Reply:
    return as_json(one_model(one_of(name, asked.models), created=asked.created))
