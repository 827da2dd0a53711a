#!/usr/bin/env python3
"""Real engines in Podman containers: swapped by the store, the driver and their own sleep, beside their cold start.

    sudo python3 benchmarks/gpu/engines_store.py --out results --engines vllm-3b,torch-30b,llama

Each engine runs twice, one after the other: plain (cold start, driver, for vLLM sleep level 1 and both together), then
with the interposer beside a store of its own (context kept, context restored). Every step has a deadline, no engine
stops the others; results.json is written after each step, engines.md at the end. Needs what run.py needs, for `llama`
the variable LLAMA_SERVER. Exit code 1 if an answer differs or anything else is not as claimed.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import engines as make  # noqa: E402 - the folder above is no package, so that it runs from a bare checkout
import store_ways  # noqa: E402
from engines import Engine  # noqa: E402
from lab import Lab  # noqa: E402
from store_page import page  # noqa: E402
from store_ways import GIB, OwnStore, Subject, own_store  # noqa: E402

SLOW = 20.0
"""Seconds out and in from which one cycle of the driver is enough."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    make: Callable[[bool], Engine]
    """Told whether it will be interposed."""
    arena: float
    """GiB; what its KV cache is filled with comes on top."""
    decode: int = 256
    sleeps: bool = False
    kv: float = 0
    """GiB of KV cache."""
    kv_token: int = 0
    """Bytes of it a token."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    cycles: int
    fill: float
    arena: float
    sleep_beside_store: bool = True
    no_driver: tuple[str, ...] = ()

    def filled(self, plan: Plan) -> int:
        """Tokens."""
        return int(self.fill * plan.kv * GIB / plan.kv_token) if plan.kv_token else 0

    def arena_bytes(self, plan: Plan) -> int:
        gib = self.arena or plan.arena + 1.5 * self.fill * plan.kv
        return int(gib * GIB) // (2 << 20) * (2 << 20)


def plans(settings: Settings) -> dict[str, Plan]:
    def sleep(interposed: bool) -> bool:
        return not interposed or settings.sleep_beside_store

    return {
        "vllm-3b": Plan(make=lambda i: make.vllm("vllm-3b", "3b", 8101, 1, 0.57, sleep=sleep(i)), arena=20,
                        sleeps=True, kv=70, kv_token=28 * 8 * 128 * 2 * 2),
        "vllm-8b": Plan(make=lambda i: make.vllm("vllm-8b", "8b", 8102, 2, 0.63, sleep=sleep(i)), arena=30,
                        sleeps=True, kv=70, kv_token=32 * 8 * 128 * 2 * 2),
        "torch-1b": Plan(make=lambda _: make.torch("torch-1b", "1b", 8103, 3, 1), arena=6, decode=128),
        "torch-8b": Plan(make=lambda _: make.torch("torch-8b", "8b", 8104, 4, 2), arena=20, decode=96),
        "torch-30b": Plan(make=lambda _: make.torch("torch-30b", "30b", 8105, 5, 3), arena=70, decode=48),
        "llama": Plan(make=lambda _: make.llama("llama", 8106, 6), arena=8),
    }  # fmt: skip


def run_engine(lab: Lab, plan: Plan, settings: Settings) -> None:
    ways: dict[str, list[dict]] = {}
    lab.record("ways", ways)
    with part(lab, "plain"):
        plain(lab, plan, settings, ways)
    with part(lab, "interposed"):
        interposed(lab, plan, settings, ways)


@contextmanager
def part(lab: Lab, name: str) -> Iterator[None]:
    """One half may fail without the other."""
    try:
        yield
    except Exception as error:
        lab.check(f"{name}: ran to the end ({type(error).__name__}: {str(error)[:1200]})", False)
    lab.save()


@contextmanager
def running(lab: Lab, plan: Plan, name: str, ways: dict, store: OwnStore | None = None) -> Iterator[Subject]:
    """Started, measured undisturbed; removed at the end, when what the device still holds is looked at."""
    engine = plan.make(store is not None)
    if store is not None:
        engine = replace(engine, run=[*store.flags(), *engine.run])
    subject = Subject(lab=lab, engine=engine, decode=plan.decode, store=store, rows=ways)
    lab.record(name, subject.facts)
    try:
        subject.facts["cold_start_s"] = engine.start(lab)
        lab.save()
        subject.settle()
        subject.facts["gpu_bytes"] = lab.used()
        lab.record(name, subject.facts)
        lab.save()
        yield subject
        subject.facts["tokens_per_s_after"] = subject.speed()
    except Exception:
        lab.say(lab.sh(["sh", "-c", f"podman logs --tail 60 {engine.name} 2>&1"], ok=False)[-6000:])
        raise
    finally:
        engine.remove(lab)
        time.sleep(2 * store_ways.SETTLE)
        subject.facts["without_it"] = lab.used()
        lab.record(name, subject.facts)


def plain(lab: Lab, plan: Plan, settings: Settings, ways: dict) -> None:
    with running(lab, plan, "plain", ways) as subject:
        if plan.sleeps:
            with subject.attempt("sleep level 1"):
                subject.sleep("sleep level 1, first time")
                for _ in range(settings.cycles):
                    subject.sleep()
            with subject.attempt("sleep, then driver"):
                for _ in range(settings.cycles):
                    subject.sleep_then_driver()
        if subject.engine.name not in settings.no_driver:
            with subject.attempt("driver"):
                for _ in range(settings.cycles):
                    if subject.driver() > SLOW:
                        break


def interposed(lab: Lab, plan: Plan, settings: Settings, ways: dict) -> None:
    with (
        own_store(lab, arena=settings.arena_bytes(plan)) as store,
        running(lab, plan, "interposed", ways, store) as subject,
    ):
        before = lab.results["sections"][lab.section_name].get("plain", {}).get("reference")
        if before is not None:
            lab.check("with the interposer it says the same", subject.reference == before, (subject.reference, before))
        subject.facts["waited_for_arena_s"] = store.ready()
        subject.facts["arena_bytes"] = store.status().arena
        subject.facts["processes"] = [ref.pid for ref in subject.refs()]
        with subject.attempt("store, context kept"):
            subject.kept("store, context kept, first time")
            for _ in range(settings.cycles):
                subject.kept("store, context kept")
        with subject.attempt("store, context restored"):
            for _ in range(settings.cycles):
                subject.restored("store, context restored")
        if plan.kv:
            with subject.attempt("store, with a filled KV cache"):
                began = time.perf_counter()
                subject.facts["filled_tokens"] = subject.fill(settings.filled(plan), seed=1)
                subject.facts["fill_s"] = time.perf_counter() - began
                subject.ask(store_ways.PROMPT, tokens=1)
                subject.kept("store, context kept, KV cache just filled")
                for _ in range(settings.cycles):
                    subject.kept("store, context kept, KV cache filled")
                for _ in range(settings.cycles):
                    subject.restored("store, context restored, KV cache filled")
        with subject.attempt("store, after more work"):
            if plan.kv:
                subject.fill(settings.filled(plan) // 4, seed=2, within=15)
            else:
                subject.speed()
            subject.kept("store, context kept, after more work")
        subject.facts["store_at_end"] = {"used": store.status().used, "cached": store.status().cached}


def rehearse() -> None:
    """Every container becomes a small demo engine, so that the script itself can be tried on the emulated driver."""

    def small(name: str, port: int, slot: int) -> Engine:
        return make.demo(name, port, slot, f"{24 + slot * 8}MiB", "8MiB", slot, "--tokens-per-second 400")

    make.torch = lambda name, _size, port, slot, _seed: small(name, port, slot)
    make.vllm = lambda name, _size, port, slot, _share, *, sleep: small(name, port, slot)
    make.llama = small
    store_ways.post = lambda _port, _path, **_: 200  # demo engines cannot sleep


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--engines", default="vllm-3b,vllm-8b,torch-1b,torch-8b,torch-30b,llama")
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--fill", type=float, default=0.25, help="share of vLLM's KV cache that is filled")
    parser.add_argument("--arena", type=float, default=0, help="GiB (usual: by the engine)")
    parser.add_argument("--no-sleep-beside-store", action="store_true", help="vLLM without sleep mode when interposed")
    parser.add_argument("--no-driver", default="", metavar="ENGINES", help="these are not parked by the driver alone")
    parser.add_argument("--hotseat", default=f"{sys.executable} -m hotseat")
    parser.add_argument("--budget", type=float, default=540, help="seconds; an engine is not begun after this")
    parser.add_argument("--rehearse", action="store_true", help="small demo engines everywhere: the script on trial")
    args = parser.parse_args()
    settings = Settings(
        cycles=args.cycles,
        fill=args.fill,
        arena=args.arena,
        sleep_beside_store=not args.no_sleep_beside_store,
        no_driver=tuple(args.no_driver.split(",")),
    )
    known = plans(settings)
    names = args.engines.split(",")
    if unknown := set(names) - set(known):
        parser.error(f"no such engine: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if args.rehearse:
        rehearse()
        settings = replace(settings, fill=1e-5, arena=settings.arena or 0.25)  # one prompt
    lab = Lab(out=args.out, hotseat=shlex.split(args.hotseat))
    lab.describe_machine()
    for name in names:
        if time.monotonic() - lab.started > args.budget:
            lab.say("no time left for", name)
            continue
        with lab.section(name):
            run_engine(lab, known[name], settings)
    lab.save()
    text = page(lab.results)
    (args.out / "engines.md").write_text(text)
    lab.say("\n" + text)
    return 1 if lab.results["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
