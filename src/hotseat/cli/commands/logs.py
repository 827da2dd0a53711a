"""hotseat logs NAME"""

from __future__ import annotations

import click

from hotseat.cli import options


@click.command(
    epilog="""\b
Examples:
  hotseat logs llama                  the last 100 lines
  hotseat logs llama -f               ... and what comes after, until it ends or Ctrl-C
  hotseat logs llama --tail 1000 | grep -i error
"""
)
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on with what it writes from now on.")
@click.option(
    "--tail",
    type=click.IntRange(0, 100_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Begin so many lines back.",
)
@options.access
def logs(name: str, follow: bool, tail: int, control: str | None, no_daemon: bool) -> None:
    """What NAME's container has written to its standard output and error.

    A parked one writes nothing, but what it wrote before is there.
    """
    import asyncio

    from hotseat.cli.following import show_logs

    asyncio.run(show_logs(name, tail=tail, follow=follow, control=control, no_daemon=no_daemon))
