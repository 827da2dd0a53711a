#!/usr/bin/env python3
"""The snapshot store on one GPU: a process of N GiB out and in, beside the pinned copy rate and the driver's own way.

    python3 benchmarks/gpu/store.py --out results --gib 16 --cycles 3

All in one run: first the pinned rate, then the driver's checkpoint and restore of the same bytes without a store, then
by the store: with every byte changed before each swap, and with none changed. After each swap in the content is
compared, byte by byte. The process is a ctypes program that speaks hs_store.h itself, in the place of the interposer.
Needs hotseat and its dependencies, no network, no containers. Exit code 1 if a byte differs or a step fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent.parent / "src"))

from lab import Lab  # noqa: E402 - the folder above is no package, so that it runs from a bare checkout

from hotseat.gpu.client import GpuClient  # noqa: E402
from hotseat.gpu.procfs import start_time  # noqa: E402
from hotseat.store.client import StoreClient  # noqa: E402
from hotseat.words import ProcessRef  # noqa: E402

T = TypeVar("T")
GIB = 1 << 30
STEP = 60.0
"""Seconds that any one step may take."""


class Subject:
    """A child that is told what to do line by line: store_process.py, or interposed_process.py."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.ref = ProcessRef(process.pid, start_time(process.pid) or 0)

    @classmethod
    async def start(cls, socket: str, *, blocks: int, block_bytes: int) -> Subject:
        return await cls.run("store_process.py", socket, blocks, block_bytes)

    @classmethod
    async def run(cls, script: str, *arguments: object, extra: dict[str, str] | None = None) -> Subject:
        """`extra`: of its environment. Returns when it is ready."""
        argv = [sys.executable, str(HERE / script), *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = await asyncio.create_subprocess_exec(*argv, env=environ() | (extra or {}), **pipes)
        subject = cls(process)
        await subject.line()
        return subject

    async def line(self) -> Any:
        assert self.process.stdout is not None
        async with asyncio.timeout(STEP):
            said = await self.process.stdout.readline()
        if not said:
            raise RuntimeError(f"the process ended with {await self.process.wait()}")
        return json.loads(said)

    async def ask(self, *words: object) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        return await self.line()

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


class Clock:
    """Seconds of each step of one cycle."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}

    async def of(self, name: str, work: Awaitable[T]) -> T:
        began = time.perf_counter()
        async with asyncio.timeout(STEP):
            done = await work
        self.steps[name] = time.perf_counter() - began
        return done


def environ() -> dict[str, str]:
    paths = [str(HERE.parent.parent / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


async def by_driver(gpu: GpuClient, subject: Subject) -> dict[str, float]:
    clock, refs = Clock(), [subject.ref]
    await clock.of("lock", gpu.lock(refs, timeout=10))
    await clock.of("checkpoint", gpu.checkpoint(refs, deadline=STEP))
    await clock.of("restore", gpu.restore(refs, deadline=STEP))
    await clock.of("unlock", gpu.unlock(refs, deadline=10))
    return clock.steps


async def by_store(lab: Lab, gpu: GpuClient, store: StoreClient, subject: Subject) -> dict[str, Any]:
    """One out and in, as the swap does it. `out` and `in` are from the first step to the last of each direction."""
    clock, refs, seen = Clock(), [subject.ref], {}
    seen["own_bytes_before"] = lab.used_by({subject.ref.pid})
    began = time.perf_counter()
    await clock.of("take", store.take(refs, deadline=STEP))
    seen["own_bytes_taken"] = lab.used_by({subject.ref.pid})
    await clock.of("lock", gpu.lock(refs, timeout=10))
    both = asyncio.gather(
        clock.of("checkpoint", gpu.checkpoint(refs, deadline=STEP)),
        clock.of("move_out", store.move_out(refs, deadline=STEP)),
    )
    _, moved_out = await both
    out = time.perf_counter() - began
    seen["used_while_parked"] = lab.used()
    began = time.perf_counter()
    both = asyncio.gather(
        clock.of("restore", gpu.restore(refs, deadline=STEP)),
        clock.of("move_in", store.move_in(refs, deadline=STEP)),
    )
    _, moved_in = await both
    await clock.of("unlock", gpu.unlock(refs, deadline=10))
    await clock.of("give", store.give(refs, deadline=STEP))
    into = time.perf_counter() - began
    moves = {"copied_out": moved_out.copied, "unchanged": moved_out.unchanged, "copied_in": moved_in.copied}
    return {"steps": clock.steps, "out": out, "in": into, "moved": moves, "nvml": seen}


async def measure(lab: Lab, *, nbytes: int, block_bytes: int, cycles: int, arena: int) -> None:
    gpu = GpuClient(environ=environ())
    shape = {"blocks": nbytes // block_bytes, "block_bytes": block_bytes}
    lab.record("bytes", shape["blocks"] * block_bytes)
    try:
        with lab.section("driver"):
            subject = await Subject.start("-", **shape)
            try:
                await gpu.start()
                lab.record("pinned_bytes_per_s", await subject.ask("rate"))
                rows = []
                for cycle in range(2):
                    await subject.ask("fill", cycle + 1)
                    rows.append(await by_driver(gpu, subject))
                    wrong = await subject.ask("check", cycle + 1)
                    lab.check("content is the same after the driver's way", wrong == 0, wrong)
                lab.record("cycles", rows)
            finally:
                await subject.end()
        with lab.section("store"):
            async with running_store(lab, arena=arena) as (store, directory):
                await with_store(lab, gpu, store, directory, shape=shape, cycles=cycles)
    finally:
        await gpu.aclose()


@asynccontextmanager
async def running_store(lab: Lab, *, arena: int) -> AsyncIterator[tuple[StoreClient, Path]]:
    """A store whose arena is ready, and its directory."""
    with tempfile.TemporaryDirectory(prefix="hotseat-store-") as directory:
        argv = [sys.executable, "-m", "hotseat.store", f"--arena={arena}", f"--directory={directory}", "--threads=16"]
        keeper = await asyncio.create_subprocess_exec(*argv, env=environ())
        store = StoreClient(Path(directory) / "control.sock")
        try:
            began = time.monotonic()
            await until(store, lambda status: status.running and status.ready == status.arena)
            lab.record("arena_ready_s", round(time.monotonic() - began, 2))
            yield store, Path(directory)
        finally:
            keeper.terminate()
            async with asyncio.timeout(STEP):
                await keeper.wait()


async def with_store(
    lab: Lab, gpu: GpuClient, store: StoreClient, directory: Path, *, shape: dict[str, int], cycles: int
) -> None:
    subject = await Subject.start(str(directory / "agents/store.sock"), **shape)
    try:
        await until(store, lambda status: subject.ref in status.processes)
        for case in ("changed", "unchanged"):
            rows = []
            for cycle in range(cycles):
                seed = 100 + cycle if case == "changed" else 1000
                if case == "changed" or cycle == 0:
                    await subject.ask("fill", seed)
                if case == "unchanged" and cycle == 0:
                    await by_store(lab, gpu, store, subject)  # the arena learns it
                rows.append(await by_store(lab, gpu, store, subject))
                wrong = await subject.ask("check", seed)
                lab.check(f"{case}: content is the same", wrong == 0, wrong)
            lab.record(case, rows)
    finally:
        await subject.end()


async def until(store: StoreClient, true: Any) -> None:
    async with asyncio.timeout(STEP):
        while True:
            if true(await store.status(deadline=STEP)):
                return
            await asyncio.sleep(0.05)


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


def page(lab: Lab) -> str:
    """What was measured, as Markdown; medians."""
    sections, machine = lab.results["sections"], lab.results["machine"]
    nbytes = sections[""]["bytes"]
    table = Table(nbytes, sections["driver"]["pinned_bytes_per_s"])
    row = table.row
    lines = [
        f"# The snapshot store, {nbytes / GIB:g} GiB",
        "",
        f"{machine['gpu']}, driver {machine['driver']}, {machine['date']}. Medians. Checks: {lab.results['checks']}.",
        table.pinned(),
        "The process speaks the store's protocol itself, in the place of the interposer.",
        "",
        *table.HEAD,
    ]
    driver = sections["driver"]["cycles"]
    lines.append(row("driver", "out", statistics.median(one["lock"] + one["checkpoint"] for one in driver)))
    lines.append(row("driver", "in", statistics.median(one["restore"] + one["unlock"] for one in driver)))
    for case in ("changed", "unchanged"):
        cycles = sections["store"][case]
        lines += [row(f"store, {case}", way, statistics.median(one[way] for one in cycles)) for way in ("out", "in")]
    lines += ["", "| step by the store, ms | changed | unchanged |", "|---|---|---|"]
    for step in sections["store"]["changed"][0]["steps"]:
        cells = [statistics.median(one["steps"][step] for one in sections["store"][case]) * 1000 for case in
                 ("changed", "unchanged")]  # fmt: skip
        lines.append(f"| {step} | {cells[0]:.1f} | {cells[1]:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gib", type=float, default=16, help="device memory of the process")
    parser.add_argument("--block-mib", type=int, default=256, help="of one block")
    parser.add_argument("--cycles", type=int, default=3, help="of each case")
    parser.add_argument("--arena-gib", type=float, help="by default twice the process and one more")
    args = parser.parse_args()
    lab = Lab(out=args.out, hotseat=[])
    lab.describe_machine()
    nbytes = int(args.gib * GIB)
    arena = int((args.arena_gib or 2 * args.gib + 1) * GIB)
    asyncio.run(measure(lab, nbytes=nbytes, block_bytes=args.block_mib << 20, cycles=args.cycles, arena=arena))
    lab.save()
    lab.say(f"checks: {lab.results['checks']}")
    if lab.results["wrong"]:
        lab.say("WRONG", *lab.results["wrong"])
        return 1
    (args.out / "store.md").write_text(page(lab))
    lab.say((args.out / "store.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
