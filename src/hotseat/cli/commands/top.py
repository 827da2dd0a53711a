"""hotseat top"""

from __future__ import annotations

import click

from hotseat.cli import options


@click.command(
    epilog="""\b
q ends it. On a narrow terminal the columns that matter least go first; NO_COLOR=1 draws without colours.

\b
Examples:
  hotseat top
  hotseat top --once            one look, for scripts and pipes
  hotseat top --json | jq '.workloads[] | select(.waiting > 0) | .name'
"""
)
@click.option("--once", is_flag=True, help="One look, then end; so it is too where the output is no terminal.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks.",
)
@options.as_json
@options.access
def top(once: bool, interval: float, as_json: bool, control: str | None, no_daemon: bool) -> None:
    """Devices and workloads, live: who sits, who is parked, who waits, and how much.

    With a daemon: its workloads, queues and rates. Without one: what is on the GPUs of this machine.
    """
    import asyncio

    from hotseat.cli.topping import run

    asyncio.run(run(once=once, interval=interval, as_json=as_json, control=control, no_daemon=no_daemon))
