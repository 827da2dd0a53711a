"""`hotseat bench store`: what was asked as a plan, the run, its table and files."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from hotseat.bench.by_store import figures
from hotseat.bench.by_store.cases import CASES, Plan
from hotseat.bench.by_store.run import run, whole, write
from hotseat.cli import draw
from hotseat.config.units import parse_size
from hotseat.errors import UsageError

USUAL = Plan(bytes=16 << 30, cycles=3, swaps=200)
QUICK = Plan(bytes=640 << 20, cycles=1, swaps=10)


def plan(*, size: str | None, cycles: int | None, swaps: int | None, quick: bool) -> Plan:
    """`UsageError` for what is no size."""
    usual = QUICK if quick else USUAL
    try:
        nbytes = whole(parse_size(size)) if size is not None else usual.bytes
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Plan(bytes=nbytes, cycles=cycles or usual.cycles, swaps=swaps or usual.swaps)


async def run_bench(
    *,
    size: str | None,
    cycles: int | None,
    swaps: int | None,
    cases: Sequence[str],
    quick: bool,
    report: Path | None,
    as_json: bool,
) -> int:
    """The exit code."""
    if unknown := set(cases) - set(CASES):
        raise UsageError(f"no case {', '.join(sorted(unknown))}", hint=f"there are {', '.join(CASES)}")
    wanted = plan(size=size, cycles=cycles, swaps=swaps, quick=quick)
    command = shlex.join(["hotseat", *sys.argv[1:]])
    with draw.progress("measuring the store", quiet=as_json) as progress:
        result = await run(
            wanted,
            cases=[name for name in CASES if not cases or name in cases],
            command=command,
            tick=lambda text: progress(text, "start"),
        )
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2))
    else:
        draw.table(figures.HEADINGS, figures.rows(result), right=(2, 3, 4, 5, 6))
        for line in figures.sentences(result):
            click.echo(line)
    if report is not None:
        draw.remark(f"written: {', '.join(map(str, write(result, report)))}")
    return int(bool(result.wrong))
