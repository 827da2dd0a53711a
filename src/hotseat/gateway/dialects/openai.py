"""OpenAI's shapes: errors, errors inside a stream, the list of models. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hotseat.errors import HotseatError, NotFound
from hotseat.gateway.dialects.naming import Named
from hotseat.gateway.dialects.port import Header
from hotseat.gateway.dialects.saying import encode, seat_of, sentence
from hotseat.gateway.dialects.v1 import V1, is_about_models
from hotseat.gateway.port import ModelView

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


_BARE = frozenset(
    {
        *("/rerank", "/v2/rerank", "/score", "/classify", "/pooling", "/tokenize", "/detokenize", "/v2/embed"),
        *("/completion", "/infill", "/apply-template", "/sdapi/v1/txt2img", "/sdapi/v1/img2img"),
    }
)
"""What engines serve outside /v1 with a model in the body: vLLM and others, Cohere's API, llama.cpp, and servers of
pictures."""
_SPEECH = "/v1/audio/speech"
_METHODS = frozenset({"GET", "POST", "DELETE"})


class OpenAI(V1):
    """Implements `hotseat.gateway.dialects.port.Dialect`: any path beneath /v1 that names a model passes, and a few
    outside it."""

    name = "openai"
    id_header = "x-request-id"

    def owns(self, path: str, header: Header) -> bool:
        return path.startswith("/v1/") or path in _BARE

    def model_list(self, views: Sequence[ModelView], *, created: int) -> bytes:
        return model_list(views, created=created)

    def one_model(self, view: ModelView, *, created: int) -> bytes:
        return one_model(view, created=created)

    def serves(self, method: str, path: str) -> bool:
        if path in _BARE:
            return method == "POST"
        return method in _METHODS and not is_about_models(path)

    def error_body(self, error: HotseatError, *, status: int, request_id: str) -> bytes:
        return error_body(error, status=status)

    def error_event(self, error: HotseatError, *, path: str, request_id: str) -> bytes:
        return error_event(error)


class OpenAISpeech(OpenAI):
    """Of /v1/audio/speech, whose answer is sound. Some engines take `stream` for sound in pieces, and a stream of
    events is only what `stream_format` asks for: nothing is put before either."""

    def owns(self, path: str, header: Header) -> bool:
        return path == _SPEECH

    def streams(self, named: Named) -> bool:
        return False
