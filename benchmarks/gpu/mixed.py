#!/usr/bin/env python3
"""Three PyTorch models in Podman containers under a mixed stream of requests: parked in turns, and stopped in turns.

    sudo python3 benchmarks/gpu/mixed.py --out results --seconds 150
    sudo python3 benchmarks/gpu/mixed.py --out results --seconds 100 --ways store,kept,stop

The same requests at the same moments, once a way through the gateway over the same containers. `park`: hotseat parks
who must make room, by the driver. `store`: the same with the interposer and a snapshot store; `kept`: the contexts stay
on the device, too. `stop`: it stops and starts them (`host_memory: {parked: 0}`), as a proxy without hot swapping does.
The largest model fits alone, the two others together. Every answer is compared with the undisturbed one, logits too.
Needs what run.py needs. Exit code 1 if a request was lost or an answer differs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import aiohttp  # noqa: E402 - the folder above is no package, so that it runs from a bare checkout
import engines as make  # noqa: E402
import turns  # noqa: E402
from engines import Engine  # noqa: E402
from lab import Lab  # noqa: E402
from store_ways import own_store  # noqa: E402

GIB = 1 << 30
PROMPTS = ([(i * 7919 + 13) % 900 for i in range(256)], [5, 4, 3, 2, 1], "Which of three engines has the seat now?")
TOKENS = 32
PATIENCE = 240.0


@dataclass(frozen=True, kw_only=True)
class Planned:
    at: float
    engine: Engine
    prompt: int
    stream: bool


@dataclass(frozen=True, kw_only=True)
class Seen:
    plan: Planned
    waited: float
    first_byte: float
    seconds: float
    swapped: bool
    error: str = ""


def plan(engines: list[Engine], *, seconds: float, rate: float, seed: int) -> list[Planned]:
    """Poisson arrivals; the models take turns in being popular, as people's work does: bursts of 10 to 30 s."""
    rng = random.Random(seed)
    out: list[Planned] = []
    at, burst_until, popular = 0.0, 0.0, engines[0]
    while True:
        at += rng.expovariate(rate)
        if at > seconds:
            return out
        if at > burst_until:
            popular, burst_until = rng.choice(engines), at + rng.uniform(10, 30)
        engine = popular if rng.random() < 0.85 else rng.choice(engines)
        out.append(Planned(at=at, engine=engine, prompt=rng.randrange(len(PROMPTS)), stream=rng.random() < 0.5))


async def replay(plans: list[Planned], references: dict[tuple[str, int], tuple[str, str | None]]) -> list[Seen]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        began = time.monotonic()

        async def one(item: Planned) -> Seen:
            await asyncio.sleep(max(0.0, began + item.at - time.monotonic()))
            return await ask(http, item, references)

        return list(await asyncio.gather(*(one(item) for item in plans)))


