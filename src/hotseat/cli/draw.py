"""Tables and the progress line. The only module that imports rich, and only when something is drawn.

Data goes to standard output, progress and remarks to standard error, so that `hotseat ps | grep` works.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from hotseat.cli.units import duration

STYLES = {
    "seated": "green",
    "parked": "cyan",
    "stored": "blue",
    "stopped": "dim",
    "swapping out": "yellow",
    "swapping in": "yellow",
    "quarantined": "bold red",
    "paused": "magenta",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
}
"""Colour of a cell by its text; anything else is plain."""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Columns without borders, as `docker ps` has them. `right`: columns to align right. Never truncates in a pipe."""
    if not sys.stdout.isatty():
        _plain(headings, rows, right=right)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        drawn.add_column(heading, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console().print(drawn)


def _plain(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int]) -> None:
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def remark(text: str) -> None:
    """A line for people beside the data."""
    click.echo(text, err=True)


class Phases:
    """Receives a swap's progress: a live line on a terminal, one line a phase with --verbose, else nothing."""

    def __init__(self, title: str, *, verbose: bool, live: bool) -> None:
        self.title = title
        self.verbose = verbose
        self.live = live
        self.phase = ""
        self.began = time.monotonic()
        self._phase_began = self.began

    def __call__(self, phase: str, what: str) -> None:
        now = time.monotonic()
        if what == "start":
            self.phase, self._phase_began = phase, now
        elif self.verbose:
            remark(f"  {phase}: {what} ({duration(now - self._phase_began)})")

    def __rich__(self) -> str:
        elapsed = time.monotonic() - self.began
        # The first second shows nothing: most swaps are over by then.
        return f"{self.title}: {self.phase or 'starting'} ({elapsed:.0f} s)" if elapsed >= 1 else ""


@contextmanager
def progress(title: str, *, verbose: bool = False, quiet: bool = False) -> Iterator[Phases]:
    """Show which phase runs now for as long as the block lasts. Nothing in a pipe or with `quiet`."""
    phases = Phases(title, verbose=verbose and not quiet, live=sys.stderr.isatty() and not quiet)
    if not phases.live:
        yield phases
        return
    from rich.console import Console
    from rich.live import Live

    with Live(phases, console=Console(stderr=True), refresh_per_second=4, transient=True):
        yield phases
