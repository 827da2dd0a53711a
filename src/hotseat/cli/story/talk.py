"""A client of the OpenAI API, small: chats, streams, and what the usage says of the prefix cache."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp

from hotseat.errors import Failed

Messages = Sequence[dict[str, str]]

DEADLINE = 60.0
"""Seconds for one answer, the wait for its seat included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    text: str
    tokens: int
    prompt_tokens: int
    cached_tokens: int
    """Tokens of the prompt that the engine still had in its KV cache."""
    seconds: float
    longest_silence: float = 0.0
    """Between two pieces of a stream."""


class Talk:
    """One place to ask: an engine, or the gateway in front of all."""

    def __init__(self, session: aiohttp.ClientSession, *, base_url: str) -> None:
        self._session = session
        self._url = base_url.rstrip("/") + "/v1/chat/completions"

    async def ask(self, model: str, messages: Messages, *, tokens: int) -> Answer:
        """A whole answer. `Failed` with the server's words."""
        began = time.monotonic()
        body = {"model": model, "messages": list(messages), "max_tokens": tokens}
        async with asyncio.timeout(DEADLINE), self._session.post(self._url, json=body) as response:
            data = await response.json()
        if response.status != 200:
            raise Failed(f"{model} answered {response.status}: {data.get('error', {}).get('message', data)}")
        return _answer(data["choices"][0]["message"]["content"], data["usage"], seconds=time.monotonic() - began)

    async def stream(
        self, model: str, messages: Messages, *, tokens: int, on_piece: Callable[[str], None] = lambda _: None
    ) -> Answer:
        """The same, piece by piece. A stream that ends without [DONE] is a failure, not a short answer."""
        began = last = time.monotonic()
        silence = 0.0
        body = {
            "model": model,
            "messages": list(messages),
            "max_tokens": tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        pieces: list[str] = []
        usage: dict[str, object] = {}
        async with asyncio.timeout(DEADLINE), self._session.post(self._url, json=body) as response:
            async for line in response.content:
                if not line.startswith(b"data:"):
                    continue  # a keep-alive comment, or the end of an event
                payload = line[5:].strip()
                if payload == b"[DONE]":
                    return _answer("".join(pieces), usage, seconds=time.monotonic() - began, longest_silence=silence)
                event = json.loads(payload)
                if "error" in event:
                    raise Failed(f"{model} broke off: {event['error'].get('message')}")
                usage = event.get("usage") or usage
                for choice in event.get("choices", ()):
                    piece = choice.get("delta", {}).get("content") or ""
                    if piece:
                        now = time.monotonic()
                        silence, last = max(silence, now - last), now
                        pieces.append(piece)
                        on_piece(piece)
        raise Failed(f"{model}'s stream ended in the middle after {len(pieces)} pieces")


def _answer(text: str, usage: dict[str, object], *, seconds: float, longest_silence: float = 0.0) -> Answer:
    def count(name: str, of: object = usage) -> int:
        value = of.get(name, 0) if isinstance(of, dict) else 0
        return value if isinstance(value, int) else 0

    return Answer(
        text=text,
        tokens=count("completion_tokens"),
        prompt_tokens=count("prompt_tokens"),
        cached_tokens=count("cached_tokens", usage.get("prompt_tokens_details")),
        seconds=seconds,
        longest_silence=longest_silence,
    )
