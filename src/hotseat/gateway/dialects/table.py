"""Which dialect a request is in. Pure."""

from __future__ import annotations

from hotseat.gateway.dialects.anthropic import Anthropic
from hotseat.gateway.dialects.ollama import Ollama, OllamaTexts
from hotseat.gateway.dialects.openai import OpenAI, OpenAISpeech
from hotseat.gateway.dialects.port import Dialect, Header

OPENAI: Dialect = OpenAI()
"""Also for whoever asks for what nobody owns."""
DIALECTS: tuple[Dialect, ...] = (OllamaTexts(), Ollama(), Anthropic(), OpenAISpeech(), OPENAI)
"""The first that owns a request has it, so the more particular ones stand in front."""


def owner(path: str, header: Header) -> Dialect | None:
    """None: no dialect serves that path."""
    for dialect in DIALECTS:
        if dialect.owns(path, header):
            return dialect
    return None
