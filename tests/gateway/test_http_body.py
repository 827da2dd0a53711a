"""A body takes little more memory than it has bytes, however it is cut, and any part of it can be had again."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.gateway.http.body import Body


@pytest.mark.parametrize("size", [1, 2, 100, 2000])
def test_chunks_of_any_size_take_no_more_than_what_they_hold(size: int) -> None:
    """A client may send its body in chunks of two bytes, each of which would be an object of its own."""
    pieces = [bytes([at % 251]) * size for at in range(400_000 // size)]
    tracemalloc.start()
    try:
        body = Body()
        for piece in pieces:
            body.feed(bytes(bytearray(piece)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.5 * body.held
    assert body.whole() == b"".join(pieces)


@given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=30), st.data())
def test_what_came_after_any_byte(pieces: list[bytes], data: st.DataObject) -> None:
    body, sent = Body(), b""
    for piece in pieces:
        body.feed(piece)
        sent += piece
        total = data.draw(st.integers(0, len(sent)))
        assert b"".join(body.since(total)) == sent[total:]
        assert (body.held, body.total) == (len(sent), len(sent))
        if data.draw(st.booleans()):
            assert body.whole() == sent
    assert b"".join(body.take()) == sent
    assert (body.held, body.total, body.consumed) == (0, len(sent), True)
    assert body.take() == []
