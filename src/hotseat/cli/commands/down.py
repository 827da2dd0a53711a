"""hotseat down"""

from __future__ import annotations

import click

from hotseat.cli import options


@click.command(
    epilog="""\b
Examples:
  hotseat down                  parked workloads stay as on_stop says (usual: parked)
  hotseat down --parked seat    those that fit get their seats back, and run on without hotseat
  hotseat down --parked stop    those that are parked are stopped, their host memory is free
"""
)
@click.option("--parked", type=click.Choice(["leave", "seat", "stop"]), help="What becomes of parked workloads.")
@options.as_json
@options.control
def down(parked: str | None, as_json: bool, control: str | None) -> None:
    """Stop the daemon in order and wait until it has ended.

    No new requests are taken, answers under way may end, those who wait are told, a swap comes to its end. Seated
    engines run on in any case. What stays parked is found again by the next `hotseat up`, or by `hotseat seat NAME`.
    """
    import asyncio

    from hotseat.cli.ending import down as run

    asyncio.run(run(parked=parked, control=control, as_json=as_json))
