"""Writes benchmarks/results/DATE-simulate.md: every figure of the simulator that is told anywhere, by one command.

    python benchmarks/simulate/record.py TRACES > benchmarks/results/2026-11-24-simulate.md

TRACES: a directory with AzureLLMInferenceTrace_conv.csv.gz and AzureLLMInferenceTrace_code.csv.gz (Azure Public
Dataset, 2023). Takes two to four minutes. All figures but the run time of the first are the same on every machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

SEEDS = range(1, 11)
SWEEP = "1s,20s,60s"
MILLION = ("--gpus", "16", "--slo", "10s", "--baselines", "none")
HOW_MANY = ("--models", "24", "--how-many", "--slo", "10s", "--attainment", "99%")
AZURE = "AzureLLMInferenceTrace_{}.csv.gz"


def hotseat(*args: str, traces: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hotseat", "simulate", *args]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=traces)


def said(*args: str, traces: Path, assumptions: bool = False) -> None:
    done = hotseat(*args, traces=traces)
    print("```\n$ hotseat simulate", *args)
    print((done.stderr if assumptions else "") + done.stdout.rstrip() + "\n```\n")


def million(where: Path) -> None:
    maker = Path(__file__).with_name("make_trace.py")
    with (where / "million.csv").open("w") as file:
        subprocess.run([sys.executable, str(maker)], check=True, stdout=file)
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    said("million.csv", *MILLION, traces=where, assumptions=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begun
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"**{wall:.1f} s**, of them {cpu:.1f} s of one CPU; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} "
        "CPUs, so the wall time is an upper bound.\n"
    )


def of_seeds(kind: str, gpus: int, traces: Path) -> None:
    shares: dict[str, list[float]] = defaultdict(list)
    waits: dict[str, list[float]] = defaultdict(list)
    for seed in SEEDS:
        args = ("--models", "12", "--gpus", str(gpus), "--slo", "10s", "--compare", SWEEP, "--seed", str(seed))
        for run in json.loads(hotseat(AZURE.format(kind), *args, "--json", traces=traces).stdout)["runs"]:
            shares[run["policy"]].append(run["attained"])
            waits[run["policy"]].append(run["wait"]["p99"])
    ours = shares["hotseat"]
    for policy, theirs in shares.items():
        better, worse = (sum(sign * (a - b) > 0 for a, b in zip(ours, theirs, strict=True)) for sign in (1, -1))
        middle, wait = statistics.median(theirs), statistics.median(waits[policy])
        print(
            f"| {kind} | {gpus} | {policy} | {min(theirs) * 100:.1f} | {middle * 100:.1f} | {max(theirs) * 100:.1f} "
            f"| {wait:.1f} s | {'' if policy == 'hotseat' else f'{better} : {worse} '}|"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", type=Path)
    traces = parser.parse_args().traces
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True).stdout
    print(f"# hotseat simulate, {datetime.now(UTC):%-d %B %Y, %H:%M} UTC\n")
    print(
        f"All of it by [benchmarks/simulate/record.py](../simulate/record.py), commit {commit.strip()}. Machine: "
        f"{os.cpu_count()} virtual CPUs shared with other work, Python\n{platform.python_version()}, no GPU. "
        "Assumptions are those of [simulate.md](../../docs/simulate.md) unless an option says otherwise; the decode "
        "rate and the engine's\nwidth are assumed, not measured. Simulated figures, not measurements of a GPU: only "
        "the run time of the first was measured.\n"
    )
    print("## One million requests, 200 models, 16 GPUs\n")
    print(
        "[make_trace.py](../simulate/make_trace.py) `> million.csv` (made up: Poisson, Zipf, bursts, seed 1). Reading "
        "the file is in the time. One run.\n"
    )
    with tempfile.TemporaryDirectory() as where:
        million(Path(where))
    print("## Azure LLM inference traces, split over made-up models\n")
    print(
        'Data by Microsoft (Azure Public Dataset, CC-BY 4.0; Patel et al., "Splitwise", ISCA 2024). They name no '
        "model: split by Zipf's law (exponent 1) with\nbursts of 60 s on and 240 s off, sizes of 8, 16, 40 GiB, all "
        "drawn with seed 1.\n"
    )
    for kind in ("conv", "code"):
        trace = AZURE.format(kind)
        for gpus in ("1", "2", "4"):
            said(trace, "--models", "12", "--gpus", gpus, "--slo", "10s", "--compare", SWEEP, traces=traces)
        said(trace, *HOW_MANY, traces=traces)
    print(f"## The same with {len(SEEDS)} seeds\n")
    print(
        "One seed is one drawing of models, bursts and sizes. Share of requests in time (first token within 10 s) in "
        "%, over seeds "
        f"{SEEDS[0]} to {SEEDS[-1]};\nin how many of them hotseat (default `min_stay`) did better : worse; the rest "
        "were equal.\n"
    )
    print("| trace | GPUs | policy | worst | median | best | median of WAIT P99 | hotseat better : worse |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in ("conv", "code"):
        for count in (1, 2):
            of_seeds(kind, count, traces)


if __name__ == "__main__":
    main()
