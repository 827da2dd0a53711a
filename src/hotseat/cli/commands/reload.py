"""hotseat reload"""

from __future__ import annotations

import click

from hotseat.cli import options


@click.command(
    epilog="""\b
Exit code 2: the file has mistakes, all of them are said, nothing has changed.

\b
Examples:
  hotseat reload
  hotseat reload --json | jq .needs_restart
"""
)
@options.as_json
@options.control
def reload(as_json: bool, control: str | None) -> None:
    """Have the daemon read its hotseat.yaml again, without dropping a request.

    It does so by itself when the file changes, and on SIGHUP; this waits for the end and says what was done. Workloads
    come, change and go, keys, caps and limits count at once. Where the daemon listens and keeps its state counts after
    a restart; what makes a process or container (command, env, image...) at that one's next start.
    """
    import asyncio

    from hotseat.cli.ending import reload as run

    asyncio.run(run(control=control, as_json=as_json))
