"""OpenAI's own client against a daemon whose engines take turns while it speaks."""

from __future__ import annotations

import asyncio
import hashlib
import json
import warnings
from collections.abc import Awaitable, Callable

import aiohttp
import openai
import pytest
from house import ALICE, BOB, House

pytestmark = pytest.mark.emulated

Park = Callable[..., Awaitable[None]]
MESSAGES = [{"role": "user", "content": "Tell me about the river and the sea."}]


async def chat(client: openai.AsyncOpenAI, model: str, tokens: int = 12) -> str:
    answer = await client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=tokens)
    return answer.choices[0].message.content or ""


async def streamed(client: openai.AsyncOpenAI, model: str, tokens: int = 12) -> str:
    stream = await client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=tokens, stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def test_models_take_turns_and_say_what_they_always_say(oai: openai.AsyncOpenAI) -> None:
    first, other = await chat(oai, "ada"), await chat(oai, "bob")
    assert first != other
    for _ in range(2):
        assert await streamed(oai, "ada") == first
        assert await streamed(oai, "bob") == other


async def test_an_answer_goes_on_after_a_swap_in_its_middle(oai: openai.AsyncOpenAI, park: Park) -> None:
    whole = await chat(oai, "ada", 400)
    stream = await oai.chat.completions.create(model="ada", messages=MESSAGES, max_tokens=400, stream=True)
    pieces = aiter(stream)
    said = [(await anext(pieces)).choices[0].delta.content or "" for _ in range(3)]
    await park("ada", answering=1)
    await chat(oai, "bob", 3)
    assert await chat(oai, "ada", 1), "which brings it back to its seat"
    said += [piece.choices[0].delta.content or "" async for piece in pieces if piece.choices]
    assert "".join(said) == whole


async def test_many_answers_take_turns_in_their_middle(oai: openai.AsyncOpenAI) -> None:
    whole = {model: await chat(oai, model, 40) for model in ("ada", "bob")}
    said = await asyncio.gather(*(streamed(oai, model, 40) for model in ("ada", "bob", "ada", "bob")))
    assert said == [whole["ada"], whole["bob"]] * 2


async def test_the_rest_of_a_language_model(oai: openai.AsyncOpenAI) -> None:
    completion = await oai.completions.create(model="ada", prompt="once upon", max_tokens=5)
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 5
    vectors = await oai.embeddings.create(model="bob", input=["the river", "the sea"])
    assert len(vectors.data) == 2
    again = await oai.embeddings.create(model="bob", input="the river")
    assert again.data[0].embedding == vectors.data[0].embedding


async def test_models_tell_where_they_are(oai: openai.AsyncOpenAI) -> None:
    for model in ("ada", "bob", "ada", "bob", "ada"):  # so that it is known what each way costs
        await chat(oai, model, 1)
    models = {model.id: model.model_dump()["hotseat"] async for model in oai.models.list()}
    assert set(models) == {"ada", "bob", "studio"}
    assert (models["ada"]["state"], models["ada"]["expected_wait_s"]) == ("seated", 0.0)
    assert models["bob"]["state"] == "parked"
    assert models["bob"]["expected_wait_s"] > 0
    assert (await oai.models.retrieve("bob")).id == "bob"


async def test_headers_tell_what_was_done(oai: openai.AsyncOpenAI) -> None:
    await chat(oai, "ada", 1)
    answer = await oai.with_options(
        default_headers={"x-request-id": "mine-1"}
    ).chat.completions.with_raw_response.create(model="bob", messages=MESSAGES, max_tokens=1)
    assert answer.headers["x-request-id"] == "mine-1"
    assert (answer.headers["x-hotseat-workload"], answer.headers["x-hotseat-swapped"]) == ("bob", "1")


async def test_speech_in_and_out(oai: openai.AsyncOpenAI, park: Park) -> None:
    sound = bytes(range(256)) * 20_000
    wanted = hashlib.sha256(sound).hexdigest()
    await park("studio")
    heard = await oai.audio.transcriptions.create(model="studio", file=("speech.wav", sound), language="en")
    assert heard.text == wanted, "five megabytes, none lost, into an engine that was parked when they came"
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # OpenAI's; engines have it
        translated = await oai.audio.translations.create(model="studio", file=("speech.wav", sound))
    assert translated.text == wanted
    await park("studio")
    stream = await oai.audio.transcriptions.create(model="studio", file=("speech.wav", sound), stream=True)
    events = [event async for event in stream]
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == wanted
    async with oai.audio.speech.with_streaming_response.create(
        model="studio", voice="alloy", input="one two three"
    ) as answer:
        spoken = await answer.read()
    assert spoken == b"".join(hashlib.sha256(word.encode()).digest() * 1000 for word in ("one", "two", "three"))


