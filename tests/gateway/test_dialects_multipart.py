"""The model of a form, found while the form arrives, whatever the form is."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import aiohttp
import pytest
from aiohttp import FormData
from hypothesis import given
from hypothesis import strategies as st

from hotseat.errors import UsageError
from hotseat.gateway.dialects.multipart import MOST_IN_ALL, MOST_PARTS, Reader, Standing, boundary_of
from hotseat.gateway.dialects.naming import Named

BOUNDARY = b"----form"


def part(name: str, value: bytes, *, filename: str | None = None, more: bytes = b"") -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    head = f'Content-Disposition: form-data; name="{name}"{file}\r\n'.encode()
    return b"--" + BOUNDARY + b"\r\n" + head + more + b"\r\n" + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    return [body[begin:end] for begin, end in itertools.pairwise(at)]


def read_all(body: Iterable[bytes]) -> Named:
    reader = Reader(BOUNDARY)
    for piece in body:
        reader.feed(piece)
    return reader.end()


VALUES = st.binary(max_size=300).filter(lambda value: BOUNDARY not in value)
OTHERS = st.lists(
    st.tuples(st.sampled_from(["file", "language", "prompt", "modell", "Model"]), VALUES, st.booleans()), max_size=5
)


@given(
    model=st.text(st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=100),
    before=OTHERS,
    after=OTHERS,
    cuts=st.lists(st.integers(0, 10_000), max_size=30),
)
def test_found_wherever_it_stands_and_however_the_body_is_cut(
    model: str, before: list[Any], after: list[Any], cuts: list[int]
) -> None:
    def parts(several: list[Any]) -> list[bytes]:
        return [part(name, value, filename="f.bin" if file else None) for name, value, file in several]

    first = b"".join(parts(before)) + part("model", model.encode())
    reader = Reader(BOUNDARY)
    for piece in pieces(form(first, *parts(after)), cuts):
        reader.feed(piece)
    assert reader.standing is Standing.SETTLED
    assert reader.end() == Named(model)


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=20))
def test_anything_at_all_is_read_or_refused(noise: bytes, cuts: list[int]) -> None:
    reader = Reader(BOUNDARY)
    try:
        for piece in pieces(b"--" + BOUNDARY + b"\r\n" + noise, cuts):
            reader.feed(piece)
        reader.end()
    except UsageError:
        return
    assert b"model" in noise


@given(st.integers(0, 300))
def test_a_body_that_ends_too_soon(length: int) -> None:
    whole = form(part("model", b"m"), part("file", b"x" * 50, filename="f"))
    reader = Reader(BOUNDARY)
    reader.feed(whole[: length % (len(whole) - 4)])
    with pytest.raises(UsageError, match=r"ends before|names no model"):
        reader.end()


def test_where_it_stands() -> None:
    reader = Reader(BOUNDARY)
    assert reader.standing is Standing.SEARCHING
    assert reader.feed(part("language", b"en")) is Standing.SEARCHING
    assert reader.named is None
    # A value is whole only when the boundary after it has come.
    assert reader.feed(part("model", b"whisper-1")) is Standing.SEARCHING
    begun = part("stream", b"true")
    assert reader.feed(begun[:20]) is Standing.FOUND
    assert reader.named == Named("whisper-1")
    reader.feed(begun[20:])
    file = part("file", b"\0" * 1000, filename="a.wav", more=b"Content-Type: audio/wav\r\n")
    assert reader.feed(file[:200]) is Standing.SETTLED
    assert reader.named == Named("whisper-1", True)
    reader.feed(file[200:])
    assert reader.feed(form()) is Standing.SETTLED
    assert reader.end() == Named("whisper-1", True)


@pytest.mark.parametrize(
    ("value", "stream"), [(b"true", True), (b"True", True), (b"1", True), (b"false", False), (b"", False)]
)
def test_stream_in_a_form(value: bytes, stream: bool) -> None:
    reader = Reader(BOUNDARY)
    reader.feed(form(part("stream", value), part("model", b"m")))
    assert reader.end().stream is stream


def test_a_file_that_is_called_model_is_no_name() -> None:
    reader = Reader(BOUNDARY)
    assert reader.feed(form(part("model", b"m", filename="model"))) is Standing.ABSENT
    with pytest.raises(UsageError, match="names no model"):
        reader.end()


def test_two_models_in_one_form_are_one_too_many() -> None:
    assert read_all([form(part("model", b"a"), part("model", b"a"))]).model == "a"
    with pytest.raises(UsageError, match="two models, 'a' and 'b'"):
        read_all([form(part("model", b"a"), part("file", b"", filename="f"), part("model", b"b"))])


@pytest.mark.parametrize(
    "body",
    [
        form(part("model", b"\xff\xfe")),
        form(part("model", b"")),
        form(part("model", b"x" * 600)),
        form(part("model", b"x" * 100_000)),
        form(part("x", b"", more=b"X: " + b"y" * 10_000 + b"\r\n"), part("model", b"m")),
        form(part("x", b"", more=b"X: y\r\n" * 100), part("model", b"m")),
        b"no boundary at all",
        b"--other\r\n\r\n",
    ],
)
def test_hostile_forms(body: bytes) -> None:
    with pytest.raises(UsageError):
        read_all(body[at : at + 1000] for at in range(0, len(body), 1000))


def test_parts_without_end() -> None:
    with pytest.raises(UsageError, match=f"first {MOST_PARTS} parts"):
        read_all(part("x", b"") for _ in range(10 * MOST_PARTS))
    with pytest.raises(UsageError, match=f"more than {MOST_IN_ALL} parts"):
        read_all(part("model", b"m") for _ in range(10 * MOST_IN_ALL))
    assert read_all([form(*(part("model", b"m") for _ in range(MOST_IN_ALL)))]).model == "m"


def test_a_large_file_before_the_model_is_not_kept() -> None:
    import tracemalloc

    reader = Reader(BOUNDARY)
    reader.feed(part("file", b"", filename="f")[:-2])
    block = b"\r\n--" * 16_384
    tracemalloc.start()
    for _ in range(64):
        assert reader.feed(block) is Standing.SEARCHING
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(block)
    reader.feed(b"\r\n" + form(part("model", b"m")))
    assert reader.end().model == "m"


async def test_the_form_that_a_client_library_makes() -> None:
    data = FormData()
    data.add_field("file", b"RIFF" + bytes(5000), filename="speech.wav", content_type="audio/wav")
    data.add_field("model", "grüße/whisper")
    payload = data()
    assert isinstance(payload, aiohttp.MultipartWriter)
    boundary = boundary_of(payload.headers["Content-Type"])
    assert boundary is not None
    body = await payload.as_bytes()
    reader = Reader(boundary)
    reader.feed(body)
    assert reader.end().model == "grüße/whisper"


def test_content_types() -> None:
    assert boundary_of("application/json") is None
    assert boundary_of("") is None
    assert boundary_of('Multipart/Form-Data; charset=utf-8; boundary="a b"') == b"a b"
    for broken in (
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 71,
    ):
        with pytest.raises(UsageError, match="boundary"):
            boundary_of(broken)