async def ask(http: aiohttp.ClientSession, item: Planned, references: dict[tuple[str, int], Any]) -> Seen:
    body = {"model": item.engine.model, "prompt": PROMPTS[item.prompt], "max_tokens": TOKENS, "temperature": 0,
            "stream": item.stream} | item.engine.extra  # fmt: skip
    url = f"http://127.0.0.1:{turns.GATEWAY}/v1/completions"
    began = time.monotonic()
    first, waited, swapped, error = 0.0, 0.0, False, ""
    try:
        async with http.post(url, json=body) as response:
            text, fingerprint = "", None
            async for line in response.content:
                if response.status != 200:
                    raise RuntimeError(f"{response.status}: {line[:300]!r}")
                if item.stream and not line.startswith(b"data: {"):
                    # The time waited stands in a comment where the head went out early.
                    if line.startswith(b": seated after "):
                        waited = float(line.split()[3])
                    continue
                first = first or time.monotonic() - began
                event = json.loads(line.removeprefix(b"data: "))
                if "error" in event:
                    raise RuntimeError(f"event: {event}")
                text += event["choices"][0]["text"]
                fingerprint = event.get("system_fingerprint")
            waited = max(waited, int(response.headers.get("x-hotseat-waited-ms", 0)) / 1000)
            swapped = response.headers.get("x-hotseat-swapped") == "1"
        if (text, fingerprint) != references[item.engine.name, item.prompt]:
            error = f"differs: {text[:60]!r} {fingerprint}"
    except (aiohttp.ClientError, OSError, TimeoutError, RuntimeError, ValueError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    return Seen(
        plan=item, waited=waited, first_byte=first, seconds=time.monotonic() - began, swapped=swapped, error=error
    )


def quantiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else values * 99
    return {
        "p50": round(cuts[49], 3),
        "p90": round(cuts[89], 3),
        "p99": round(cuts[98], 3),
        "max": round(max(values), 3),
    }


@contextmanager
def following(lab: Lab, path: Path) -> Iterator[None]:
    """The daemon's events, one JSON object a line."""
    with path.open("wb") as out:
        process = subprocess.Popen([*lab.hotseat, "events", "--json"], stdout=out, env=lab.environ)
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


def moves(path: Path) -> dict[str, Any]:
    """Swaps, starts and stops from the events: how many, median and total seconds."""
    begun: dict[str, tuple[str, float]] = {}
    found: dict[str, list[float]] = {}
    for line in path.read_text().splitlines():
        event = json.loads(line)
        name = event.get("workload")
        if event["kind"] == "swap":
            found.setdefault(f"swap {event['direction']}", []).append(float(event["seconds"]))
        elif event["kind"] == "phase" and event.get("phase") == "start" and event.get("status") == "start":
            begun[name] = ("cold start", event["at"])
        elif event["kind"] == "state":
            if event["state"] == "seated" and name in begun:
                what, at = begun.pop(name)
                found.setdefault(what, []).append(event["at"] - at)
            elif event["state"] == "stopped":
                found.setdefault("stop", []).append(0.0)
    return {
        what: {"times": len(values), "median_s": round(statistics.median(values), 2), "sum_s": round(sum(values), 1)}
        for what, values in sorted(found.items())
    }


def configure(lab: Lab, engines: list[Engine], *, cap: int, context: str = "restore") -> tuple[Path, Path]:
    directory = lab.out / "hotseat"
    return directory, turns.configuration(
        lab, engines, cap=cap, directory=directory, max_wait="200s", min_stay="3s", linger="500ms", context=context
    )


def run_way(lab: Lab, way: str, engines: list[Engine], plans: list[Planned], references: Any, *, cap: int) -> None:
    directory, config = configure(lab, engines, cap=cap, context="keep" if way == "kept" else "restore")
    if way == "stop":
        config.write_text(config.read_text() + "host_memory: {parked: 0}\n")
    with turns.daemon(lab, config):
        for engine in engines:  # each once, so that memory and costs are known and no load pays for a first time
            asyncio.run(replay([Planned(at=0, engine=engine, prompt=1, stream=False)], references))
        events = lab.out / f"events-{way}.jsonl"
        since = time.time()
        with following(lab, events):
            began = time.monotonic()
            seen = asyncio.run(replay(plans, references))
            wall = time.monotonic() - began
        lost = [item for item in seen if item.error]
        for item in lost[:5]:
            lab.say("lost or wrong:", item.plan.engine.name, f"at {item.plan.at:.1f} s", item.error)
        lab.check(f"{way}: no request lost, every answer identical", not lost, len(lost))
        lab.record(way, {
            "requests": len(seen), "lost_or_wrong": len(lost), "wall_s": round(wall, 1),
            "waited_s": quantiles([item.waited for item in seen]),
            "first_byte_of_streams_s": quantiles([item.first_byte for item in seen if item.plan.stream]),
            "whole_answer_s": quantiles([item.seconds for item in seen]),
            "answers_after_a_swap": sum(item.swapped for item in seen),
            "moves": moves(events),
            "swaps": turns.swap_medians(directory / "state", since=since),
            "per_model": {e.name: quantiles([item.waited for item in seen if item.plan.engine is e]) for e in engines},
        })  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=150, help="of requests, each way")
    parser.add_argument("--rate", type=float, default=0.5, help="requests a second over all models")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ways", default="park,stop", help="of park, store, kept, stop; not park beside store or kept")
    parser.add_argument("--arena", type=float, default=40, help="GiB, of the store")
    parser.add_argument("--hotseat", default=f"{sys.executable} -m hotseat")
    parser.add_argument("--rehearse", action="store_true", help="small demo engines: the script on trial")
    args = parser.parse_args()
    ways = args.ways.split(",")
    if unknown := set(ways) - {"park", "store", "kept", "stop"}:
        parser.error(f"no such way: {', '.join(sorted(unknown))}")
    by_store = bool({"store", "kept"} & set(ways))
    if by_store and "park" in ways:
        parser.error("who has the interposer goes by the store: park has a run of its own")
    lab = Lab(out=args.out, hotseat=shlex.split(args.hotseat))
    lab.describe_machine()
    if args.rehearse:
        slow = "--tokens-per-second 60"
        engines = [make.demo(f"mixed-{size}", 8050 + slot, slot, f"{12 * slot}MiB", "4MiB", slot, slow)
                   for slot, size in enumerate(("1b", "3b", "8b"), start=1)]  # fmt: skip
    else:
        engines = [make.torch(f"mixed-{size}", size, 8050 + slot, slot, slot)
                   for slot, size in enumerate(("1b", "3b", "8b"), start=1)]  # fmt: skip
    with lab.section("mixed"), ExitStack() as stack:
        if by_store:
            store = stack.enter_context(own_store(lab, arena=int(args.arena * GIB)))
            engines = [replace(engine, run=[*store.flags(), *engine.run]) for engine in engines]
            lab.record("waited_for_arena_s", store.ready())
        try:
            references, cold, used = {}, {}, []
            for engine in engines:
                before = lab.used()
                cold[engine.name] = round(engine.start(lab), 2)
                for number, prompt in enumerate(PROMPTS):
                    answer = engine.ask(prompt, tokens=TOKENS)
                    references[engine.name, number] = (answer.text, answer.fingerprint)
                used.append(lab.used() - before)
            lab.record("cold_start_s", cold)
            lab.record("gpu_bytes", dict(zip(cold, used, strict=True)))
            # The largest alone with half of the smallest beside it; the two smaller together.
            cap = max(used[2] + used[0] // 2, used[0] + used[1] + used[0] // 2)
            lab.record("cap_bytes", cap)
            plans = plan(engines, seconds=args.seconds, rate=args.rate, seed=args.seed)
            configure(lab, engines, cap=cap)
            for engine in engines[:-1]:  # those that sit over a cap when the daemon comes stay until one makes room
                lab.cli("park", "--no-daemon", f"podman:{engine.name}")
            for way in ways:
                run_way(lab, way, engines, plans, references, cap=cap)
                lab.save()
        finally:
            for engine in engines:
                lab.sh(["podman", "unpause", engine.name], ok=False)
                engine.remove(lab)
    lab.save()
    lab.say(f"checks: {lab.results['checks']}")
    for what in lab.results["wrong"]:
        lab.say("WRONG", what)
    return 1 if lab.results["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
