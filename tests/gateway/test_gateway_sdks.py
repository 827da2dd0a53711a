"""What goes wrong behind the gateway, as the three client libraries raise it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import anthropic
import ollama
import openai
import pytest
from aiohttp import web
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


async def test_a_line_that_breaks_off_is_ended_and_the_error_has_its_own(stage: Stage, by_ollama: Ask) -> None:
    whole, half = b'{"message": {"role": "assistant", "content": "a"}, "done": false}\n', b'{"message": {"ro'

    async def breaks_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(whole if cut_at_line else whole + half)
        assert request.transport is not None
        request.transport.close()
        return response

    app = web.Application()
    app.router.add_post("/api/chat", breaks_off)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stage.seats.urls["m"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        cut_at_line = True
        with pytest.raises(ollama.ResponseError, match="broke off"):
            await by_ollama(True)
        cut_at_line = False
        async with stage.client.post(stage.url + "/api/chat", json={"model": "m"}) as response:
            first, second, third, end = (await response.read()).split(b"\n")
    finally:
        await runner.cleanup()
    assert (first + b"\n", second, end) == (whole, half, b"")
    assert "broke off" in json.loads(third)["error"]


async def test_what_would_change_models_is_not_served(stage: Stage) -> None:
    client = ollama.AsyncClient(host=stage.url)
    async with aclosing(client._client):
        with pytest.raises(ollama.ResponseError, match="/upstream/NAME") as caught:
            await client.pull("m")
        assert caught.value.status_code == 404
        with pytest.raises(ollama.ResponseError) as caught:
            await client.delete("m")
        assert caught.value.status_code == 404
    async with stage.client.get(stage.url + "/api/chat") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert list(await response.json()) == ["error"]
