"""The real interposer and the real store, with the demo engine between them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from store_bench import WITHIN, Bench

from hotseat import native
from hotseat.demo import EngineSpec, RunningEngine, running
from hotseat.emulator.node import EmulatedNode
from hotseat.gpu.procfs import start_time
from hotseat.store.port import HeldState
from hotseat.store.wire import GRANULE
from hotseat.words import ProcessRef

SPEC = EngineSpec(weights_bytes=12 * GRANULE)


async def text(engine: RunningEngine) -> str:
    body = {"model": "demo", "messages": [{"role": "user", "content": "who sits here?"}], "max_tokens": 12}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WITHIN)) as http,
        http.post(f"{engine.url}/v1/chat/completions", json=body) as response,
    ):
        answer = await response.json()
        assert response.status == 200, answer
    return str(answer["choices"][0]["message"]["content"])


@pytest.fixture
def environment(bench: Bench, node: EmulatedNode) -> dict[str, str]:
    library = str(native.path("libhotseat-interposer.so"))
    return {**node.environment(), "LD_PRELOAD": library, "HOTSEAT_STORE": str(bench.agents)}


@pytest.fixture
async def engine(bench: Bench, environment: dict[str, str]) -> AsyncIterator[RunningEngine]:
    async with running(SPEC, environment=environment) as engine:
        yield engine


async def reference(bench: Bench, engine: RunningEngine) -> ProcessRef:
    """Of the engine, once the store knows it."""
    start = start_time(engine.pid)
    assert start is not None
    ref = ProcessRef(engine.pid, start)
    await bench.until(lambda status: ref in status.processes)
    return ref


async def test_an_engine_gives_its_memory_away_and_goes_on_with_it(bench: Bench, engine: RunningEngine) -> None:
    before = await text(engine)
    ref, store = await reference(bench, engine), bench.client
    moved = []
    for _ in range(3):
        held = await store.take([ref], deadline=WITHIN)
        assert held[ref].state is HeldState.YIELDED
        assert held[ref].bytes >= SPEC.weights_bytes
        moved.append(await store.move_out([ref], deadline=WITHIN))
        assert bench.device_bytes() < SPEC.weights_bytes
        await store.move_in([ref], deadline=WITHIN)
        await store.give([ref], deadline=WITHIN)
        assert await text(engine) == before
    assert moved[0].copied >= moved[1].copied
    assert moved[2].unchanged >= SPEC.weights_bytes, "weights do not change, so they were not copied again"


async def test_the_worker_dies_while_an_engine_is_out_and_nothing_is_lost(bench: Bench, engine: RunningEngine) -> None:
    before = await text(engine)
    ref, store = await reference(bench, engine), bench.client
    await store.take([ref], deadline=WITHIN)
    await store.move_out([ref], deadline=WITHIN)
    asked = asyncio.create_task(text(engine))
    await bench.kill_worker()
    await bench.until(lambda status: ref in status.processes and status.processes[ref].connected)
    await store.move_in([ref], deadline=WITHIN)
    await store.give([ref], deadline=WITHIN)
    assert await asked == before


async def test_the_store_goes_and_the_engine_keeps_its_memory(bench: Bench, engine: RunningEngine) -> None:
    before = await text(engine)
    ref, store = await reference(bench, engine), bench.client
    await store.take([ref], deadline=WITHIN)
    await store.move_out([ref], deadline=WITHIN)
    await store.move_in([ref], deadline=WITHIN)
    await store.give([ref], deadline=WITHIN)
    held = await store.localise([ref], deadline=WITHIN)
    assert held[ref].lent_bytes == 0
    await bench.kill_keeper()
    assert await text(engine) == before


async def test_two_engines_of_one_model_are_kept_once(bench: Bench, environment: dict[str, str]) -> None:
    async with running(SPEC, environment=environment) as one, running(SPEC, environment=environment) as other:
        refs = [await reference(bench, one), await reference(bench, other)]
        texts = [await text(one), await text(other)]
        await bench.client.take(refs, deadline=WITHIN)
        await bench.client.move_out(refs, deadline=WITHIN)
        assert (await bench.client.status(deadline=WITHIN)).used < 2 * SPEC.weights_bytes
        await bench.client.move_in(refs, deadline=WITHIN)
        await bench.client.give(refs, deadline=WITHIN)
        assert [await text(one), await text(other)] == texts


async def test_doctor_and_ps_tell_which_way_it_takes(bench: Bench, engine: RunningEngine, tmp_path: Path) -> None:
    ref = await reference(bench, engine)
    environ = {
        **bench.environ,
        "HOTSEAT_STORE_CONTROL": str(bench.directory / "control.sock"),
        "HOTSEAT_STATE": str(tmp_path / "state"),
        "DOCKER_HOST": "unix:///nonexistent/docker.sock",
        "CONTAINER_HOST": "unix:///nonexistent/podman.sock",
    }

    async def hotseat(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hotseat", *words), env=environ, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(2 * WITHIN):
            out, _ = await process.communicate()
        return out.decode()

    findings = json.loads(await hotseat("doctor", str(ref.pid), "--json"))["findings"]
    said = {finding["check"]: (finding["level"], finding["what"]) for finding in findings}
    assert said["way"] == ("ok", "interposed: the store moves its memory")
    assert said["arena"][1].startswith("an arena of 128 MiB")
    await hotseat("park", str(ref.pid), "--no-daemon")
    (row,) = [row for row in json.loads(await hotseat("ps", "--no-daemon", "--json")) if ref.pid in row["pids"]]
    assert (row["state"], row["way"]) == ("parked", "interposed")
    assert "interposed: the store" in await hotseat("ps", "--no-daemon")
    await hotseat("seat", str(ref.pid), "--no-daemon")
    assert (await bench.client.held([ref], deadline=WITHIN))[ref].state is HeldState.RUNNING
