"""What goes wrong behind the gateway, as the three client libraries raise it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import anthropic
import ollama
import openai
import pytest
from gateway_stage import Stage

from hotseat.errors import EngineTimeout, HotseatError, NoRoom, Quarantined, TooMany, Unavailable

MESSAGES: Any = [{"role": "user", "content": "x"}]
Ask = Callable[[bool], Awaitable[Any]]
"""Asks for an answer, as a stream or whole, and reads all of it."""


async def read(stream: Any) -> list[Any]:
    return [piece async for piece in stream]


@pytest.fixture
async def by_openai(stage: Stage) -> AsyncIterator[Ask]:
    async with openai.AsyncOpenAI(base_url=stage.url + "/v1", api_key="none", max_retries=0) as client:

        async def ask(stream: bool) -> Any:
            answer = await client.chat.completions.create(model="m", messages=MESSAGES, stream=stream)
            return await read(answer) if stream else answer

        yield ask


@pytest.fixture
async def by_anthropic(stage: Stage) -> AsyncIterator[Ask]:
    async with anthropic.AsyncAnthropic(base_url=stage.url, api_key="none", max_retries=0) as client:

        async def ask(stream: bool) -> Any:
            answer = await client.messages.create(model="m", max_tokens=1, messages=MESSAGES, stream=stream)
            return await read(answer) if stream else answer

        yield ask


@pytest.fixture
async def by_ollama(stage: Stage) -> AsyncIterator[Ask]:
    client = ollama.AsyncClient(host=stage.url)

    async def ask(stream: bool) -> Any:
        answer = await client.chat(model="m", messages=MESSAGES, stream=stream)
        return await read(answer) if stream else answer

    async with aclosing(client._client):
        yield ask


WRONG = [
    (TooMany("its queue is full", retry_after=2.5), 429),
    (NoRoom("nobody may be parked", retry_after=2.5), 503),
    (Unavailable("it waited too long", retry_after=2.5), 503),
    (Quarantined("it lost its memory", retry_after=2.5), 503),
    (EngineTimeout("it says nothing"), 504),
]
each_wrong = pytest.mark.parametrize(("error", "status"), WRONG, ids=[error.code for error, _ in WRONG])
each_way = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@each_way
@each_wrong
async def test_openais(stage: Stage, by_openai: Ask, error: HotseatError, status: int, stream: bool) -> None:
    stage.seats.error = error
    with pytest.raises(openai.APIStatusError, match=error.message) as caught:
        await by_openai(stream)
    assert isinstance(caught.value, openai.RateLimitError if status == 429 else openai.InternalServerError)
    assert (caught.value.status_code, caught.value.code) == (status, error.code)
    assert caught.value.response.headers.get("retry-after") == ("3" if status != 504 else None)


@each_way
@each_wrong
async def test_anthropics(stage: Stage, by_anthropic: Ask, error: HotseatError, status: int, stream: bool) -> None:
    stage.seats.error = error
    with pytest.raises(anthropic.APIStatusError, match=error.message) as caught:
        await by_anthropic(stream)
    kinds = {
        429: anthropic.RateLimitError,
        503: anthropic.ServiceUnavailableError,
        504: anthropic.DeadlineExceededError,
    }
    assert type(caught.value) is kinds[status]
    assert caught.value.response.headers.get("retry-after") == ("3" if status != 504 else None)


@each_way
@each_wrong
async def test_ollamas(stage: Stage, by_ollama: Ask, error: HotseatError, status: int, stream: bool) -> None:
    stage.seats.error = error
    with pytest.raises(ollama.ResponseError, match=error.message) as caught:
        await by_ollama(stream)
    assert caught.value.status_code == status


async def test_a_dead_engine(stage: Stage, by_openai: Ask, by_anthropic: Ask, by_ollama: Ask) -> None:
    await stage.engine.stop()
    for ask, kind in (
        (by_openai, openai.InternalServerError),
        (by_anthropic, anthropic.InternalServerError),
        (by_ollama, ollama.ResponseError),
    ):
        with pytest.raises(kind, match="cannot be reached") as caught:
            await ask(True)
        assert caught.value.status_code == 502  # type: ignore[attr-defined]


async def test_a_stream_that_breaks_off(stage: Stage, by_openai: Ask, by_anthropic: Ask) -> None:
    stage.engine.break_after = 2
    for ask, kind in ((by_openai, openai.APIError), (by_anthropic, anthropic.APIError)):
        with pytest.raises(kind, match="broke off"):
            await ask(True)
