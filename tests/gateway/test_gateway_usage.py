from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable

import pytest
from gateway_stage import Stage
from hypothesis import given
from hypothesis import strategies as st

from hotseat.gateway import usage
from hotseat.gateway.port import RequestSeen
from hotseat.gateway.usage import Usage

OPENAI = {"id": "x", "choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
DETAILS = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (json.dumps(OPENAI), Usage(prompt=7, completion=3)),
        (json.dumps(OPENAI, indent=2), Usage(prompt=7, completion=3)),
        (
            'data: {"choices":[],"usage":null}\n\ndata: {"choices":[],"usage":'
            + json.dumps(DETAILS)
            + "}\n\ndata: [DONE]\n\n",
            Usage(prompt=7, completion=3),
        ),
        (json.dumps({"object": "list", "usage": {"prompt_tokens": 9, "total_tokens": 9}}), Usage(prompt=9)),
        (
            'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":12}}\n\n'
            'event: message_stop\ndata: {"type":"message_stop"}\n\n',
            Usage(completion=12),
        ),
        (json.dumps({"usage": {"input_tokens": 5, "output_tokens": 6}}), Usage(prompt=5, completion=6)),
        (
            '{"response":"a","done":false}\n{"done":true,"prompt_eval_count":26,"eval_count":290}\n',
            Usage(prompt=26, completion=290),
        ),
        ('data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\ndata: [DONE]\n\n', None),
        ('{"error": {"message": "no"}}', None),
        ("", None),
        ('{"usage": {"prompt_tokens": true, "completion_tokens": -1}}', None),
        ('{"usage": {"prompt_tokens": 3', None),
    ],
)
def test_the_end_of_an_answer_tells_its_tokens(body: str, expected: Usage | None) -> None:
    assert usage.read(body.encode()) == expected


def test_what_the_model_writes_is_not_taken_for_what_the_engine_counted() -> None:
    said = '{"usage": {"prompt_tokens": 1000000, "completion_tokens": 1000000}}'
    body = {"choices": [{"message": {"content": said}}]}
    assert usage.read(json.dumps(body).encode()) is None
    assert usage.read(json.dumps({**OPENAI, "zz": said}).encode()) == Usage(prompt=7, completion=3)


def test_nesting_without_end_is_no_answer() -> None:
    assert usage.read(b'"usage":' + b'{"a":' * 800) is None


@given(st.binary(max_size=3 * usage.TAIL))
def test_any_bytes_can_be_read(body: bytes) -> None:
    usage.read(body)


@given(st.lists(st.binary(max_size=2 * usage.TAIL), max_size=6))
def test_the_tail_is_the_end_of_all_chunks_however_they_are_cut(chunks: list[bytes]) -> None:
    tail = b""
    for chunk in chunks:
        tail = usage.keep(tail, chunk)
    assert tail == b"".join(chunks)[-usage.TAIL :]


CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
EVENTS = st.lists(
    st.sampled_from(
        [
            {"delta": {"role": "assistant", "content": ""}},
            {"delta": {"content": "a"}},
            {"delta": {"content": 'so "content":"x" \n\n'}},
            {"delta": {"reasoning_content": "hm"}},
            {"delta": {"content": None}},
            {"delta": {}, "finish_reason": "stop"},
        ]
    ),
    max_size=8,
)


def counted(path: str, pieces: list[bytes]) -> int:
    """As an answer does it."""
    found, tail, mark = 0, b"", usage.delta(path, pieces[0]) if pieces else b""
    for piece in pieces:
        found += usage.deltas(mark, tail, piece)
        tail = usage.keep(tail, piece)
    return found


@given(EVENTS, st.booleans(), st.lists(st.integers(65, 900), max_size=12))
def test_deltas_are_counted_however_the_stream_is_cut(
    events: list[dict[str, dict[str, str]]], compact: bool, cuts: list[int]
) -> None:
    separators = (",", ":") if compact else (", ", ": ")
    said = [json.dumps({"id": "c", "choices": [event]}, separators=separators) for event in events]
    stream = "".join(f"data: {event}\n\n" for event in [*said, "[DONE]"]).encode()
    edges = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]
    texts = [event["delta"].get("content") or event["delta"].get("reasoning_content") for event in events]
    assert counted(CHAT, pieces) == sum(1 for text in texts if text)


def test_completions_have_their_text_elsewhere_and_other_streams_are_not_counted() -> None:
    stream = b'data: {"id":"c","choices":[{"text":"a"}]}\n\ndata: {"id":"c","choices":[{"text":""}]}\n\n'
    assert counted(TEXT, [stream]) == 1
    assert usage.delta("/v1/responses", stream) == b""


async def test_an_openai_stream_is_counted_while_it_passes(make_stage: Callable[..., Awaitable[Stage]]) -> None:
    told: list[RequestSeen] = []
    stage = await make_stage(on_request=told.append)
    stage.engine.tokens = 7
    async with stage.post(stream=True) as response:
        assert await response.read() == stage.engine.whole_stream
    async with stage.post() as response:
        await response.read()
    assert [seen.deltas for seen in told] == [7, 0]
