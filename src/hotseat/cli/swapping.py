"""What park, seat and swap have in common: reach the workloads, show the phase, show the report."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

import click

from hotseat.cli import draw, view
from hotseat.cli.access.choose import open_access
from hotseat.cli.access.port import Access
from hotseat.swap.port import Progress
from hotseat.words import SwapReport

Swap = Callable[[Access, Progress], Awaitable[SwapReport | Sequence[SwapReport]]]


def run_swap(
    swap: Swap,
    *,
    title: str,
    as_json: bool,
    verbose: bool,
    control: str | None,
    no_daemon: bool,
    several: bool = False,
) -> None:
    """Do it and show it. With --json one object, or with `several` a list of them."""

    async def go() -> list[SwapReport]:
        async with open_access(control=control, no_daemon=no_daemon, quiet=as_json, swaps=True) as access:
            with draw.progress(title, verbose=verbose, quiet=as_json) as progress:
                done = await swap(access, progress)
        return [done] if isinstance(done, SwapReport) else list(done)

    reports = asyncio.run(go())
    if as_json:
        data = [view.report_json(report) for report in reports]
        click.echo(json.dumps(data if several else data[0], indent=2))
        return
    for report in reports:
        show(report)


def show(report: SwapReport) -> None:
    """The phase table and one sentence."""
    if report.phases:
        draw.table(["PHASE", "PART", "TIME", "RATE"], view.phase_rows(report), right=(2, 3))
    click.echo(view.summary(report))