async def test_pictures(oai: openai.AsyncOpenAI) -> None:
    made = await oai.images.generate(model="studio", prompt="a river")
    assert made.data is not None
    assert made.data[0].b64_json == hashlib.sha256(b"a river").hexdigest()
    edited = await oai.images.edit(model="studio", image=("a.png", b"\x89PNG" * 1000), prompt="bluer")
    assert edited.data is not None
    assert edited.data[0].b64_json == hashlib.sha256(b"\x89PNG" * 1000).hexdigest()


async def test_responses_and_moderations(oai: openai.AsyncOpenAI, park: Park) -> None:
    wanted = hashlib.sha256(b"hello").hexdigest()
    await park("studio")
    answer = await oai.responses.create(model="studio", input="hello")
    assert answer.output_text == wanted
    await park("studio")
    stream = await oai.responses.create(model="studio", input="hello", stream=True)
    events = [event async for event in stream]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == wanted
    assert events[-1].type == "response.completed"
    assert (await oai.moderations.create(model="studio", input="x")).results[0].flagged is False


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
async def test_rerankings(http: aiohttp.ClientSession, path: str) -> None:
    async with http.post(path, json={"model": "studio", "query": "q", "documents": ["a", "b", "c"]}) as response:
        assert response.status == 200
        assert sorted(one["index"] for one in (await response.json())["results"]) == [0, 1, 2]


async def test_a_score(http: aiohttp.ClientSession) -> None:
    async with http.post("/score", json={"model": "studio", "text_1": "abc", "text_2": "x"}) as response:
        assert (await response.json())["data"][0]["score"] == 3.0


async def test_a_websocket_with_its_key_in_a_protocol(house: House, park: Park) -> None:
    await park("studio")
    async with (
        aiohttp.ClientSession(house.url, timeout=aiohttp.ClientTimeout(total=60)) as session,
        session.ws_connect(
            "/v1/realtime?model=studio", protocols=["realtime", f"openai-insecure-api-key.{ALICE}"]
        ) as socket,
    ):
        assert await socket.receive_json() == {"type": "session.created", "protocol": "realtime"}
        for text in ("one", "x" * 100_000):
            await socket.send_str(text)
            assert await socket.receive_json() == {"type": "said", "text": text}


async def test_an_engines_own_pages(http: aiohttp.ClientSession) -> None:
    async with http.get("/upstream/studio/pages/a%20b?x=1", headers={"x-engine-key": "its-own"}) as response:
        page = await response.json()
    assert (page["page"], page["query"]) == ("a b", {"x": "1"})
    assert page["headers"]["x-engine-key"] == "its-own"
    assert ALICE not in json.dumps(page), "hotseat's key is not the engine's business"


async def test_errors_are_the_clients_own(oai: openai.AsyncOpenAI, house: House) -> None:
    with pytest.raises(openai.NotFoundError, match="did you mean ada") as unknown:
        await chat(oai, "adaa")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    assert unknown.value.request_id
    with pytest.raises(openai.BadRequestError):
        await oai.chat.completions.create(model="ada", messages=MESSAGES, max_tokens=100_000)
    with pytest.raises(openai.BadRequestError, match="names no model"):
        await oai.post("/chat/completions", body={"messages": MESSAGES}, cast_to=object)
    with pytest.raises(openai.APIStatusError) as large:
        await oai.embeddings.create(model="ada", input="x" * 2**20)
    assert large.value.status_code == 413
    with pytest.raises(openai.APIStatusError) as wrong:
        await oai.put("/chat/completions", body={"model": "ada"}, cast_to=object)
    assert wrong.value.status_code == 405


async def test_keys(oai: openai.AsyncOpenAI, house: House) -> None:
    with pytest.raises(openai.AuthenticationError):
        await chat(oai.with_options(api_key="hs-nobody-knows-this-key"), "ada")
    bob = oai.with_options(api_key=BOB)
    assert [model.id async for model in bob.models.list()] == ["bob"]
    assert await chat(bob, "bob") == await chat(oai, "bob")
    with pytest.raises(openai.PermissionDeniedError):
        await chat(bob, "ada")
    with pytest.raises(openai.NotFoundError) as unknown:
        await bob.models.retrieve("ada")
    assert "ada" not in unknown.value.message.replace("'ada'", "")
    stream = await bob.chat.completions.create(model="bob", messages=MESSAGES, max_tokens=3000, stream=True)
    await anext(aiter(stream))
    with pytest.raises(openai.RateLimitError) as many:
        await chat(bob, "bob")
    assert int(many.value.response.headers["Retry-After"]) >= 1
    await stream.close()
    for key in (ALICE, BOB):
        assert key not in house.log
