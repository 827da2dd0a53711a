"""Ollama's own client against a daemon whose engines take turns while it speaks."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import aiohttp
import ollama
import openai
import pytest
from house import BOB, MIB, House

pytestmark = pytest.mark.emulated

MESSAGES = [{"role": "user", "content": "Tell me about the river and the sea."}]


async def chat(client: ollama.AsyncClient, model: str, tokens: int = 12) -> str:
    answer = await client.chat(model=model, messages=MESSAGES, options={"num_predict": tokens})
    return answer.message.content or ""


async def streamed(client: ollama.AsyncClient, model: str, tokens: int = 12) -> str:
    parts = await client.chat(model=model, messages=MESSAGES, options={"num_predict": tokens}, stream=True)
    return "".join([part.message.content or "" async for part in parts])


async def test_models_take_turns_and_say_what_openais_client_hears(
    lama: ollama.AsyncClient, oai: openai.AsyncOpenAI
) -> None:
    said = {model: await chat(lama, model) for model in ("ada", "bob:latest")}
    for model in ("ada", "bob:latest", "ada"):
        assert await streamed(lama, model) == said[model]
        answer = await oai.chat.completions.create(
            model=model.removesuffix(":latest"), messages=MESSAGES, max_tokens=12
        )
        assert answer.choices[0].message.content == said[model]


async def test_an_answer_goes_on_after_a_swap_in_its_middle(
    lama: ollama.AsyncClient, park: Callable[..., Awaitable[None]]
) -> None:
    whole = await chat(lama, "ada", 400)
    parts = aiter(await lama.chat(model="ada", messages=MESSAGES, options={"num_predict": 400}, stream=True))
    said = [(await anext(parts)).message.content or "" for _ in range(3)]
    await park("ada", answering=1)
    await chat(lama, "bob", 3)
    assert await chat(lama, "ada", 1), "which brings it back to its seat"
    said += [part.message.content or "" async for part in parts]
    assert "".join(said) == whole


async def test_generate_and_embed(lama: ollama.AsyncClient) -> None:
    for model in ("ada", "bob"):
        prompt = MESSAGES[0]["content"]
        answer = await lama.generate(model=model, prompt=prompt, options={"num_predict": 12})
        assert answer.response == await chat(lama, model)
        vectors = await lama.embed(model=model, input=["the river", "the sea"])
        assert len(vectors.embeddings) == 2
        old = await lama.embeddings(model=model, prompt="the river")
        assert list(old.embedding) == list(vectors.embeddings[0])


async def test_lists(lama: ollama.AsyncClient, http: aiohttp.ClientSession) -> None:
    await chat(lama, "ada", 1)
    assert {model.model for model in (await lama.list()).models} == {"ada", "bob", "studio"}
    running = {model.model: model.size_vram for model in (await lama.ps()).models}
    assert "bob" not in running
    assert running["ada"] >= 32 * MIB, "as the driver has it"
    await lama.show("bob:latest")
    async with http.post("/api/show", json={"model": "bob:latest"}) as response:
        assert (await response.json())["hotseat"]["state"] == "parked"
    assert "bob" not in {model.model for model in (await lama.ps()).models}, "to look at a model costs no swap"


async def test_keep_alives_are_nothing_to_the_client(lama: ollama.AsyncClient, http: aiohttp.ClientSession) -> None:
    """The head came early, spaces came while it waited, and every line is JSON all the same."""
    await chat(lama, "ada", 1)
    body = {"model": "bob", "messages": MESSAGES, "options": {"num_predict": 3}}
    async with http.post("/api/chat", json=body) as response:
        assert response.headers["Content-Type"] == "application/x-ndjson"
        text = await response.text()
    assert text.startswith(" ")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["done"] for line in lines] == [False, False, False, True]


async def test_errors_are_the_clients_own(lama: ollama.AsyncClient, house: House) -> None:
    with pytest.raises(ollama.ResponseError, match="did you mean ada") as unknown:
        await chat(lama, "adaa")
    assert unknown.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="not served"):
        await lama.pull("ada")
    with pytest.raises(ollama.ResponseError, match="context holds"):
        await chat(lama, "ada", 100_000)
    nobody = ollama.AsyncClient(host=house.url, headers={"Authorization": "Bearer hs-nobody-knows-this-key"})
    with pytest.raises(ollama.ResponseError, match="not known") as refused:
        await nobody.list()
    assert refused.value.status_code == 401
    await nobody._client.aclose()
    bob = ollama.AsyncClient(host=house.url, headers={"Authorization": f"Bearer {BOB}"})
    assert [model.model for model in (await bob.list()).models] == ["bob"]
    with pytest.raises(ollama.ResponseError, match="may not use") as forbidden:
        await chat(bob, "ada")
    assert forbidden.value.status_code == 403
    await bob._client.aclose()


async def test_a_refusal_after_the_stream_has_begun_is_a_line(lama: ollama.AsyncClient) -> None:
    """The engine says 400 when the client was long told 200, because it waited."""
    await chat(lama, "ada", 1)
    with pytest.raises(ollama.ResponseError, match="context holds"):
        await streamed(lama, "bob", 100_000)
