"""One run of `hotseat bench store`: the stage, the pinned rate, the cases, the result and its files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hotseat.bench.by_store.cases import CASES, CHUNK, Plan, pinned_rates
from hotseat.bench.by_store.figures import Fact, Figure, Result, markdown
from hotseat.bench.by_store.plot import svg
from hotseat.bench.by_store.stage import set_stage
from hotseat.bench.machine import describe
from hotseat.errors import NoRoom
from hotseat.gpu.client import GpuClient
from hotseat.words import DeviceUse

BLOCK = 256 << 20
"""Bytes of one allocation, where the process has as much."""
CONTEXT = 1 << 30
"""More than a context takes on any device of today."""


async def run(plan: Plan, *, cases: Sequence[str], command: str, tick: Callable[[str], None]) -> Result:
    """`NoRoom` if the device lacks the memory, before anything is started."""
    async with GpuClient() as gpu:
        await gpu.start()
        uses = await gpu.use()
    _fits(plan, cases, uses)
    block = min(BLOCK, plan.bytes)
    threads = min(os.cpu_count() or 1, 16)
    figures: list[Figure] = []
    facts: list[Fact] = []
    async with set_stage(arena=plan.arena, block=block, threads=threads, tick=tick) as stage:
        tick("pinned copies")
        rates = await pinned_rates(stage)
        for name in cases:
            tick(name)
            found, more = await CASES[name](stage, plan, rates)
            figures += found
            facts += more
    return Result(
        command=command,
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        machine=describe(uses),
        emulated=any(use.device.emulated for use in uses),
        bytes=plan.bytes,
        rates=rates,
        figures=tuple(figures),
        facts=tuple(facts),
        checks=len(stage.checks),
        wrong=tuple(what for what, holds in stage.checks if not holds),
    )


def _fits(plan: Plan, cases: Sequence[str], uses: Sequence[DeviceUse]) -> None:
    first = uses[0]
    context = 0 if first.device.emulated else CONTEXT
    need = (plan.bytes + context) * (2 if "at-once" in cases else 1)
    if first.free_bytes < need:
        raise NoRoom(
            f"{first.device.name} has {first.free_bytes >> 20} MiB free, and this takes {need >> 20}",
            rule="a measurement takes no memory from others",
            hint="a smaller --size, or leave out the case at-once, which needs it twice",
            missing=need - first.free_bytes,
        )


def whole(nbytes: int) -> int:
    """What a process may have: ten parts, each of whole chunks."""
    return max(nbytes // (10 * CHUNK), 1) * 10 * CHUNK


def write(result: Result, stem: Path) -> tuple[Path, Path, Path]:
    """STEM.md, STEM.svg and STEM.json; the folder is made if need be."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    page, plot, data = (stem.with_name(f"{stem.name}.{kind}") for kind in ("md", "svg", "json"))
    page.write_text(markdown(result, plot=plot.name))
    plot.write_text(svg(result))
    data.write_text(json.dumps(result.as_json(), indent=2) + "\n")
    return page, plot, data
