"""Traces as files: three formats, and whatever else people may hand in."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.errors import NotFound, UsageError
from hotseat.simulate.reading import parse, read
from hotseat.simulate.split import split

OWN = "time,model,prompt_tokens,output_tokens\n"
SAMPLE = Path(__file__).with_name("sample.csv")


def test_three_formats() -> None:
    own = parse(io.StringIO(OWN + "10,a,5,6\n11.5,b,7,8\n"))
    assert (list(own.times), list(own.models), own.names) == ([0.0, 1.5], [0, 1], ("a", "b"))
    azure = parse(
        io.StringIO(
            "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n"
            "2023-11-16 18:15:50.9951690,396,109"
        )
    )
    assert list(azure.times) == pytest.approx([0.0, 4.314579], abs=1e-5)
    assert not azure.named
    burst = parse(
        io.StringIO(
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,API log\n"
        )
    )
    assert (burst.names, list(burst.prompts), list(burst.outputs)) == (("ChatGPT",), [472], [18])


def test_lines_out_of_order_are_put_in_order() -> None:
    trace = parse(io.StringIO(OWN + "9,b,1,1\n\n3,a,2,2\n"))
    assert (list(trace.times), list(trace.prompts)) == ([0.0, 6.0], [2, 1])


def test_gzip_and_limit(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(SAMPLE.read_bytes()))
    assert len(read(path)) == len(read(SAMPLE)) == 4
    assert len(read(path, limit=3)) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (OWN, "only a head"),
        ("a,b,c\n1,2,3\n", ":1: no known columns"),
        (OWN + "1,a,2,3\n2,a,2\n", ":3: 3 columns"),
        (OWN + "soon,a,2,3\n", ":2: 'soon' is no time"),
        (OWN + "nan,a,2,3\n", ":2: 'nan' is no time"),
        (OWN + "1,a,-2,3\n", ":2: prompt_tokens: -2 tokens"),
        (OWN + "1,a,2,3.5\n", ":2: output_tokens: '3.5'"),
        (OWN + "1,a,2,99999999999999999999\n", ":2: output_tokens"),
        (OWN + "1,,2,3\n", ":2: '' is no name"),
        (OWN + '1,"a\x1b[2J",2,3\n', ":2: "),
        (OWN + "1,a\0,2,3\n", ":2: a null byte"),
        (OWN + "x" * 70_000, ":2: a line of more than"),
        (OWN + '1,"a,2,3\n', "trace:2"),
    ],
)
def test_bad_lines_are_named(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(io.StringIO(text))
    assert said in error.value.message
    assert error.value.hint


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read(tmp_path / "none.csv")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(SAMPLE.read_bytes() * 50)[:-20])
    (tmp_path / "b.csv.gz").write_bytes(b"time,model")
    (tmp_path / "c.csv").write_bytes(OWN.encode() + b"1,\xff\xfe,2,3\n")
    for name in ("a.csv.gz", "b.csv.gz", "c.csv", "."):
        with pytest.raises(UsageError):
            read(tmp_path / name)


@given(text=st.text(max_size=200), head=st.sampled_from(["", OWN]))
def test_any_text_is_a_trace_or_a_usage_error(text: str, head: str) -> None:
    try:
        trace = parse(io.StringIO(head + text, newline=""))
    except UsageError:
        return
    assert list(trace.times) == sorted(trace.times)


def test_a_split_keeps_arrivals_and_is_drawn_by_its_seed() -> None:
    trace = parse(io.StringIO(OWN + "".join(f"{k},a,1,1\n" for k in range(3000))))
    names = [f"m{k}" for k in range(5)]
    first, again, other = (split(trace, names, seed=seed, off=0.0) for seed in (1, 1, 2))
    assert list(first.models) == list(again.models) != list(other.models)
    assert first.times == trace.times
    counts = [list(first.models).count(k) for k in range(5)]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == 3000
