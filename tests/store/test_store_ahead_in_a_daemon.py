"""A daemon and two engines that do not fit together: the next one comes in ahead while the last one goes out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from store_house import MIB, WITHIN, living

from hotseat.store.client import StoreClient
from hotseat.store.port import Held
from hotseat.words import ProcessRef

pytestmark = pytest.mark.emulated


async def test_two_take_turns_and_each_begins_to_come_while_the_other_leaves(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come is claimed by the swap in, and no token differs."""
    claimed: list[int] = []
    claim = StoreClient.claim

    async def watched(client: StoreClient, processes: Sequence[ProcessRef], **how: Any) -> Mapping[ProcessRef, Held]:
        held = await claim(client, processes, **how)
        claimed.append(sum(nbytes for one in held.values() for nbytes in one.ahead_bytes.values()))
        return held

    monkeypatch.setattr(StoreClient, "claim", watched)
    directory: Path = tmp_path_factory.mktemp("e")
    async with living(directory, device=72 * MIB, arena=96) as house, asyncio.timeout(WITHIN):
        texts = {name: await house.say(name) for name in ("ada", "bob")}
        assert [house.states()[name] for name in texts] == ["parked", "seated"]
        while not any(claimed):
            assert {name: await house.say(name) for name in texts} == texts
        size = house.row("ada")["parked_gpu_bytes"]
        assert 0 < max(claimed) < size
