"""wire.py and native/include/hs_store.h say the same, as the C compiler sees it."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.store import wire
from hotseat.store.wire import GRANULE, Block, Type

INCLUDE = Path(__file__).parents[2] / "native" / "include"
STRUCTS = {
    "hs_store_head": wire.Head,
    "hs_store_hello": wire.Hello,
    "hs_store_welcome": wire.Welcome,
    "hs_store_yield": wire.Yield,
    "hs_store_block": wire.BlockRecord,
    "hs_store_blocks": wire.Blocks,
    "hs_store_freed": wire.Freed,
    "hs_store_done": wire.Done,
    "hs_store_failed": wire.Failed,
}
VALUES = {
    "HS_STORE_VERSION": wire.VERSION,
    "HS_STORE_GRANULE": wire.GRANULE,
    "HS_STORE_BLOCK_MAX": wire.BLOCK_MAX,
    "HS_STORE_BATCH": wire.BATCH,
    "HS_STORE_STATE_RUNNING": wire.STATE_RUNNING,
    "HS_STORE_STATE_YIELDED": wire.STATE_YIELDED,
    **{f"HS_STORE_{kind.name}": int(kind) for kind in Type},
}


def test_the_header_has_the_same_values_sizes_and_offsets(tmp_path: Path) -> None:
    checks = [f"{name} == {value}ull" for name, value in VALUES.items()]
    for name, shape in STRUCTS.items():
        checks.append(f"sizeof(struct {name}) == {ctypes.sizeof(shape)}")
        for field, *_ in shape._fields_:
            offset, size = getattr(shape, field).offset, getattr(shape, field).size
            checks.append(f"offsetof(struct {name}, {field}) == {offset}")
            checks.append(f"sizeof(((struct {name} *)0)->{field}) == {size}")
    lines = [f'_Static_assert({check}, "{check}");' for check in checks]
    source = tmp_path / "check.c"
    source.write_text("\n".join(["#include <stddef.h>", '#include "hs_store.h"', *lines]))
    done = subprocess.run(
        ["cc", "-fsyntax-only", f"-I{INCLUDE}", str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_header_names_no_message_that_wire_lacks() -> None:
    text = (INCLUDE / "hs_store.h").read_text()
    body = text[text.index("enum hs_store_type {") : text.index("/* Begins each message.")]
    assert body.count("HS_STORE_") == len(Type) == len(wire.MESSAGES)


whole = st.builds(
    Block,
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**30).map(lambda n: n * GRANULE),
    st.integers(1, wire.BLOCK_MAX // GRANULE).map(lambda n: n * GRANULE),
    st.binary(min_size=16, max_size=16),
    st.booleans(),
)


@given(st.lists(whole, max_size=wire.BATCH), st.integers(0, 2**64 - 1))
def test_blocks_arrive_as_they_were_sent(blocks: list[Block], request: int) -> None:
    message = wire.decode(wire.encode_blocks(blocks, request=request))
    assert (message.type, message.request, list(message.blocks)) == (Type.BLOCKS, request, blocks)


@given(st.binary(max_size=300) | st.binary(max_size=64).map(lambda tail: bytes(wire.head(Type.BLOCKS, 1)) + tail))
def test_nonsense_is_garbled_or_a_message_and_nothing_else(data: bytes) -> None:
    try:
        message = wire.decode(data)
    except wire.Garbled:
        return
    assert message.type in Type


@pytest.mark.parametrize("nbytes", [0, GRANULE // 2, wire.BLOCK_MAX + GRANULE])
def test_a_block_of_no_sensible_size_is_garbled(nbytes: int) -> None:
    with pytest.raises(wire.Garbled, match="block 1"):
        wire.decode(wire.encode_blocks([Block(1, 0, nbytes, bytes(16), False)], request=1))
