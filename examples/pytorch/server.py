#!/usr/bin/env python3
"""A small OpenAI-compatible server around a transformers model with random weights: a real engine to try hotseat on.

    python3 server.py --size 1b --port 8001 --seed 1   # 1b | 3b | 8b | 30b | tiny; weights are made, not downloaded

It knows nothing of hotseat. Decoding is greedy and one request at a time, so the same prompt gives the same tokens for
ever; `system_fingerprint` of an answer is a hash over the bytes of every logits vector that it took, a far stricter
oracle than the tokens. Prompts are lists of token ids, or text, which is taken byte by byte.
Needs: torch, transformers, aiohttp.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

# Before CUDA starts: without it cuBLAS does not promise the same bits for the same matrices.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
from aiohttp import web
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.cache_utils import DynamicCache

SIZES = {  # hidden, intermediate, layers, heads, key-value heads: the shapes of Llama 3.2 1B and 3B, Llama 3 8B; 30B
    "tiny": (256, 1024, 4, 4, 2),
    "1b": (2048, 8192, 16, 32, 8),
    "3b": (3072, 8192, 28, 24, 8),
    "8b": (4096, 14336, 32, 32, 8),
    "30b": (6656, 17920, 54, 52, 52),
}
VOCABULARY = 128256


def build(size: str, seed: int, device: str) -> LlamaForCausalLM:
    hidden, intermediate, layers, heads, kv_heads = SIZES[size]
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=8192,
        tie_word_embeddings=size not in ("8b", "30b"),
        attn_implementation="eager",  # plain matrix products: the same bits every time
        initializer_range=0.05,  # larger than usual: random weights then do not settle on one token
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    return model.eval()


class Engine:
    """Greedy decoding, one token a step; the caller decides in which thread."""

    def __init__(self, *, model: LlamaForCausalLM, device: str) -> None:
        self.model = model
        self.device = device

    @torch.inference_mode()
    def decode(self, prompt: list[int], count: int) -> Iterator[tuple[int, str]]:
        """Yields (token, running hash of all logits so far)."""
        cache = DynamicCache()
        ids = torch.tensor([prompt], device=self.device)
        digest = hashlib.sha256()
        for _ in range(count):
            logits = self.model(input_ids=ids, past_key_values=cache, use_cache=True).logits[0, -1]
            digest.update(logits.float().cpu().numpy().tobytes())
            ids = logits.argmax().reshape(1, 1)
            yield int(ids), digest.hexdigest()[:16]


def tokens_of(prompt: object) -> list[int]:
    if isinstance(prompt, str):
        return list(prompt.encode()) or [0]
    if isinstance(prompt, list) and prompt and all(isinstance(t, int) and 0 <= t < VOCABULARY for t in prompt):
        return prompt
    raise web.HTTPBadRequest(text=json.dumps({"error": {"message": "prompt: a text or a list of token ids"}}))


def application(engine: Engine, name: str) -> web.Application:
    turn = asyncio.Lock()
    cuda_thread = ThreadPoolExecutor(1)  # one thread for ever: libraries keep handles and plans per thread

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "example"}]})

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    async def completions(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt, count = tokens_of(body.get("prompt")), int(body.get("max_tokens", 16))
        head = {"id": f"cmpl-{time.monotonic_ns()}", "object": "text_completion", "model": name}
        response = None
        if body.get("stream"):
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
        tokens: list[int] = []
        digest = ""
        loop = asyncio.get_running_loop()
        async with turn:
            steps = engine.decode(prompt, count)
            while step := await loop.run_in_executor(cuda_thread, next, steps, None):
                tokens.append(step[0])
                digest = step[1]
                if response is not None:
                    choice = {"index": 0, "text": f" {step[0]}", "finish_reason": None}
                    event = head | {"choices": [choice], "system_fingerprint": digest}
                    await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        if response is not None:
            await response.write(b"data: [DONE]\n\n")
            return response
        choice = {"index": 0, "text": "".join(f" {t}" for t in tokens), "finish_reason": "length"}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(tokens)}
        return web.json_response(head | {"choices": [choice], "usage": usage, "system_fingerprint": digest})

    app = web.Application(client_max_size=16 << 20)
    app.add_routes([web.get("/health", health), web.get("/v1/models", models)])
    app.add_routes([web.post("/v1/completions", completions)])
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="1b")
    parser.add_argument("--name", help="model name to answer to (default: the size)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    engine = Engine(model=build(args.size, args.seed, args.device), device=args.device)
    next(engine.decode([1, 2, 3], 1))  # libraries load lazily: do it before anyone waits
    web.run_app(application(engine, args.name or args.size), host=args.host, port=args.port, print=None)


if __name__ == "__main__":
    main()
