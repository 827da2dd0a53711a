"""What the APIs of OpenAI and Anthropic have in common: a list of models at /v1/models, JSON that says whether it
streams, server-sent events. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from hotseat.gateway.dialects import naming
from hotseat.gateway.dialects.naming import Named
from hotseat.gateway.dialects.port import SSE, SSE_ENDS, Asked, Page
from hotseat.gateway.dialects.saying import as_json, one_of
from hotseat.gateway.port import ModelView
from hotseat.gateway.site import Reply

MODELS = "/v1/models"


class V1(ABC):
    """A part of a `hotseat.gateway.dialects.port.Dialect`."""

    stream_type: ClassVar[str] = SSE
    event_ends: ClassVar[tuple[bytes, ...]] = SSE_ENDS
    mend = b"\n\n"

    @abstractmethod
    def model_list(self, views: Sequence[ModelView], *, created: int) -> bytes: ...

    @abstractmethod
    def one_model(self, view: ModelView, *, created: int) -> bytes: ...

    def page(self, method: str, path: str) -> Page | None:
        if method != "GET":
            return None
        if path == MODELS:
            return self._all
        if path.startswith(MODELS + "/"):
            return lambda asked: self._one(asked, path.removeprefix(MODELS + "/"))
        return None

    def of_json(self, body: bytes) -> Named:
        return naming.from_json(body)

    def streams(self, named: Named) -> bool:
        return named.stream is True

    def resolve(self, model: str, known: Callable[[str], bool]) -> str:
        return model

    def keepalive(self, text: str) -> bytes:
        # A comment rather than Anthropic's `ping`: a client may take nothing before message_start.
        return f": hotseat: {text}\n\n".encode()

    def _all(self, asked: Asked) -> Reply:
        return as_json(self.model_list(asked.models, created=asked.created))

    def _one(self, asked: Asked, name: str) -> Reply:
        return as_json(self.one_model(one_of(name, asked.models), created=asked.created))


def is_about_models(path: str) -> bool:
    """/v1/models or beneath it: the gateway answers that by itself, or nobody does."""
    return (path + "/").startswith(MODELS + "/")
