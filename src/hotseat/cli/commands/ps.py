"""hotseat ps"""

from __future__ import annotations

import click

from hotseat.cli import options


@click.command(
    epilog="""\b
States: seated (on the GPU, runs), parked (off the GPU, frozen, in host memory), stored (on disk), stopped,
paused (by someone else: holds the GPU and does not run), quarantined (a swap failed; NOTE says why).

\b
Examples:
  hotseat ps
  hotseat ps --json | jq '.[] | select(.state == "parked") | .name'
"""
)
@click.option("-a", "--all", "everything", is_flag=True, help="Also containers that have nothing to do with a GPU.")
@options.as_json
@options.access
def ps(everything: bool, as_json: bool, control: str | None, no_daemon: bool) -> None:
    """Who sits, who is parked, who waits, and why.

    With a daemon: its workloads. Without one: every container and process on a GPU of this machine.
    """
    import asyncio
    import json

    from hotseat.cli import draw, view
    from hotseat.cli.access.choose import open_access

    async def look() -> None:
        async with open_access(control=control, no_daemon=no_daemon, quiet=as_json) as access:
            rows = await access.rows(everything=everything)
            uses = () if as_json else await access.devices()
            notes = () if as_json else await access.notes()
        if as_json:
            click.echo(json.dumps([row.as_json() for row in rows], indent=2))
            return
        draw.table(view.HEADINGS, [row.cells() for row in rows], right=(4, 5, 6))
        for line in view.device_lines(uses):
            draw.remark(line)
        for note in notes:
            draw.remark(f"note: {note}")

    asyncio.run(look())
