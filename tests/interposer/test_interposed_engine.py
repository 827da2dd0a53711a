"""The demo engine, whose next token is a function of every byte that it holds: yielded, moved, given back."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from tests.interposer.conftest import Holder

from hotseat.demo import EngineSpec, RunningEngine, running
from hotseat.emulator import EmulatedNode

SPEC = EngineSpec(weights_bytes=24 << 20)


async def text(engine: RunningEngine, content: str = "who sits here?") -> str:
    body = {"model": "demo", "messages": [{"role": "user", "content": content}], "max_tokens": 16}
    timeout = aiohttp.ClientTimeout(total=30)
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        http.post(f"{engine.url}/v1/chat/completions", json=body) as response,
    ):
        answer = await response.json()
        assert response.status == 200, answer
    return str(answer["choices"][0]["message"]["content"])


@pytest.fixture
async def undisturbed(node: EmulatedNode) -> str:
    async with running(SPEC, environment=node.environment()) as engine:
        return await text(engine)


async def test_its_memory_moves_and_its_text_stays(
    undisturbed: str, interposed: dict[str, str], holder: Holder, node: EmulatedNode
) -> None:
    async with running(SPEC, environment=interposed) as engine:
        hello = await holder("wait")
        assert (hello["state"], hello["lent"]) == (1, 0)
        assert await text(engine) == undisturbed
        for _ in range(3):
            given = await holder("yield")
            assert given["bytes"] >= SPEC.weights_bytes, given
            await holder("out")
            free = node.report()
            assert max(one.bytes[0] for one in free.processes) < 12 << 20, "only contexts are left"
            await holder("in")
            back = await holder("resume")
            assert (back["blocks"], back["bytes"]) == (given["blocks"], given["bytes"])
            assert await text(engine) == undisturbed


async def test_a_lost_byte_would_be_seen(undisturbed: str, interposed: dict[str, str], holder: Holder) -> None:
    async with running(SPEC, environment=interposed) as engine:
        await holder.through("wait", "yield", "out", "spoil", "in", "resume")
        assert await text(engine) != undisturbed


async def test_who_asks_meanwhile_waits_behind_the_gate(
    undisturbed: str, interposed: dict[str, str], holder: Holder
) -> None:
    async with running(SPEC, environment=interposed) as engine:
        await holder.through("wait", "yield", "out")
        asked = asyncio.create_task(text(engine))
        done, _ = await asyncio.wait([asked], timeout=0.3)
        assert not done
        await holder.through("in", "resume")
        assert await asked == undisturbed


async def test_a_yield_is_undone_by_giving_back_what_never_moved(
    undisturbed: str, interposed: dict[str, str], holder: Holder
) -> None:
    async with running(SPEC, environment=interposed) as engine:
        await holder.through("wait", "yield")
        assert "failed" not in await holder("resume")
        assert await text(engine) == undisturbed
        given = await holder("yield")  # all is lent now
        assert given["blocks"]
        await holder.through("out", "in", "resume")
        assert await text(engine) == undisturbed


async def test_a_block_that_is_missing_keeps_the_gate_closed_until_it_comes(
    undisturbed: str, interposed: dict[str, str], holder: Holder
) -> None:
    async with running(SPEC, environment=interposed) as engine:
        await holder.through("wait", "yield", "out", "in")
        refused = await holder("resume 1")
        assert "missing" in refused["failed"]
        asked = asyncio.create_task(text(engine))
        assert "failed" not in await holder("resume")
        assert await asked == undisturbed


async def test_lent_memory_becomes_its_own_again(
    undisturbed: str, interposed: dict[str, str], holder: Holder, node: EmulatedNode
) -> None:
    async with running(SPEC, environment=interposed) as engine:
        await holder.through("wait", "yield", "out", "in", "resume")
        own = await holder("localise")
        assert own["bytes"] >= SPEC.weights_bytes
        assert await text(engine) == undisturbed
        await holder("drop")
        again = await holder("wait")
        assert (again["state"], again["lent"], again["token"]) == (1, 0, 17)


async def test_the_connection_is_lost_while_it_waits_and_it_says_so_when_it_is_back(
    undisturbed: str, interposed: dict[str, str], holder: Holder
) -> None:
    async with running(SPEC, environment=interposed) as engine:
        await holder.through("wait", "yield", "out", "drop")
        again = await holder("wait")
        assert (again["state"], again["token"]) == (2, 17)
        await holder.through("in", "resume")
        assert await text(engine) == undisturbed


async def test_without_a_store_it_runs_as_ever(undisturbed: str, interposed: dict[str, str]) -> None:
    async with running(SPEC, environment=interposed) as engine:
        assert await text(engine) == undisturbed
    unset = {name: value for name, value in interposed.items() if name != "HOTSEAT_STORE"}
    async with running(SPEC, environment=unset) as engine:
        assert await text(engine) == undisturbed
