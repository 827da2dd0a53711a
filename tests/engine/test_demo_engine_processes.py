"""Ranks, devices, threads, and the ends that an engine can meet."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from hotseat.demo import EngineSpec, pattern, running
from hotseat.demo.spec import hold_command
from hotseat.errors import Failed

PROMPT = "What is beyond the mountain?"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(("devices", "processes"), [((0, 1), 1), ((0,), 2), ((0, 1), 2), ((1, 0), 3), ((0, 1), 5)])
async def test_a_split_engine_says_the_same(start, ask, node, devices, processes) -> None:
    whole, split = await start(), await start(EngineSpec(devices=devices, processes=processes))
    texts = [(await ask(engine, PROMPT))["text"] for engine in (whole, split)]
    assert texts[0] == texts[1]
    assert len(children(split.pid)) == processes - 1
    held = {process.pid: process.bytes for process in node.report().processes}
    used = [device for pid in (split.pid, *children(split.pid)) for device in held[pid]]
    assert set(used) == set(devices)


async def test_every_rank_counts(start, ask, node, corrupt) -> None:
    engine = await start(EngineSpec(seed=4, devices=(0, 1), processes=4))
    before = (await ask(engine, PROMPT))["text"]
    for device, word in ((0, 0), (1, 8192), (0, 16384), (1, 32767)):  # the four quarters of 32768 words
        [place] = pattern.find_word(node.directory / f"nvidia{device}", pattern.weights_word(4, word))
        corrupt(node.directory / f"nvidia{device}", place)
        assert (await ask(engine, PROMPT))["text"] != before
        corrupt(node.directory / f"nvidia{device}", place)
    last = (1 << 20) // 8 - 1
    [place] = pattern.find_word(node.directory / "nvidia1", pattern.kv_word(4, last))
    corrupt(node.directory / "nvidia1", place)
    assert (await ask(engine, PROMPT))["text"] != before
    corrupt(node.directory / "nvidia1", place)
    assert (await ask(engine, PROMPT))["text"] == before


async def test_the_prefix_cache_works_over_ranks(start, ask) -> None:
    engine = await start(EngineSpec(processes=3, kv_bytes=3 << 20))
    first = await ask(engine, "river " * 200)
    second = await ask(engine, "river " * 200)
    assert (first["cached"], second["cached"]) == (0, 192)
    assert first["text"] == second["text"]


async def test_a_dead_rank_ends_the_engine_with_its_reason(start) -> None:
    engine = await start(EngineSpec(processes=3))
    victim = children(engine.pid)[1]
    os.kill(victim, signal.SIGKILL)
    async with asyncio.timeout(20):
        assert await engine.process.wait() == 1
    assert any(str(victim) in line for line in engine.output)


async def test_ranks_do_not_outlive_rank_0(start) -> None:
    engine = await start(EngineSpec(processes=3))
    ranks = [os.pidfd_open(pid) for pid in children(engine.pid)]
    engine.process.kill()
    loop = asyncio.get_running_loop()
    for descriptor in ranks:
        gone = loop.create_future()
        loop.add_reader(descriptor, gone.set_result, None)
        async with asyncio.timeout(20):
            await gone
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def test_idle_threads_are_there(start) -> None:
    few, many = await start(), await start(EngineSpec(threads=200))
    count = [len(os.listdir(f"/proc/{engine.pid}/task")) for engine in (few, many)]
    assert count[1] - count[0] == 200


async def test_sigterm_lets_a_short_answer_end_and_frees_everything(start, http, node) -> None:
    engine = await start(EngineSpec(tokens_per_second=50, grace_seconds=30, processes=2))
    body = {"model": "demo", "prompt": "a", "max_tokens": 25, "stream": True}
    async with http.post(f"{engine.url}/v1/completions", json=body) as response:
        await response.content.readuntil(b"\n\n")
        engine.process.terminate()
        assert (await response.read()).endswith(b"data: [DONE]\n\n")
    async with asyncio.timeout(20):
        assert await engine.process.wait() == 0
    assert node.report().used_bytes == (0, 0)


async def test_sigterm_cuts_a_long_answer_and_says_so(start, http) -> None:
    engine = await start(EngineSpec(tokens_per_second=20, grace_seconds=0))
    body = {"model": "demo", "prompt": "a", "max_tokens": 1000, "stream": True}
    async with http.post(f"{engine.url}/v1/completions", json=body) as response:
        await response.content.readuntil(b"\n\n")
        engine.process.terminate()
        rest, whole = b"", True
        try:
            while piece := await response.content.readany():
                rest += piece
        except aiohttp.ClientPayloadError:
            whole = False
    assert not whole  # no last chunk: nobody takes it for a whole answer
    assert json.loads(rest.strip().split(b"data: ")[-1])["error"]["type"] == "server_error"
    assert b"[DONE]" not in rest
    async with asyncio.timeout(20):
        assert await engine.process.wait() == 0


async def test_sigterm_while_idle_closes_kept_connections(start, http) -> None:
    engine = await start()
    async with http.get(f"{engine.url}/health") as response:
        assert response.status == 200
    async with asyncio.timeout(20):
        assert await engine.stop() == 0


async def test_hold_occupies_and_nothing_else(start, node) -> None:
    before = node.report().used_bytes
    holder = await start(hold_command(20 << 20, devices=(1,)))
    held = [now - was for now, was in zip(node.report().used_bytes, before, strict=True)]
    assert held[0] == 0
    assert held[1] >= 20 << 20
    assert holder.url == ""
    assert await holder.stop() == 0
    assert node.report().used_bytes == before


@pytest.mark.parametrize("processes", [1, 2])
async def test_too_little_device_memory_is_said(node, processes) -> None:
    with pytest.raises(Failed, match="CUDA_ERROR_OUT_OF_MEMORY"):
        async with running(EngineSpec(weights_bytes=1 << 30, processes=processes), environment=node.environment()):
            pass


async def test_without_a_driver_it_says_what_is_missing(tmp_path) -> None:
    with pytest.raises(Failed, match=r"libcuda\.so\.1"):
        async with running(EngineSpec(), environment={"LD_LIBRARY_PATH": str(tmp_path)}):
            pass


@pytest.mark.parametrize(
    "options",
    [
        ["--weights=lots"],
        ["--weights=-1"],
        ["--kv=4096"],
        ["--kv=1MiB", "--max-context=5000"],
        ["--devices=0,0"],
        ["--devices="],
        ["--processes=0"],
        ["--port=65536"],
        ["--tokens-per-second=nan"],
        ["--model="],
        ["--unknown"],
        ["left over"],
    ],
)
async def test_wrong_options_end_with_2_and_a_sentence(options) -> None:
    process = await asyncio.create_subprocess_exec(
        *EngineSpec().command()[:1], *options, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(20):
        _, said = await process.communicate()
    assert process.returncode == 2
    assert len(said.decode().split()) > 3


async def test_a_port_in_use_ends_with_1(start, node) -> None:
    engine = await start()
    port = int(engine.url.rsplit(":", 1)[1])
    with pytest.raises(Failed, match="in use"):
        async with running(EngineSpec(port=port), environment=node.environment()):
            pass
