"""Anthropic's own client against a daemon whose engines take turns while it speaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp
import anthropic
import openai
import pytest
from house import BOB, House

pytestmark = pytest.mark.emulated

MESSAGES = [{"role": "user", "content": "Tell me about the river and the sea."}]


async def message(client: anthropic.AsyncAnthropic, model: str, tokens: int = 12) -> str:
    answer = await client.messages.create(model=model, max_tokens=tokens, messages=MESSAGES)
    return answer.content[0].text


async def streamed(client: anthropic.AsyncAnthropic, model: str, tokens: int = 12) -> str:
    async with client.messages.stream(model=model, max_tokens=tokens, messages=MESSAGES) as stream:
        return "".join([text async for text in stream.text_stream])


async def test_models_take_turns_and_say_what_openais_client_hears(
    claude: anthropic.AsyncAnthropic, oai: openai.AsyncOpenAI
) -> None:
    said = {model: await message(claude, model) for model in ("ada", "bob")}
    for model in ("ada", "bob", "ada"):
        assert await streamed(claude, model) == said[model]
        chat = await oai.chat.completions.create(model=model, messages=MESSAGES, max_tokens=12)
        assert chat.choices[0].message.content == said[model]


async def test_an_answer_goes_on_after_a_swap_in_its_middle(
    claude: anthropic.AsyncAnthropic, park: Callable[..., Awaitable[None]]
) -> None:
    whole = await message(claude, "ada", 400)
    async with claude.messages.stream(model="ada", max_tokens=400, messages=MESSAGES) as stream:
        texts = aiter(stream.text_stream)
        said = [await anext(texts) for _ in range(3)]
        await park("ada", answering=1)
        await message(claude, "bob", 3)
        assert await message(claude, "ada", 1), "which brings it back to its seat"
        said += [text async for text in texts]
        assert (await stream.get_final_message()).usage.output_tokens == 400
    assert "".join(said) == whole


async def test_count_tokens(claude: anthropic.AsyncAnthropic) -> None:
    for model in ("ada", "bob"):
        counted = await claude.messages.count_tokens(model=model, messages=MESSAGES)
        answer = await claude.messages.create(model=model, max_tokens=1, messages=MESSAGES)
        assert counted.input_tokens == answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)


async def test_models(claude: anthropic.AsyncAnthropic) -> None:
    assert {model.id async for model in claude.models.list()} == {"ada", "bob", "studio"}
    assert (await claude.models.retrieve("ada")).display_name == "ada"


async def test_errors_are_the_clients_own(claude: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="did you mean ada") as unknown:
        await message(claude, "adaa")
    assert unknown.value.body["error"]["type"] == "not_found_error"
    assert (
        unknown.value.request_id == unknown.value.body["request_id"] == unknown.value.response.headers["x-request-id"]
    )
    with pytest.raises(anthropic.BadRequestError):
        await message(claude, "ada", 100_000)
    with pytest.raises(anthropic.NotFoundError):
        await claude.models.retrieve("adaa")
    with pytest.raises(anthropic.RequestTooLargeError):
        await claude.messages.create(model="ada", max_tokens=1, messages=[{"role": "user", "content": "x" * 2**20}])
    with pytest.raises(anthropic.AuthenticationError):
        await message(claude.with_options(api_key="hs-nobody-knows-this-key"), "ada")
    bob = claude.with_options(api_key=BOB)
    with pytest.raises(anthropic.PermissionDeniedError):
        await message(bob, "ada")
    assert [model.id async for model in bob.models.list()] == ["bob"]
    async with bob.messages.stream(model="bob", max_tokens=3000, messages=MESSAGES) as stream:
        await anext(aiter(stream))
        with pytest.raises(anthropic.RateLimitError):
            await message(bob, "bob")


async def test_a_refusal_after_the_stream_has_begun_is_an_event(claude: anthropic.AsyncAnthropic, house: House) -> None:
    """The engine says 400 when the client was long told 200, because it waited."""
    await message(claude, "ada")
    with pytest.raises(anthropic.APIStatusError, match="context holds"):
        async with claude.messages.stream(model="bob", max_tokens=100_000, messages=MESSAGES) as stream:
            await stream.get_final_message()


async def test_keep_alives_came_while_it_waited(http: aiohttp.ClientSession, claude: anthropic.AsyncAnthropic) -> None:
    await message(claude, "ada")
    body = {"model": "bob", "max_tokens": 3, "messages": MESSAGES, "stream": True}
    async with http.post("/v1/messages", json=body, headers={"anthropic-version": "2023-06-01"}) as response:
        text = await response.text()
    assert text.startswith(": hotseat: waiting")
    assert text.rstrip().endswith('{"type":"message_stop"}')
