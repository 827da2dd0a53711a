"""Clients: whole answers, streams, embeddings, mistakes, early departures, slow readers. Each checks what it gets."""

from __future__ import annotations

import asyncio
import json
import random
import time

import aiohttp
from stage import LENGTHS, PROMPTS, Guest, Stage
from tally import Tally

HARM = 60.0
"""Seconds after we killed an engine in which its requests may fail: it must be found dead, and started."""
GRACE = 15.0
"""The same for the daemon, after it serves again: a connection that broke is noticed late."""


class Wrong(Exception):
    """An answer that nobody has an excuse for."""


class Load:
    def __init__(self, stage: Stage, tally: Tally, *, clients: int, rng: random.Random) -> None:
        self.stage = stage
        self.tally = tally
        self.clients = clients
        self.rng = rng

    async def run(self, until: float) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.clients):
                group.create_task(self._client(random.Random(self.rng.random() + number), until))

    async def _client(self, rng: random.Random, until: float) -> None:
        weights = [1 / (rank + 1) for rank in range(len(self.stage.guests))]
        kinds = {"whole": 50, "stream": 30, "leaves": 8, "embedding": 4, "slow": 3, "mistake": 5}
        while time.monotonic() < until:
            await asyncio.sleep(rng.expovariate(1 / 1.5))
            (guest,) = rng.choices(self.stage.guests, weights)
            (kind,) = rng.choices(list(kinds), list(kinds.values()))
            await self._insist(kind, guest, rng.choice(PROMPTS), rng.choice(LENGTHS))

    async def ask_once(self, guest: Guest) -> None:
        await self._insist("whole", guest, PROMPTS[0], LENGTHS[0])

    async def _insist(self, kind: str, guest: Guest, prompt: str, length: int) -> None:
        """Until it is answered, as a sensible client does after a broken connection; but only kills of ours excuse."""
        for _ in range(20):
            began = time.monotonic()
            try:
                async with asyncio.timeout(240):
                    await getattr(self, f"_{kind}")(guest, prompt, length)
            except (aiohttp.ClientError, OSError, TimeoutError, Wrong) as error:
                said = f"{type(error).__name__}: {error}"
                if (excuse := self._excuse(guest, began)) is None:
                    self.tally.fault(f"{kind} to {guest.name} after {time.monotonic() - began:.1f} s: {said[:300]}")
                    return
                self.tally.excused[excuse] += 1
                await asyncio.sleep(0.5)
            else:
                self.tally.answers[kind] += 1
                return
        self.tally.fault(f"{kind} to {guest.name}: gave up after 20 tries")

    def _excuse(self, guest: Guest, began: float) -> str | None:
        stage = self.stage
        if stage.down_since is not None or began < stage.back_at + GRACE:
            return "the daemon was killed"
        if time.monotonic() - guest.harmed_at < HARM or began < guest.harmed_at:
            return "its engine was killed"
        return None

    async def _whole(self, guest: Guest, prompt: str, length: int) -> None:
        body = {"model": guest.name, "prompt": prompt, "max_tokens": length}
        async with self.stage.http.post(f"{self.stage.gateway}/v1/completions", json=body) as response:
            data = await response.read()
            if response.status != 200:
                raise Wrong(f"status {response.status}: {data[:300]!r}")
            self._heard(response)
        self._compare(guest, prompt, length, json.loads(data)["choices"][0]["text"])

    async def _stream(self, guest: Guest, prompt: str, length: int, *, pause: float = 0.0) -> None:
        body = {"model": guest.name, "prompt": prompt, "max_tokens": length, "stream": True}
        text, done = "", False
        async with self.stage.http.post(f"{self.stage.gateway}/v1/completions", json=body) as response:
            if response.status != 200:
                raise Wrong(f"status {response.status}: {(await response.read())[:300]!r}")
            self._heard(response)
            async for line in response.content:
                if line.startswith(b"data: [DONE]"):
                    done = True
                elif line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    if "error" in event:
                        raise Wrong(f"error event: {event}")
                    text += event["choices"][0]["text"]
                    if pause:
                        await asyncio.sleep(pause)
        if not done:
            raise Wrong("the stream ended without [DONE]")
        self._compare(guest, prompt, length, text)

    async def _slow(self, guest: Guest, prompt: str, length: int) -> None:
        await self._stream(guest, prompt, length, pause=0.2)

    async def _leaves(self, guest: Guest, prompt: str, length: int) -> None:
        body = {"model": guest.name, "prompt": prompt, "max_tokens": 64, "stream": length > 8}
        try:
            async with asyncio.timeout(0.2 + length / 64):
                async with self.stage.http.post(f"{self.stage.gateway}/v1/completions", json=body) as response:
                    await response.read()
        except TimeoutError:
            return

    async def _embedding(self, guest: Guest, prompt: str, _length: int) -> None:
        body = {"model": guest.name, "input": prompt}
        async with self.stage.http.post(f"{self.stage.gateway}/v1/embeddings", json=body) as response:
            data = await response.read()
            if response.status != 200 or not json.loads(data)["data"][0]["embedding"]:
                raise Wrong(f"status {response.status}: {data[:300]!r}")

    async def _mistake(self, _guest: Guest, prompt: str, _length: int) -> None:
        body = {"model": "nobody", "prompt": prompt}
        async with self.stage.http.post(f"{self.stage.gateway}/v1/completions", json=body) as response:
            if response.status != 404:
                raise Wrong(f"an unknown model got {response.status}")

    def _heard(self, response: aiohttp.ClientResponse) -> None:
        self.tally.waits.append(int(response.headers.get("x-hotseat-waited-ms", 0)) / 1000)
        self.tally.swapped += response.headers.get("x-hotseat-swapped") == "1"

    def _compare(self, guest: Guest, prompt: str, length: int, text: str) -> None:
        if text != guest.references[prompt, length]:
            self.tally.fault(f"{guest.name} said something else: {text[:80]!r}, not "
                             f"{guest.references[prompt, length][:80]!r}")  # fmt: skip
