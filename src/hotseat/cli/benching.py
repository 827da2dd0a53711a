"""`hotseat bench swap`: finds or starts the workload, measures, shows and writes."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import click

from hotseat.bench import report as reports
from hotseat.bench.measure import measure
from hotseat.cli import draw
from hotseat.cli.access.find import find
from hotseat.cli.synthetic import synthetic_tree
from hotseat.daemon.wiring import Runtime, build
from hotseat.swap.port import Workload


async def run_bench(
    name: str | None,
    *,
    cycles: int,
    bare: bool,
    synthetic: tuple[int, int] | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """One measurement, shown as a table (or JSON) and written to `report`."""
    command = shlex.join(["hotseat", *sys.argv[1:]])
    async with build(warm=True) as runtime, _workload(runtime, name, synthetic) as workload:
        with draw.progress(f"measuring {workload.name}", quiet=as_json) as progress:
            measured = await measure(
                runtime,
                workload,
                cycles=cycles,
                bare=bare,
                command=command,
                tick=lambda text: progress(text, "start"),
            )
    if as_json:
        click.echo(json.dumps(reports.as_json(measured), indent=2))
    else:
        draw.table(reports.HEADINGS, reports.rows(measured), right=(3, 4, 5, 6))
        for line in reports.totals(measured):
            click.echo(line)
    if report is not None:
        page, data = reports.write(measured, report)
        draw.remark(f"written: {page}, {data}")


@asynccontextmanager
async def _workload(runtime: Runtime, name: str | None, synthetic: tuple[int, int] | None) -> AsyncIterator[Workload]:
    if synthetic is not None:
        processes, threads = synthetic
        async with synthetic_tree(partial(find, runtime), processes=processes, threads=threads) as tree:
            yield tree
    else:
        assert name is not None
        yield await find(runtime, name)
