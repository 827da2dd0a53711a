"""hotseat bench swap, store"""

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


@bench.command(
    epilog="""\b
Cases: driver (the driver alone), one (nothing or all changed, context restored or kept), at-once (A out and B in),
full (the same on a device without room for both), large (nothing changed), zero (80 % zero), fine-tunes (five that
share 80 %), many (swap after swap, then nothing may be left).
Exit code 1: a byte differed, or something else was not as it must be.

\b
Examples:
  hotseat bench store --size 16GiB --pair 40GiB --large 100GiB --report results/store
  hotseat bench store --quick
  hotseat bench store --case one --case zero --json > store.json
"""
)
@click.option("--size", metavar="SIZE", help="Device memory of one process: 16GiB unless told; 640MiB with --quick.")
@click.option("--pair", metavar="SIZE", help="Of each of the two of the cases at-once and full: as --size unless told.")
@click.option("--large", metavar="SIZE", help="Of the cases large and zero: as --size unless told.")
@click.option("--cycles", type=click.IntRange(1, 100), help="Times out and in of each case: 3, or 1 with --quick.")
@click.option("--swaps", type=click.IntRange(1, 100000), help="Of the case many: 200, or 10 with --quick.")
@click.option("--case", "cases", multiple=True, help="Only this one; may be repeated.")
@click.option("--quick", is_flag=True, help="Small and few: does it work here?")
@click.option("--report", type=click.Path(path_type=Path), help="Also write REPORT.md, REPORT.svg and REPORT.json.")
@options.as_json
def store(
    size: str | None,
    pair: str | None,
    large: str | None,
    cycles: int | None,
    swaps: int | None,
    cases: tuple[str, ...],
    quick: bool,
    report: Path | None,
    as_json: bool,
) -> int:
    """Measure the snapshot store on the first device: a store of its own, processes of its own, nobody else's.

    Each case stands beside the pinned copy of as many bytes, measured in the same run, and the driver's own way. After
    every swap in all bytes are compared. Takes twice --size, 2.5 times --pair or --large of the host's memory, the most
    of them, and on the device --size, twice --pair or --large.
    """
    from hotseat.cli import sigterm
    from hotseat.cli.benching_store import run_bench

    return sigterm.run(
        run_bench(
            size=size,
            pair=pair,
            large=large,
            cycles=cycles,
            swaps=swaps,
            cases=cases,
            quick=quick,
            report=report,
            as_json=as_json,
        )
    )
