"""hotseat bench swap"""

from __future__ import annotations

from pathlib import Path

import click

from hotseat.cli import options


@click.group(epilog="Example: hotseat bench swap llama --cycles 10 --bare")
def bench() -> None:
    """Measure. A figure that hotseat shows was measured, and this is how."""


@bench.command(
    epilog="""\b
Examples:
  hotseat bench swap llama --cycles 10 --bare
  hotseat bench swap llama --json > swap.json
  hotseat bench swap --synthetic 10 300        hotseat's own part for 10 processes, 300 threads
"""
)
@click.argument("name", required=False)
@click.option("--cycles", type=click.IntRange(1, 1000), default=5, show_default=True, help="Times out and in.")
@click.option("--bare", is_flag=True, help="Beside it the driver's calls alone, on the same processes, in turn.")
@click.option(
    "--synthetic",
    nargs=2,
    type=click.IntRange(1, 10000),
    metavar="PROCESSES THREADS",
    help="Instead of NAME: a tree of demo engines of this many processes and threads in all.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Also write REPORT.md and REPORT.json.")
@options.as_json
def swap(
    name: str | None,
    cycles: int,
    bare: bool,
    synthetic: tuple[int, int] | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Swap NAME out and in and show the median of every phase, bytes and GB/s.

    NAME must be seated, and is again afterwards. --bare does to it what `cuda-checkpoint` does, without hotseat's
    safeguards: not for a workload that must not be lost.
    """
    import asyncio

    from hotseat.cli.benching import run_bench
    from hotseat.errors import UsageError

    if (name is None) == (synthetic is None):
        raise UsageError("give either NAME or --synthetic", hint="hotseat bench swap --help has examples")
    asyncio.run(run_bench(name, cycles=cycles, bare=bare, synthetic=synthetic, report=report, as_json=as_json))
