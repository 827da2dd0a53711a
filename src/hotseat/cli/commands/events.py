"""hotseat events"""

from __future__ import annotations

import click

from hotseat.cli import options


@click.command(
    epilog="""\b
Examples:
  hotseat events                what happens from now on, until Ctrl-C
  hotseat events --json         one JSON object a line
"""
)
@options.as_json
@options.control
def events(as_json: bool, control: str | None) -> None:
    """Follow the daemon: every change of state, every phase of every swap."""
    import asyncio

    from hotseat.cli.following import follow

    asyncio.run(follow(control=control, as_json=as_json))
