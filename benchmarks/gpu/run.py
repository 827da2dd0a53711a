#!/usr/bin/env python3
"""Everything that hotseat claims of a real GPU, in one run, with real Podman containers.

    sudo python3 benchmarks/gpu/run.py --out results [--sections conformance,demo,torch,bench,soak,vllm]

Needs: one GPU with driver 570 or newer, Podman with its API socket at /run/podman/podman.sock, torch and transformers,
the files that `engines.py` names, and for `vllm` a vLLM installation. Every section has its own deadline, none stops
the others; results.json is written after each. Exit code 1 if any check was wrong.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import engines as make  # noqa: E402 - the folder above is no package, so that it runs from a bare checkout
import turns  # noqa: E402
from engines import Engine  # noqa: E402
from lab import Lab  # noqa: E402

GIB = 1 << 30
REHEARSAL = False
SKIP_BENCH = False
PROMPT = [(i * 7919 + 13) % 900 for i in range(1500)]
SHORT = [1, 2, 3, 4, 5]


def conformance(lab: Lab) -> None:
    report = lab.out / "conformance.json"
    text = lab.sh([sys.executable, str(HERE.parent.parent / "tests/conformance/run.py"), "--json", str(report)],
                  deadline=200, ok=False)  # fmt: skip
    lab.say(text[-6000:])
    checks = json.loads(report.read_text())
    for c in checks:
        lab.check(f"conformance {c['name']}", c["verdict"] == "pass", c)
    lab.record("conformance", {"passed": sum(c["verdict"] == "pass" for c in checks), "of": len(checks)})


def demo(lab: Lab) -> None:
    """The story with the demo engine, several GB each."""
    pair = [make.demo("demo-a", 8011, 1, "4GiB", "1GiB", 1), make.demo("demo-b", 8012, 2, "6GiB", "1GiB", 2)]
    prompt = "Tell me of two engines and one seat, at length and in order."
    run_pair(lab, pair, cap=9 * GIB, prompt=prompt, tokens=48, cycles=3, long_tokens=600, soak=0)


def torch(lab: Lab) -> None:
    pair = [make.torch("llama-1b", "1b", 8021, 3, 1), make.torch("llama-8b", "8b", 8022, 4, 2)]
    run_pair(
        lab, pair, cap=18 * GIB, prompt=PROMPT[:256], tokens=48, cycles=3, long_tokens=400, soak=0, bench="llama-8b"
    )


def soak(lab: Lab) -> None:
    pair = [make.torch("soak-1b", "1b", 8031, 5, 3), make.demo("soak-demo", 8032, 6, "1GiB", "256MiB", 4)]
    run_pair(lab, pair, cap=4 * GIB, prompt=SHORT, tokens=16, cycles=1, long_tokens=0, soak=50)


def bench(lab: Lab) -> None:
    """hotseat's own part: 10 CUDA processes, 300 threads."""
    report = lab.cli("bench", "swap", "--synthetic", "10", "300", "--cycles", "5", deadline=240)
    lab.record("synthetic_10_300", report)


def vllm(lab: Lab) -> None:
    pair = [make.vllm("vllm-1b", "1b", 8041, 7, 0.10), make.vllm("vllm-3b", "3b", 8042, 8, 0.20)]
    run_pair(lab, pair, cap=34 * GIB, prompt=PROMPT, tokens=48, cycles=3, long_tokens=1500, soak=0, warm=True)


