"""Fixtures of the store's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from store_bench import Bench

from hotseat.emulator.node import EmulatedNode
from hotseat.store.wire import GRANULE


@pytest.fixture
def node() -> Iterator[EmulatedNode]:
    """One device of 64 granules."""
    with EmulatedNode.temporary(devices=[64 * GRANULE], context_bytes=GRANULE) as node:
        yield node


@pytest.fixture
async def bench(node: EmulatedNode, tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(node, tmp_path / "store") as bench:
        yield bench
