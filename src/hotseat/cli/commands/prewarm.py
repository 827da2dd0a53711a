"""hotseat prewarm NAME"""

from __future__ import annotations

from typing import Any

import click

from hotseat.cli import options


def _seconds(context: click.Context, parameter: click.Parameter, value: str) -> float:
    from hotseat.config.units import parse_duration

    try:
        return parse_duration(0 if value == "0" else value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(
    epilog="""\b
Examples:
  hotseat prewarm llama             it will be wanted within the next 10 minutes
  hotseat prewarm llama --for 2h
  hotseat prewarm llama --for 0     not after all
"""
)
@click.argument("name")
@click.option(
    "--for",
    "seconds",
    default="10m",
    metavar="DURATION",
    callback=_seconds,
    show_default=True,
    help="How long the hint holds, such as 5m; 0 takes it back.",
)
@options.as_json
@options.control
def prewarm(name: str, seconds: float, as_json: bool, control: str | None) -> None:
    """Say that NAME will be wanted soon, so that it is seated before the first request.

    A hint, not a command: the daemon seats NAME where there is room, or in place of a workload that nobody uses. As
    soon as a request needs the seat for another workload, NAME gives it up and the hint is over. It returns at once.
    """
    import asyncio
    import json

    done = asyncio.run(_ask(name, seconds, control))
    if as_json:
        click.echo(json.dumps(done, indent=2))
    elif seconds:
        click.echo(f"{done['workload']} is {done['state']}; it will be wanted for the next {seconds:g} s")
    else:
        click.echo(f"{done['workload']} is {done['state']}; the hint is taken back")


async def _ask(name: str, seconds: float, control: str | None) -> dict[str, Any]:
    from pathlib import Path

    from hotseat.daemon.client import Client

    async with Client(Path(control) if control is not None else None) as client:
        return await client.prewarm(name, seconds=seconds)
