from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from hotseat.platforms.multiplexed import Splitter, payload


def frames(texts: list[bytes]) -> bytes:
    return b"".join(struct.pack(">BxxxL", 1 + number % 2, len(text)) + text for number, text in enumerate(texts))


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 30), max_size=40))
def test_a_stream_reads_the_same_wherever_it_is_cut(texts: list[bytes], cuts: list[int]) -> None:
    raw = frames(texts)
    splitter, out, at = Splitter(), b"", 0
    for length in [*cuts, len(raw)]:
        out += splitter.feed(raw[at : at + length])
        at += length
    assert out == b"".join(texts) == payload(raw)


def test_a_frame_that_was_cut_off_gives_what_there_is() -> None:
    assert payload(frames([b"whole", b"half of it"])[:-3]) == b"wholehalf of"
