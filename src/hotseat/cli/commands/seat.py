"""hotseat seat NAME"""

from __future__ import annotations

import click

from hotseat.cli import options


@click.command(
    epilog="""\b
Examples:
  hotseat seat llama
  hotseat seat 4711 --verbose   every phase as it happens
"""
)
@click.argument("name")
@options.as_json
@options.verbose
@options.access
def seat(name: str, as_json: bool, verbose: bool, control: str | None, no_daemon: bool) -> None:
    """Give NAME its seat back; it goes on where it stopped.

    The GPU must have the room that NAME left: a restore that runs out of memory is final, so hotseat asks the device
    itself first and refuses (exit code 4) rather than try. `hotseat swap NAME` parks who is in the way.
    """
    from hotseat.cli.swapping import run_swap

    run_swap(
        lambda access, progress: access.seat(name, progress=progress),
        title=f"seating {name}",
        as_json=as_json,
        verbose=verbose,
        control=control,
        no_daemon=no_daemon,
    )
