"""The promise of the demo engine: its text is a function of every byte of device memory, and of nothing else."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from hotseat.demo import EngineSpec, pattern, spec

PROMPT = "Tell me about the mountain, the forest and the long road between them."


async def test_the_seed_makes_the_text(start, ask) -> None:
    first, again, other = [await start(EngineSpec(seed=seed)) for seed in (1, 1, 2)]
    texts = [(await ask(engine, PROMPT))["text"] for engine in (first, again, other)]
    assert texts[0] == texts[1] != texts[2]


async def test_weights_on_the_device_are_the_pattern(start, node) -> None:
    await start(EngineSpec(seed=77, weights_bytes=64 << 10))
    found = [pattern.find_word(node.directory / "nvidia0", pattern.weights_word(77, i)) for i in (0, 1, 8191)]
    assert [len(places) for places in found] == [1, 1, 1]
    assert found[1][0] - found[0][0] == 8
    assert found[2][0] - found[0][0] == 8 * 8191
    assert pattern.find_word(node.directory / "nvidia0", pattern.weights_word(77, 8192)) == []


@pytest.mark.parametrize("word", [0, 16383, 32767])
async def test_one_bit_of_the_weights(start, ask, node, corrupt, word) -> None:
    engine = await start(EngineSpec(seed=5))
    before = await ask(engine, PROMPT)
    [place] = pattern.find_word(node.directory / "nvidia0", pattern.weights_word(5, word))
    corrupt(node.directory / "nvidia0", place + word % 8)
    assert (await ask(engine, PROMPT))["text"] != before["text"]
    corrupt(node.directory / "nvidia0", place + word % 8)
    assert (await ask(engine, PROMPT))["text"] == before["text"]


async def test_one_bit_of_kv_cache_that_nobody_uses(start, ask, node, corrupt) -> None:
    engine = await start(EngineSpec(seed=5))
    before = await ask(engine, PROMPT)
    [place] = pattern.find_word(node.directory / "nvidia0", pattern.kv_word(5, (1 << 20) // 8 - 1))
    corrupt(node.directory / "nvidia0", place)
    assert (await ask(engine, PROMPT))["text"] != before["text"]
    corrupt(node.directory / "nvidia0", place)
    assert (await ask(engine, PROMPT))["text"] == before["text"]


async def test_one_bit_of_a_cached_conversation_changes_other_texts_too(start, ask, node, corrupt) -> None:
    engine = await start(EngineSpec(seed=5))
    before = await ask(engine, "what is the moon")
    first_kv_word = pattern.kv_word(5, 0)
    # the first block was the first to be used, so its old content is gone; block 1 of this cache begins 8 KiB further
    assert pattern.find_word(node.directory / "nvidia0", first_kv_word) == []
    [end] = pattern.find_word(node.directory / "nvidia0", pattern.kv_word(5, (1 << 20) // 8 - 1))
    begin = end + 8 - (1 << 20)
    corrupt(node.directory / "nvidia0", begin + 100)
    assert (await ask(engine, "what is the sun"))["text"] != (
        await ask(await start(EngineSpec(seed=5)), "what is the sun")
    )["text"]
    assert (await ask(engine, "what is the moon"))["text"] != before["text"]


async def test_damage_in_the_middle_of_an_answer(start, http, node, corrupt) -> None:
    """Every token is computed anew: those before the damage stay, those after it differ."""
    engine = await start(EngineSpec(seed=5, tokens_per_second=100))
    body = {"model": "demo", "prompt": "a", "max_tokens": 40}
    async with http.post(f"{engine.url}/v1/completions", json=body) as response:
        undisturbed = (await response.json())["choices"][0]["text"]
    pieces = []
    async with http.post(f"{engine.url}/v1/completions", json={**body, "stream": True}) as response:
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            pieces.append(json.loads(line[6:])["choices"][0]["text"])
            if len(pieces) == 10:
                [place] = pattern.find_word(node.directory / "nvidia0", pattern.weights_word(5, 9))
                corrupt(node.directory / "nvidia0", place)
    assert undisturbed.startswith("".join(pieces[:10]))
    assert "".join(pieces) != undisturbed


async def test_what_else_runs_does_not_matter(start, ask) -> None:
    """Many conversations at once, on a cache too small for all of them to stay: each as if it were alone."""
    rng, words = random.Random(4), ["river", "stone", "bird", "cloud", "fire", "x9", "Zug"]
    prompts = [" ".join(rng.choices(words, k=rng.randint(1, 60))) for _ in range(40)]
    alone = await start(EngineSpec(seed=3, kv_bytes=8 << 20))
    texts = {prompt: (await ask(alone, prompt, max_tokens=30))["text"] for prompt in prompts}
    crowded = await start(EngineSpec(seed=3, kv_bytes=256 << 10, max_context=512))
    answers = await asyncio.gather(*(ask(crowded, prompt, max_tokens=30) for prompt in prompts for _ in range(3)))
    assert [a["text"] for a in answers] == [texts[prompt] for prompt in prompts for _ in range(3)]


async def test_a_conversation_goes_on_from_the_prefix_cache(start, ask) -> None:
    engine = await start(EngineSpec(seed=3))
    turns = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": PROMPT}]
    first = await ask(engine, turns, max_tokens=64)
    assert first["cached"] == 0
    turns += [{"role": "assistant", "content": first["text"]}, {"role": "user", "content": "And then?"}]
    second = await ask(engine, turns)
    # all full blocks of the first prompt and of its answer but the last token, which was never written
    known = first["usage"]["prompt_tokens"] + 64 - 1
    assert second["cached"] == known // spec.BLOCK_TOKENS * spec.BLOCK_TOKENS
    cold = await ask(await start(EngineSpec(seed=3)), turns)
    assert cold["cached"] == 0
    assert cold["text"] == second["text"]


async def test_a_common_start_is_shared_between_running_answers(start, ask) -> None:
    engine = await start(EngineSpec(seed=3))
    system = {"role": "system", "content": "word " * 100}
    first = await ask(engine, [system, {"role": "user", "content": "one"}])
    answers = await asyncio.gather(*(ask(engine, [system, {"role": "user", "content": f"x{i}"}]) for i in range(8)))
    assert first["cached"] == 0
    assert all(answer["cached"] >= 96 for answer in answers)
    assert len({answer["text"] for answer in answers}) == 8


async def test_the_longest_unused_is_forgotten_first(start, ask) -> None:
    engine = await start(EngineSpec(seed=3, kv_bytes=128 << 10, max_context=128))  # 16 blocks
    prompts = [f"{i} " + "river " * 60 for i in range(3)]  # 5 blocks each, answer included
    for prompt in prompts:
        assert (await ask(engine, prompt, max_tokens=8))["cached"] == 0
    assert (await ask(engine, prompts[0], max_tokens=8))["cached"] > 0  # now the youngest
    await ask(engine, "9 " + "tree " * 60, max_tokens=8)
    assert (await ask(engine, prompts[0], max_tokens=8))["cached"] > 0
    assert (await ask(engine, prompts[1], max_tokens=8))["cached"] == 0


async def test_a_long_answer_fills_the_context(start, http) -> None:
    engine = await start(EngineSpec(weights_bytes=4096, kv_bytes=4 << 20, max_context=8192))
    body = {"model": "demo", "prompt": "", "max_tokens": 8191}
    async with http.post(f"{engine.url}/v1/completions", json=body) as response:
        answer = await response.json()
    assert answer["usage"]["completion_tokens"] == 8191
    words = answer["choices"][0]["text"].replace(".", "").replace(",", "").split()
    assert len(set(words)) > 300


async def test_a_token_rate_is_kept(start, http) -> None:
    """40 tokens at 100 a second take no less than 0.39 s by the engine's own steps; a fast one is not slowed."""
    engine = await start(EngineSpec(tokens_per_second=100))
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with http.post(f"{engine.url}/v1/completions", json={"model": "demo", "prompt": "a", "max_tokens": 40}):
        pass
    assert loop.time() - began >= 0.38
