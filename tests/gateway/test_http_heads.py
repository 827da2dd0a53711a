"""A head that is compared with the last one is found only where taking it apart would say the same."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from hotseat.gateway.http.heads import Again, split

FIRST = b"POST /v1/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-One: 1\r\n\r\n"


def again(first: bytes) -> Again[bytes]:
    """With the head of `first` kept under its key."""
    found = split(first)
    assert found is not None
    one: Again[bytes] = Again()
    one.keep(found[0], first, found[1])
    return one


def test_the_same_head_is_found_whatever_its_length() -> None:
    one, key = again(FIRST + b"12345"), FIRST.replace(b"\r\nContent-Length: 5", b"")
    assert one.find(FIRST + b"54321") == (key, len(FIRST), 5)
    other = FIRST.replace(b"5\r", b"1234\r")
    assert one.find(other + b"x" * 1234) == (key, len(other), 1234)


def test_another_head_is_not_found() -> None:
    one = again(FIRST)
    assert Again[bytes]().find(FIRST) is None
    for old, new in (
        (b"Host: a", b"Host: b"),
        (b"X-One: 1", b"X-One: 2"),
        (b"X-One: 1\r\n", b""),
        (b"X-One: 1\r\n", b"Content-Length: 6\r\n"),
        (b": 5", b": "),
        (b": 5", b": +5"),
        (b": 5", b": 5 "),
        (b": 5", b": 5\r\rX: "),
        (b": 5", b": 1234567890123456"),
        (b"\r\n\r\n", b"\r\n"),
    ):
        assert one.find(FIRST.replace(old, new)) is None, new


@given(
    at=st.integers(0, len(FIRST)),
    gone=st.integers(0, 3),
    put=st.text("0123456789 +-\r\n:Xx", max_size=20).map(str.encode),
    body=st.binary(max_size=8),
)
@example(at=FIRST.index(b"5"), gone=1, put=b"17", body=b"")
def test_what_is_found_is_what_taking_it_apart_says(at: int, gone: int, put: bytes, body: bytes) -> None:
    data = FIRST[:at] + put + FIRST[at + gone :] + body
    found = again(FIRST).find(data)
    if found is not None:
        assert found == split(data)
