"""Ollama's API as its own client sees it, and that its text is the one that OpenAI's API gives."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import ollama
import pytest

from hotseat.demo import EngineSpec, RunningEngine

QUESTION = "Tell me about the river and the sea."
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
LIMIT = {"num_predict": 20}


@pytest.fixture
async def engine(start) -> RunningEngine:
    return await start(EngineSpec(models=("demo",), max_context=512))


@pytest.fixture
async def sdk(engine: RunningEngine) -> AsyncIterator[ollama.AsyncClient]:
    client = ollama.AsyncClient(host=engine.url, timeout=30)
    yield client
    await client._client.aclose()


async def test_a_chat_says_what_openais_chat_says(sdk, ask, engine) -> None:
    answer = await sdk.chat(model="demo:latest", messages=MESSAGES, options=LIMIT)
    chat = await ask(engine, MESSAGES, max_tokens=20)
    assert answer.message.content == chat["text"]
    assert (answer.done, answer.done_reason, answer.eval_count) == (True, "length", 20)
    assert answer.prompt_eval_count == chat["usage"]["prompt_tokens"]
    assert answer.total_duration >= answer.eval_duration > 0


async def test_generate_is_a_chat_of_one_message(sdk) -> None:
    chat = await sdk.chat(model="demo", messages=MESSAGES, options=LIMIT)
    answer = await sdk.generate(model="demo", prompt=QUESTION, system="Be brief.", options=LIMIT)
    assert answer.response == chat.message.content


async def test_streams(sdk) -> None:
    whole = await sdk.chat(model="demo", messages=MESSAGES, options=LIMIT)
    parts = [part async for part in await sdk.chat(model="demo", messages=MESSAGES, options=LIMIT, stream=True)]
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * 20 + [True]
    lines = [
        part
        async for part in await sdk.generate(
            model="demo", prompt=QUESTION, system="Be brief.", options=LIMIT, stream=True
        )
    ]
    assert "".join(line.response for line in lines) == whole.message.content
    assert lines[-1].done_reason == "length"


async def test_a_request_streams_unless_it_says_no(engine, http) -> None:
    async with http.post(
        f"{engine.url}/api/generate", json={"model": "demo", "prompt": "x", "options": {"num_predict": 3}}
    ) as response:
        assert response.headers["Content-Type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in (await response.text()).splitlines()]
    assert [line["done"] for line in lines] == [False, False, False, True]
    assert all(line["created_at"].endswith("Z") for line in lines)


async def test_a_stop_sequence(sdk) -> None:
    whole = await sdk.chat(model="demo", messages=MESSAGES, options=LIMIT)
    stop = f" {whole.message.content.split(' ')[6]}"
    answer = await sdk.chat(model="demo", messages=MESSAGES, options={**LIMIT, "stop": [stop]})
    assert answer.done_reason == "stop"
    assert answer.message.content == whole.message.content.split(stop)[0]


async def test_a_request_without_a_prompt_loads(sdk) -> None:
    answer = await sdk.generate(model="demo")
    assert (answer.response, answer.done, answer.done_reason) == ("", True, "load")
    assert (await sdk.chat(model="demo", messages=[])).done_reason == "load"


async def test_embeddings(sdk, engine, http) -> None:
    both = await sdk.embed(model="demo", input=["the river", "the sea"])
    one = await sdk.embed(model="demo", input="the river")
    assert len(both.embeddings) == 2
    assert list(both.embeddings[0]) == list(one.embeddings[0]) != list(both.embeddings[1])
    old = await sdk.embeddings(model="demo", prompt="the river")
    assert list(old.embedding) == list(one.embeddings[0])
    async with http.post(f"{engine.url}/v1/embeddings", json={"model": "demo", "input": "the river"}) as response:
        assert (await response.json())["data"][0]["embedding"] == list(one.embeddings[0])


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/api/chat", {"model": "none", "messages": MESSAGES}, 404, "does not exist"),
        ("/api/chat", {"model": "demo", "messages": "x"}, 400, "messages"),
        ("/api/chat", {"model": "demo", "messages": MESSAGES, "options": 3}, 400, "options"),
        ("/api/generate", {"model": "demo", "prompt": ["x"]}, 400, "prompt"),
        ("/api/generate", {"model": "demo", "prompt": "x", "options": {"num_predict": 0}}, 400, "num_predict"),
        ("/api/embeddings", {"model": "demo", "prompt": ["x", "y"]}, 400, "prompt"),
        ("/api/embed", {"model": "demo"}, 400, "input"),
    ],
)
async def test_errors(engine, http, path, body, status, said) -> None:
    async with http.post(engine.url + path, json=body) as response:
        error = await response.json()
        assert response.status == status
    assert list(error) == ["error"]
    assert said in error["error"]


async def test_the_client_raises_its_own_error(sdk) -> None:
    with pytest.raises(ollama.ResponseError, match="does not exist") as caught:
        await sdk.chat(model="other", messages=MESSAGES)
    assert caught.value.status_code == 404
