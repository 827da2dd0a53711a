#!/usr/bin/env python3
"""PyTorch under the interposer on one GPU: its memory out to the store and in again, beside the driver's own way.

    python3 benchmarks/gpu/interposed.py --out results --gib 32 --cycles 3 [--interposer LIBRARY]

All in one run: what the interposer costs (a launch-bound and a memory-bound call, with and without it), the pinned
rate, swaps by the store with nothing changed and with every byte changed, each with the context's checkpoint and with
the context kept, and at last the driver alone on the same process. After each swap in every integer and a CUDA graph's
results are compared.
Needs hotseat, its dependencies and PyTorch, no network, no containers. Exit code 1 if a byte differs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
SOURCE = str(HERE.parent.parent / "src")
sys.path.insert(0, SOURCE)
os.environ["PYTHONPATH"] = os.pathsep.join(path for path in (SOURCE, os.environ.get("PYTHONPATH", "")) if path)

from lab import Lab  # noqa: E402 - the folder above is no package, so that it runs from a bare checkout

from hotseat import native  # noqa: E402
from hotseat.bench.by_store.moves import Move, by_driver, by_store  # noqa: E402
from hotseat.bench.by_store.stage import CHILD, STEP, Subject, running_store, until  # noqa: E402
from hotseat.gpu.client import GpuClient  # noqa: E402
from hotseat.gpu.preload import LIBRARY  # noqa: E402
from hotseat.platforms.interposed import environment  # noqa: E402
from hotseat.store.client import StoreClient  # noqa: E402

GIB = 1 << 30
PROCESS = HERE / "interposed_process.py"


async def pinned(lab: Lab) -> None:
    subject = await Subject.run("-m", CHILD, GIB // 4, GIB // 4)
    lab.record("pinned_bytes_per_s", await subject.ask("rate"))
    await subject.end()


def row_of(move: Move) -> dict[str, Any]:
    return {"steps": move.steps, "out": move.out, "in": move.into, "moved": {"copied_out": move.moved_out.copied}}


class Table:
    """Ways of `nbytes` beside the pinned copy, whose bytes a second are `rates`."""

    HEAD = ("| way | direction | seconds | GB/s | of the pinned rate |", "|---|---|---|---|---|")

    def __init__(self, nbytes: float, rates: dict[str, float]) -> None:
        self.nbytes, self.rates = nbytes, rates

    def pinned(self) -> str:
        into, out = self.rates["to_device"] / 1e9, self.rates["to_host"] / 1e9
        return f"Pinned copy, GB/s: {into:.1f} to the device, {out:.1f} to the host."

    def row(self, way: str, direction: str, seconds: float) -> str:
        pinned = self.nbytes / self.rates["to_host" if direction == "out" else "to_device"]
        return f"| {way} | {direction} | {seconds:.3f} | {self.nbytes / seconds / 1e9:.1f} | {pinned / seconds:.0%} |"


async def measure(lab: Lab, *, gib: int, cycles: int, library: str) -> None:
    lab.record("gib", gib)
    await pinned(lab)
    gpu = GpuClient()
    await gpu.start()
    try:
        async with (
            running_store(arena=(2 * gib + 2) * GIB, threads=16) as (store, directory),
            AsyncExitStack() as ended,
        ):
            extra = environment(library, directory / "agents")
            subject = await Subject.run(PROCESS, gib, extra=extra)
            ended.push_async_callback(subject.end)
            plain = await Subject.run(PROCESS, gib)
            ended.push_async_callback(plain.end)
            speeds = []
            for _ in range(cycles):  # in turns
                speeds.append({"without": await plain.ask("speed"), "with": await subject.ask("speed")})
            lab.record("speed", speeds)
            await plain.end()
            await swaps(lab, gpu, store, subject, cycles=cycles)
    finally:
        await gpu.aclose()


async def swaps(lab: Lab, gpu: GpuClient, store: StoreClient, subject: Subject, *, cycles: int) -> None:
    await until(store, lambda status: subject.ref in status.processes)
    await subject.ask("capture")
    seed = 1
    await subject.ask("fill", seed)
    await by_store(gpu, store, subject.ref)  # the arena learns it
    for way in ("context restored", "context kept"):
        for case in ("unchanged", "changed"):
            rows = []
            for _ in range(cycles):
                if case == "changed":
                    seed += 1
                    await subject.ask("fill", seed)
                rows.append(row_of(await by_store(gpu, store, subject.ref, keep=way == "context kept")))
                wrong = [await subject.ask("check", seed), await subject.ask("replay")]
                lab.check(f"{way}, {case}: content and graph are the same", wrong == [0, 0], wrong)
            lab.record(f"{way}, {case}", rows)
    await store.localise([subject.ref], deadline=STEP)
    lab.record("driver", (await by_driver(gpu, subject.ref)).steps)
    wrong = [await subject.ask("check", seed), await subject.ask("replay")]
    lab.check("driver alone: content and graph are the same", wrong == [0, 0], wrong)


def page(lab: Lab) -> str:
    """What was measured, as Markdown; medians."""
    seen, machine = lab.results["sections"][""], lab.results["machine"]
    table = Table(seen["gib"] * GIB, seen["pinned_bytes_per_s"])
    row = table.row
    lines = [
        f"# PyTorch under the interposer, {seen['gib']} GiB",
        "",
        f"{machine['gpu']}, driver {machine['driver']}, {machine['date']}; `{machine['command']}`. Medians. "
        f"Checks: {lab.results['checks']['passed']} of {lab.results['checks']['of']}.",
        table.pinned(),
        "",
        *table.HEAD,
        row("driver alone", "out", seen["driver"]["lock"] + seen["driver"]["checkpoint"]),
        row("driver alone", "in", seen["driver"]["restore"] + seen["driver"]["unlock"]),
    ]
    cases = [f"context {way}, {case}" for way in ("restored", "kept") for case in ("unchanged", "changed")]
    for case in cases:
        lines += [
            row(f"store, {case}", way, statistics.median(one[way] for one in seen[case])) for way in ("out", "in")
        ]
    lines += ["", "| step, ms | " + " | ".join(cases) + " |", "|---|" + "---|" * len(cases)]
    for step in ("take", "lock", "checkpoint", "move_out", "restore", "move_in", "unlock", "give"):
        cells = []
        for case in cases:
            times = [one["steps"][step] for one in seen[case] if step in one["steps"]]
            cells.append(f"{statistics.median(times) * 1000:.1f}" if times else "-")
        lines.append(f"| {step} | " + " | ".join(cells) + " |")
    lines += ["", "| call | without, us | with, us |", "|---|---|---|"]
    for call in ("launch_us", "memory_us"):
        cells = [f"{statistics.median(one[way][call] for one in seen['speed']):.2f}" for way in ("without", "with")]
        lines.append(f"| {call.removesuffix('_us')}-bound | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gib", type=int, default=16, help="device memory of the process")
    parser.add_argument("--cycles", type=int, default=3, help="of each case")
    parser.add_argument("--interposer", help="the library, where it is not the one of this installation")
    args = parser.parse_args()
    lab = Lab(out=args.out, hotseat=[])
    lab.describe_machine()
    library = args.interposer or str(native.path(LIBRARY))
    asyncio.run(measure(lab, gib=args.gib, cycles=args.cycles, library=library))
    lab.save()
    (args.out / "interposed.md").write_text(page(lab))
    lab.say((args.out / "interposed.md").read_text())
    if lab.results["wrong"]:
        lab.say("WRONG", *lab.results["wrong"])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
