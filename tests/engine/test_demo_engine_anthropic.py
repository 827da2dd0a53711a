"""The Messages API as Anthropic's own SDK sees it, and that its text is the one that OpenAI's API gives."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import pytest

from hotseat.demo import EngineSpec, RunningEngine

MESSAGES = [
    {"role": "user", "content": "Tell me about the river."},
    {"role": "assistant", "content": [{"type": "text", "text": "It is long."}]},
    {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "the sea?"}]},
]
SYSTEM = "Be brief."


@pytest.fixture
async def engine(start) -> RunningEngine:
    return await start(EngineSpec(models=("demo",), max_context=512))


@pytest.fixture
async def sdk(engine: RunningEngine) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=engine.url, api_key="none", max_retries=0, timeout=30) as client:
        yield client


async def test_a_message_says_what_a_chat_says(sdk, ask, engine) -> None:
    answer = await sdk.messages.create(model="demo", max_tokens=24, system=SYSTEM, messages=MESSAGES)
    (block,) = answer.content
    assert (answer.role, answer.type, answer.stop_reason, answer.stop_sequence) == (
        "assistant",
        "message",
        "max_tokens",
        None,
    )
    chat = await ask(engine, [{"role": "system", "content": SYSTEM}, *MESSAGES])
    assert block.text == chat["text"]
    assert answer.usage.output_tokens == 24
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens == chat["usage"]["prompt_tokens"]


async def test_a_stream_says_the_same(sdk) -> None:
    whole = await sdk.messages.create(model="demo", max_tokens=20, messages=MESSAGES)
    async with sdk.messages.stream(model="demo", max_tokens=20, messages=MESSAGES) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == final.content[0].text == whole.content[0].text
    assert final.stop_reason == "max_tokens"
    assert final.usage.output_tokens == 20
    assert final.id.startswith("msg")


async def test_a_stop_sequence_is_named(sdk) -> None:
    whole = await sdk.messages.create(model="demo", max_tokens=20, messages=MESSAGES)
    words = whole.content[0].text.split(" ")
    stop = f" {words[5]}"
    for stream in (False, True):
        if stream:
            async with sdk.messages.stream(
                model="demo", max_tokens=20, messages=MESSAGES, stop_sequences=["zzz", stop]
            ) as events:
                answer = await events.get_final_message()
        else:
            answer = await sdk.messages.create(
                model="demo", max_tokens=20, messages=MESSAGES, stop_sequences=["zzz", stop]
            )
        assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", stop)
        assert answer.content[0].text == whole.content[0].text.split(stop)[0]


async def test_count_tokens(sdk) -> None:
    counted = await sdk.messages.count_tokens(model="demo", system=SYSTEM, messages=MESSAGES)
    answer = await sdk.messages.create(model="demo", max_tokens=1, system=SYSTEM, messages=MESSAGES)
    assert counted.input_tokens == answer.usage.input_tokens + answer.usage.cache_read_input_tokens


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "must be user or assistant"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "text parts"),
        ({"max_tokens": 5000}, "context holds 512"),
        ({"extra_body": {"temperature": 1.5}}, "temperature"),
        ({"stop_sequences": [""]}, "stop_sequences"),
    ],
)
async def test_errors_are_the_sdks_own(sdk, change, said) -> None:
    with pytest.raises(anthropic.BadRequestError, match=said) as caught:
        await sdk.messages.create(**{"model": "demo", "max_tokens": 5, "messages": MESSAGES, **change})
    assert caught.value.body["error"]["type"] == "invalid_request_error"


async def test_an_unknown_model_and_a_wrong_method(sdk, engine, http) -> None:
    with pytest.raises(anthropic.NotFoundError, match="does not exist"):
        await sdk.messages.create(model="other", max_tokens=5, messages=MESSAGES)
    async with http.get(f"{engine.url}/v1/messages") as response:
        assert response.status == 405
        assert (await response.json())["error"]["type"] == "invalid_request_error"
