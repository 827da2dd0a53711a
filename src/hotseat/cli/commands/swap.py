"""hotseat swap IN [OUT]"""

from __future__ import annotations

import click

from hotseat.cli import options


@click.command(
    epilog="""\b
Examples:
  hotseat swap llama qwen       park qwen, seat llama
  hotseat swap llama            ... if there is no doubt who must go
"""
)
@click.argument("name_in", metavar="IN")
@click.argument("name_out", metavar="[OUT]", required=False)
@options.as_json
@options.verbose
@options.access
def swap(
    name_in: str, name_out: str | None, as_json: bool, verbose: bool, control: str | None, no_daemon: bool
) -> None:
    """A hot swap: park OUT and seat IN in its place.

    Without OUT: with a daemon its scheduler chooses; without one, whoever sits on the GPU that IN needs, if it is only
    one. Is there room already, no one is parked. Should IN fail to sit, OUT gets its seat back.
    """
    from hotseat.cli.swapping import run_swap

    run_swap(
        lambda access, progress: access.swap(name_in, name_out, progress=progress),
        title=f"swapping {name_in} in",
        as_json=as_json,
        verbose=verbose,
        control=control,
        no_daemon=no_daemon,
        several=True,
    )
