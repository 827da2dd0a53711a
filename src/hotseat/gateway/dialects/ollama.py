"""Ollama's shapes: errors, the lists of models there are and of those seated, names with ":latest". Pure.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import hotseat
from hotseat.errors import HotseatError
from hotseat.gateway.dialects import naming
from hotseat.gateway.dialects.naming import Named
from hotseat.gateway.dialects.port import Asked, Header, Page
from hotseat.gateway.dialects.saying import as_json, encode, one_of, seat_of, sentence
from hotseat.gateway.port import ModelView
from hotseat.gateway.site import Reply
from hotseat.words import State

NDJSON = "application/x-ndjson"
LATEST = ":latest"
SPEAKS = "0.12.6"
"""The version of Ollama whose API this is: clients ask for it to know what they may use."""
NEVER = "2999-12-31T23:59:59Z"
"""`expires_at` of what has no time-out, as Ollama has it for keep_alive -1: far away."""


def resolve(model: str, known: Callable[[str], bool]) -> str:
    """The name under which it is known: with ":latest" or without is the same. Its own name if it is not known."""
    if known(model):
        return model
    other = model.removesuffix(LATEST) if model.endswith(LATEST) else model + LATEST
    return other if known(other) else model


def error_body(error: HotseatError) -> bytes:
    return encode({"error": sentence(error)})


def error_line(error: HotseatError) -> bytes:
    """The same as a line of a stream that has begun: its clients raise it."""
    return error_body(error) + b"\n"


def tags(views: Sequence[ModelView], *, created: int) -> bytes:
    return encode({"models": [_entry(view) | {"modified_at": _time(created)} for view in views]})


def ps(views: Sequence[ModelView]) -> bytes:
    """Those that hold device memory now, with how much."""
    return encode(
        {
            "models": [
                _entry(view) | {"expires_at": NEVER, "size_vram": view.gpu_bytes}
                for view in views
                if view.state is State.SEATED
            ]
        }
    )


def show(view: ModelView, *, created: int) -> bytes:
    """What hotseat knows of a model whose engine is not asked, because the answer is not worth a swap. Its
    `capabilities` it does not know."""
    return encode(
        {
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _DETAILS,
            "model_info": {},
            "modified_at": _time(created),
            "hotseat": seat_of(view),
        }
    )


def version() -> bytes:
    return encode({"version": SPEAKS, "hotseat": hotseat.__version__})


_DETAILS = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}
"""What only the engine knows."""


def _entry(view: ModelView) -> dict[str, Any]:
    return {
        "name": view.id,
        "model": view.id,
        "size": view.gpu_bytes or view.needs_bytes,
        # A client compares it to see whether a model is still the same; here its name says so.
        "digest": hashlib.sha256(view.id.encode()).hexdigest(),
        "details": _DETAILS,
        "hotseat": seat_of(view),
    }


def _time(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_TEXTS = frozenset({"/api/chat", "/api/generate"})
_VECTORS = frozenset({"/api/embed", "/api/embeddings"})


class Ollama:
    """Implements `hotseat.gateway.dialects.port.Dialect` for all of /api; see `OllamaTexts`.

    What would change models (pull, create, delete, ...) is not served: that is done to the engine itself."""

    name = "ollama"
    stream_type = NDJSON
    event_ends = (b"\n",)
    id_header = "x-request-id"
    mend = b"\n"

    def owns(self, path: str, header: Header) -> bool:
        return path.startswith("/api/") or path == "/"

    def page(self, method: str, path: str) -> Page | None:
        return _PAGES.get((method, path))

    def serves(self, method: str, path: str) -> bool:
        return method == "POST" and (path in _TEXTS or path in _VECTORS)

    def of_json(self, body: bytes) -> Named:
        return naming.from_json(body, name_too=True)

    def streams(self, named: Named) -> bool:
        return False

    def resolve(self, model: str, known: Callable[[str], bool]) -> str:
        return resolve(model, known)

    def error_body(self, error: HotseatError, *, status: int, request_id: str) -> bytes:
        return error_body(error)

    def error_event(self, error: HotseatError, *, path: str, request_id: str) -> bytes:
        return error_line(error)

    def keepalive(self, text: str) -> bytes:
        # Space before the JSON of the next line. An empty line is no JSON: Ollama's own client fails on it.
        return b" "


class OllamaTexts(Ollama):
    """Of /api/chat and /api/generate, whose answers are streams unless the request says no."""

    def owns(self, path: str, header: Header) -> bool:
        return path in _TEXTS

    def streams(self, named: Named) -> bool:
        return named.stream is not False


def _show(asked: Asked) -> Reply:
    name = naming.from_json(asked.body, name_too=True).model
    known = {view.id for view in asked.models}
    return as_json(show(one_of(resolve(name, known.__contains__), asked.models), created=asked.created))


_PAGES: dict[tuple[str, str], Page] = {
    # Its command line asks this first, to see whether anybody is there.
    ("GET", "/"): lambda asked: Reply(headers=[("Content-Type", "text/plain")], body=b"hotseat is running\n"),
    ("GET", "/api/tags"): lambda asked: as_json(tags(asked.models, created=asked.created)),
    ("GET", "/api/ps"): lambda asked: as_json(ps(asked.models)),
    ("GET", "/api/version"): lambda asked: as_json(version()),
    ("POST", "/api/show"): _show,
}
