"""One run of `hotseat bench store`: the stage, the pinned rate, the cases, the result and its files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hotseat.bench.by_store.cases import ALONE, CASES, Plan, Rates, pinned_rates
from hotseat.bench.by_store.figures import Fact, Figure, Result, markdown
from hotseat.bench.by_store.plot import svg
from hotseat.bench.by_store.stage import set_stage
from hotseat.bench.machine import describe
from hotseat.errors import NoRoom
from hotseat.gpu.client import GpuClient
from hotseat.store.spare import spare_bytes
from hotseat.words import DeviceUse

BLOCK = 1 << 30
"""Bytes of one allocation, where the process has as much."""
SETTLE = 0.5
"""Seconds. An H200 clears 100 GiB in less."""
CONTEXT = 1 << 30
"""More than a context takes on any device of today."""


async def run(
    plan: Plan, *, cases: Sequence[str], command: str, tick: Callable[[str], None], so_far: Callable[[Result], None]
) -> Result:
    """`so_far` gets what there is after each case. `NoRoom` if the device or the host lacks the memory, before anything
    is started."""
    async with GpuClient() as gpu:
        await gpu.start()
        uses = await gpu.use()
    arena = plan.arena(cases) if set(cases) - set(ALONE) else 0
    _fits(plan, cases, uses, arena=arena)
    block = min(BLOCK, plan.bytes)
    emulated = any(use.device.emulated for use in uses)
    settle, context = (0.0, 0) if emulated else (SETTLE, CONTEXT)
    figures: list[Figure] = []
    facts: list[Fact] = []
    checks: list[tuple[str, bool]] = []
    rates: Rates = {}

    def result() -> Result:
        return Result(
            command=command,
            date=time.strftime("%Y-%m-%d", time.gmtime()),
            machine=describe(uses),
            emulated=emulated,
            bytes=plan.bytes,
            rates=rates,
            figures=tuple(figures),
            facts=tuple(facts),
            checks=len(checks),
            wrong=tuple(what for what, holds in checks if not holds),
        )

    # Those without a store come first: the driver takes as much of the host's memory as the arena would.
    for nbytes, some in ((0, [name for name in cases if name in ALONE]), (arena, [n for n in cases if n not in ALONE])):
        async with set_stage(arena=nbytes, block=block, settle=settle, context=context, tick=tick) as stage:
            if not rates:
                tick("pinned copies")
                rates = await pinned_rates(stage)
            for name in some:
                tick(name)
                found, more = await CASES[name](stage, plan, rates)
                figures += found
                facts += more
                checks += stage.checks
                stage.checks.clear()
                so_far(result())
    return result()


def _fits(plan: Plan, cases: Sequence[str], uses: Sequence[DeviceUse], *, arena: int) -> None:
    rule = "a measurement takes no memory from others"
    first = uses[0]
    need = plan.device(cases, context=0 if first.device.emulated else CONTEXT)
    if first.free_bytes < need:
        raise NoRoom(
            f"{first.device.name} has {first.free_bytes >> 20} MiB free, and this takes {need >> 20}",
            rule=rule,
            hint="smaller sizes (--size, --pair, --large), or leave out at-once and full, which need theirs twice",
            missing=need - first.free_bytes,
        )
    host = max(arena, plan.bytes if "driver" in cases else 0)
    if (spare := spare_bytes()) < host:
        raise NoRoom(
            f"the host has {spare >> 20} MiB to spare, and this takes {host >> 20}",
            rule=rule,
            hint="smaller sizes (--size, --pair, --large), or fewer cases (--case)",
            missing=host - spare,
        )


def write(result: Result, stem: Path) -> tuple[Path, Path, Path]:
    """STEM.md, STEM.svg and STEM.json; the folder is made if need be."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    page, plot, data = (stem.with_name(f"{stem.name}.{kind}") for kind in ("md", "svg", "json"))
    page.write_text(markdown(result, plot=plot.name))
    plot.write_text(svg(result))
    data.write_text(json.dumps(result.as_json(), indent=2) + "\n")
    return page, plot, data
