"""Where a request names its model, outside multipart."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.errors import UsageError
from hotseat.gateway.dialects import naming
from hotseat.gateway.dialects.naming import Named

TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(
    st.text(min_size=1, max_size=naming.LONGEST).filter(lambda text: text.isprintable()),
    st.dictionaries(st.text(), TREES),
    st.sampled_from([None, True, False, "true", 1]),
    st.booleans(),
)
def test_the_model_of_any_json_object(model: str, rest: dict[str, object], stream: object, ascii_only: bool) -> None:
    body = {**rest, "model": model} | ({} if stream is None else {"stream": stream})
    if stream is None:
        body.pop("stream", None)
    read = naming.from_json(json.dumps(body, ensure_ascii=ascii_only).encode())
    assert read == Named(model, stream if isinstance(stream, bool) else None)


@given(st.binary() | TREES.map(lambda tree: json.dumps(tree).encode()))
def test_any_other_body_is_a_mistake_of_the_caller(body: bytes) -> None:
    try:
        named = naming.from_json(body)
    except UsageError:
        return
    assert json.loads(body)["model"] == named.model


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"model":' * 100_000, b'{"a":' * 100_000 + b'"', b'{"model": NaN}'])
def test_a_body_that_is_nested_deep(body: bytes) -> None:
    with pytest.raises(UsageError):
        naming.from_json(body)


@pytest.mark.parametrize("odd", ["model", "stream", "name"])
def test_nothing_is_made_of_what_does_not_belong_there(odd: str) -> None:
    """Sixty megabytes of empty lists would be gigabytes, and half a minute in which nobody else is served."""
    body = b'{"model": "m", "%b": [%b[]]}' % (odd.encode(), b"[]," * 300_000)
    tracemalloc.start()
    try:
        for name_too in (False, True):
            if odd == "model":
                with pytest.raises(UsageError, match="is no name"):
                    naming.from_json(body, name_too=name_too)
            else:
                assert naming.from_json(body, name_too=name_too) == Named("m")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(body)


def test_the_last_of_several_models_counts_as_it_does_for_engines() -> None:
    assert naming.from_json(b'{"model": ["a"], "model": "b", "stream": 1}') == Named("b")
    assert naming.from_json(b'{"model": "a", "model": "b"}').model == "b"
    named = naming.from_query("model=a&x=1&model=b%2Fc")
    assert named is not None
    assert named.model == "b/c"


def test_a_name_has_a_length() -> None:
    with pytest.raises(UsageError, match="at most 512"):
        naming.from_json(json.dumps({"model": "x" * 513}).encode())


def test_a_query() -> None:
    assert naming.from_query("model=gpt-realtime&voice=a") == Named("gpt-realtime")
    assert naming.from_query("models=a") is None
    assert naming.from_query("") is None
    for query in ("model=", "model"):
        with pytest.raises(UsageError, match="names no model"):
            naming.from_query(query)


def test_a_query_without_end() -> None:
    with pytest.raises(UsageError, match="query"):
        naming.from_query("a=b&" * 2000 + "model=m")


def test_ollamas_older_requests_say_name() -> None:
    assert naming.from_json(b'{"name": "a"}', name_too=True).model == "a"
    assert naming.from_json(b'{"name": "a", "model": "b"}', name_too=True).model == "b"
    with pytest.raises(UsageError):
        naming.from_json(b'{"name": "a"}')


KNOWN = ["llama-3.1-8b", "llama-3.1-70b", "meta-llama/Llama-3.2-3B", "qwen2.5-coder", "whisper-1"]


@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        ("llama-3.1-8B", "llama-3.1-8b"),
        ("lama-3.1-8b", "llama-3.1-8b"),
        ("llama-3.2-3b", "meta-llama/Llama-3.2-3B"),
        ("Qwen/qwen2.5-coder", "qwen2.5-coder"),
        ("whisper", "whisper-1"),
    ],
)
def test_near_names(wrong: str, first: str) -> None:
    error = naming.unknown(wrong, KNOWN)
    assert error.details["near"][0] == first
    assert f"did you mean {first}" in error.hint


def test_far_names_list_what_there_is() -> None:
    assert "there are: llama-3.1-70b, llama-3.1-8b" in naming.unknown("zzz", KNOWN).hint
    assert naming.unknown("zzz", [f"m{i:02}" for i in range(30)]).hint.endswith("m09 and 20 more")
    assert naming.unknown("zzz", []).hint == "no model is served here yet"
