"""The OpenAI API as its own SDK and as plain HTTP see it."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator

import aiohttp
import openai
import pytest

from hotseat.demo import EngineSpec, RunningEngine

MESSAGES = [{"role": "user", "content": "Tell me about the river and the sea."}]


@pytest.fixture
async def engine(start) -> RunningEngine:
    return await start(EngineSpec(models=("demo", "org/other name"), max_context=512))


@pytest.fixture
async def sdk(engine: RunningEngine) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0, timeout=30) as client:
        yield client


async def test_health_and_models(sdk, engine, http) -> None:
    async with http.get(f"{engine.url}/health") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})
    assert [model.id async for model in sdk.models.list()] == ["demo", "org/other name"]
    assert (await sdk.models.retrieve("org/other name")).id == "org/other name"
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("third")


async def test_chat(sdk) -> None:
    answer = await sdk.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=20, temperature=0, seed=7)
    text = answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.role == "assistant"
    assert answer.usage.completion_tokens == 20
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 20
    assert 15 <= len(text.split()) <= 20
    assert text.replace(" ", "").replace(".", "").replace(",", "").isalpha()


async def test_every_name_is_the_same_model(sdk) -> None:
    texts = {
        (await sdk.chat.completions.create(model=model, messages=MESSAGES)).choices[0].message.content
        for model in ("demo", "org/other name")
    }
    assert len(texts) == 1


async def test_chat_streams_what_it_also_says_at_once(sdk) -> None:
    whole = await sdk.chat.completions.create(model="demo", messages=MESSAGES, max_completion_tokens=30)
    stream = await sdk.chat.completions.create(
        model="demo", messages=MESSAGES, max_tokens=30, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 30
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_stream_is_events_with_a_done_at_the_end(engine, http) -> None:
    body = {"model": "demo", "prompt": "once", "max_tokens": 3, "stream": True}
    async with http.post(f"{engine.url}/v1/completions", json=body) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        events = (await response.text()).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert [json.loads(event[6:])["choices"][0]["finish_reason"] for event in events[:-2]] == [None] * 3 + ["length"]
    assert all("usage" not in json.loads(event[6:]) for event in events[:-2])


async def test_completions_of_text_and_of_tokens(sdk) -> None:
    by_text = await sdk.completions.create(model="demo", prompt="abc xyzzy", max_tokens=10)
    by_tokens = await sdk.completions.create(model="demo", prompt=[ord(c) for c in "abc xyzzy"], max_tokens=10)
    assert by_text.choices[0].text == by_tokens.choices[0].text
    echo = await sdk.completions.create(model="demo", prompt="abc xyzzy", max_tokens=10, echo=True)
    assert echo.choices[0].text == "abc xyzzy" + by_text.choices[0].text
    only_echo = await sdk.completions.create(model="demo", prompt="grüß\x01 ☃", max_tokens=0, echo=True)
    assert only_echo.choices[0].text == "grüß\x01 ☃"
    broken = await sdk.completions.create(model="demo", prompt=[0xC3, 65], max_tokens=0, echo=True)
    assert broken.choices[0].text == "\ufffdA"


async def test_stop_ends_the_text_before_it(sdk) -> None:
    async def text(**options: object) -> tuple[str, str, int]:
        answer = await sdk.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=60, **options)
        return answer.choices[0].message.content, answer.choices[0].finish_reason, answer.usage.completion_tokens

    whole, _, _ = await text()
    words = whole.split()
    stop = f"{words[10]} {words[11]}"  # spans two tokens
    cut, reason, tokens = await text(stop=["never said", stop])
    assert cut == whole[: whole.index(stop)]
    assert reason == "stop"
    assert tokens < 60
    assert await text(stop=stop) == (cut, "stop", tokens)
    stream = await sdk.chat.completions.create(
        model="demo", messages=MESSAGES, max_tokens=60, stream=True, stop=["never said", stop]
    )
    assert "".join([c.choices[0].delta.content or "" async for c in stream]) == cut
    # held back as the possible start of a stop sequence, and let go when the answer ends
    last = await text(stop=whole[-3:] + "!")
    assert last == (whole, "length", 60)


async def test_embeddings(sdk) -> None:
    first = await sdk.embeddings.create(model="demo", input=["one", "two", "one"], dimensions=8)
    vectors = [item.embedding for item in first.data]
    assert vectors[0] == vectors[2] != vectors[1]
    assert all(sum(x * x for x in v) == pytest.approx(1, abs=1e-5) and len(v) == 8 for v in vectors)
    plain = await sdk.embeddings.create(model="demo", input="one", dimensions=8, encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(vectors[0])
    assert (await sdk.embeddings.create(model="demo", input=[[111, 110, 101]])).usage.prompt_tokens == 4


async def test_base64_embeddings_are_little_endian_floats(engine, http) -> None:
    for dimensions in (1, 2, 3):
        body = {"model": "demo", "input": "one", "dimensions": dimensions}
        async with http.post(f"{engine.url}/v1/embeddings", json=body) as response:
            plain = (await response.json())["data"][0]["embedding"]
        async with http.post(f"{engine.url}/v1/embeddings", json={**body, "encoding_format": "base64"}) as response:
            packed = base64.b64decode((await response.json())["data"][0]["embedding"], validate=True)
        assert struct.unpack(f"<{dimensions}f", packed) == pytest.approx(plain)


CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "change", "status", "param", "code"),
    [
        (CHAT, {"model": "nobody"}, 404, "model", "model_not_found"),
        (CHAT, {"model": 3}, 400, "model", None),
        (CHAT, {"messages": []}, 400, "messages", None),
        (CHAT, {"messages": [{"role": "king", "content": "x"}]}, 400, "messages", None),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages", None),
        (CHAT, {"messages": [7]}, 400, "messages", None),
        (CHAT, {"max_tokens": 0}, 400, "max_tokens", None),
        (CHAT, {"max_tokens": 2.5}, 400, "max_tokens", None),
        (CHAT, {"max_tokens": 600}, 400, "messages", "context_length_exceeded"),
        (CHAT, {"max_completion_tokens": "9"}, 400, "max_completion_tokens", None),
        (CHAT, {"temperature": 9}, 400, "temperature", None),
        (CHAT, {"n": 2}, 400, "n", None),
        (CHAT, {"stop": ["a"] * 5}, 400, "stop", None),
        (CHAT, {"stop": ""}, 400, "stop", None),
        (CHAT, {"stream": "yes"}, 400, "stream", None),
        (CHAT, {"stream_options": {"include_usage": True}}, 400, "stream_options", None),
        (CHAT, {"logprobs": True}, 400, "logprobs", None),
        ("/v1/completions", {"prompt": ["a", "b"]}, 400, "prompt", None),
        ("/v1/completions", {"prompt": [1, 99999]}, 400, "prompt", None),
        ("/v1/completions", {"prompt": {"a": 1}}, 400, "prompt", None),
        ("/v1/completions", {"prompt": "%" * 512}, 400, "prompt", "context_length_exceeded"),
        ("/v1/embeddings", {"input": ""}, 400, "input", None),
        ("/v1/embeddings", {"input": []}, 400, "input", None),
        ("/v1/embeddings", {"input": [True]}, 400, "input", None),
        ("/v1/embeddings", {"input": "a", "dimensions": 0}, 400, "dimensions", None),
        ("/v1/embeddings", {"input": "a", "encoding_format": "hex"}, 400, "encoding_format", None),
    ],
)
async def test_mistakes_are_named(
    engine: RunningEngine, http: aiohttp.ClientSession, path: str, change: dict, status: int, param: str, code: str
) -> None:
    body = {"model": "demo", **({"messages": MESSAGES} if path == CHAT else {}), **change}
    async with http.post(engine.url + path, json=body) as response:
        error = (await response.json())["error"]
        assert (response.status, error["param"], error["code"]) == (status, param, code), error
    assert error["message"]
    assert error["type"] in ("invalid_request_error", "not_found_error")


async def test_paths_and_methods(engine, http) -> None:
    async with http.get(f"{engine.url}/v2/nothing") as response:
        assert response.status == 404
        assert (await response.json())["error"]["type"] == "not_found_error"
    async with http.get(f"{engine.url}/v1/completions") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    async with http.post(f"{engine.url}/health", json={}) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    async with http.head(f"{engine.url}/v1/models?page=1") as response:
        assert response.status == 200
        assert int(response.headers["Content-Length"]) > 0
        assert await response.read() == b""