def run_pair(
    lab: Lab, pair: list[Engine], *, cap: int, prompt, tokens: int, cycles: int, long_tokens: int, soak: int,
    warm: bool = False, bench: str = "",
) -> None:  # fmt: skip
    directory = lab.out / f"hotseat-{lab.section_name}"
    try:
        cold = {}
        reference, longs = {}, {}
        for e in pair:  # each alone first: the undisturbed run
            cold[e.name] = round(e.start(lab), 2)
            first = e.ask(prompt, tokens=tokens)
            again = e.ask(prompt, tokens=tokens)
            reference[e.name] = (again.text, again.fingerprint)
            if not warm:  # an engine that answers differently by itself would be no oracle
                lab.check(f"{e.name} repeats itself undisturbed", (first.text, first.fingerprint) == reference[e.name])
            if long_tokens:
                longs[e.name] = e.ask(SHORT, tokens=long_tokens).text
            times = {"prompt_s": round(first.seconds, 3), "again_s": round(again.seconds, 3)}
            lab.record(f"undisturbed_{e.name}", times | {"cached_tokens": again.cached_tokens})
        lab.record("cold_start_s", cold)
        lab.record("gpu_bytes_both_seated", lab.used())
        cap = cap if not REHEARSAL else int(lab.used() * 0.8)
        config = turns.configuration(lab, pair, cap=cap, directory=directory)
        # Without a daemon: the command alone parks a running container that hotseat did not start.
        lab.record("park_without_daemon", lab.cli("park", "--no-daemon", f"podman:{pair[1].name}"))
        lab.check(f"podman: {pair[1].name} Paused", pair[1].paused(lab), pair[1].status(lab))
        with turns.daemon(lab, config) as process:
            lab.record("ps_at_start", lab.cli("ps"))
            turns.take_turns(lab, pair, reference, prompt=prompt, tokens=tokens, cycles=cycles)
            lab.save()
            if long_tokens:
                first, second = pair[1], pair[0]
                turns.frozen_mid_answer(lab, first, second, prompt=SHORT, tokens=long_tokens,
                                        undisturbed=longs[first.name], short=SHORT)  # fmt: skip
                lab.save()
            if soak:
                turns.soak(lab, process.pid, pair, reference, prompt=prompt, tokens=tokens, swaps=soak)
            lab.record("swaps", turns.swap_medians(directory / "state"))
            lab.record("ps_at_end", lab.cli("ps"))
        if bench and not SKIP_BENCH:
            for e in pair:
                if e.name != bench:
                    lab.cli("park", "--no-daemon", f"podman:{e.name}", ok=False)
            lab.record("bench", lab.cli("bench", "swap", f"podman:{bench}", "--cycles", "3", "--bare", deadline=240))
            answer = next(e for e in pair if e.name == bench).ask(prompt, tokens=tokens)
            lab.check("answer identical after bench", (answer.text, answer.fingerprint) == reference[bench])
    finally:
        for e in pair:
            e.remove(lab)
    left = lab.wait("the device is empty", lambda: lab.used() < 100 << 20, deadline=10)
    lab.record("gpu_bytes_at_the_end", {"used": lab.used(), "after_s": round(left, 2)})


SECTIONS: dict[str, Callable[[Lab], None]] = {
    "conformance": conformance, "demo": demo, "torch": torch, "bench": bench, "soak": soak, "vllm": vllm,
}  # fmt: skip


def rehearse() -> None:
    """Every container becomes a small demo engine, so that the script itself can be tried on the emulated driver."""
    global REHEARSAL  # noqa: PLW0603 - the sections read it when they run
    REHEARSAL = True

    def small(name: str, port: int, slot: int, *_: object) -> Engine:
        return real(name, port, slot, f"{24 + slot * 8}MiB", "8MiB", slot, "--tokens-per-second 400")

    real = make.demo
    make.demo = small
    make.torch = lambda name, _size, port, slot, _seed: small(name, port, slot)
    make.vllm = lambda name, _size, port, slot, _share: small(name, port, slot)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--hotseat", default=f"{sys.executable} -m hotseat")
    parser.add_argument("--budget", type=float, default=560, help="seconds; a section is not begun after this")
    parser.add_argument("--rehearse", action="store_true", help="small demo engines everywhere: the script on trial")
    parser.add_argument("--no-bench", action="store_true", help="leave `hotseat bench swap --bare` out of `torch`")
    args = parser.parse_args()
    global SKIP_BENCH  # noqa: PLW0603 - the sections read it when they run
    SKIP_BENCH = args.no_bench
    if args.rehearse:
        rehearse()
    lab = Lab(out=args.out, hotseat=shlex.split(args.hotseat))
    lab.describe_machine()
    for name in args.sections.split(","):
        if time.monotonic() - lab.started > args.budget:
            lab.say("no time left for", name)
            continue
        with lab.section(name):
            SECTIONS[name](lab)
    lab.save()
    lab.say(f"checks: {lab.results['checks']}")
    for what in lab.results["wrong"]:
        lab.say("WRONG", what)
    return 1 if lab.results["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
