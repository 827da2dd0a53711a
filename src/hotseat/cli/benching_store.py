"""`hotseat bench store`: what was asked as a plan, the run, its table and files."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from hotseat.bench.by_store import figures
from hotseat.bench.by_store.cases import CASES, Plan, whole
from hotseat.bench.by_store.figures import Result
from hotseat.bench.by_store.run import run, write
from hotseat.cli import draw
from hotseat.config.units import parse_size
from hotseat.errors import UsageError

USUAL, QUICK = 16 << 30, 640 << 20


def plan(
    *, size: str | None, pair: str | None, large: str | None, cycles: int | None, swaps: int | None, quick: bool
) -> Plan:
    """`UsageError` for what is no size."""

    def parsed(text: str | None, otherwise: int) -> int:
        try:
            return whole(parse_size(text)) if text is not None else otherwise
        except ValueError as error:
            raise UsageError(str(error)) from error

    nbytes = parsed(size, whole(QUICK if quick else USUAL))
    return Plan(
        bytes=nbytes,
        pair=parsed(pair, nbytes),
        large=parsed(large, nbytes),
        cycles=cycles or (1 if quick else 3),
        swaps=swaps or (10 if quick else 200),
    )


async def run_bench(
    *,
    size: str | None,
    pair: str | None,
    large: str | None,
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
    wanted = plan(size=size, pair=pair, large=large, cycles=cycles, swaps=swaps, quick=quick)
    command = shlex.join(["hotseat", *sys.argv[1:]])
    began = time.monotonic()

    def so_far(result: Result) -> None:
        if not sys.stderr.isatty():
            draw.remark(f"{result.figures[-1].case if result.figures else ''}: done, {time.monotonic() - began:.0f} s")
        if report is not None:
            write(result, report)

    with draw.progress("measuring the store", quiet=as_json) as progress:
        result = await run(
            wanted,
            cases=[name for name in CASES if not cases or name in cases],
            command=command,
            tick=lambda text: progress(text, "start"),
            so_far=so_far,
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
