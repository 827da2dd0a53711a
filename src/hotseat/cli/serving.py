"""`hotseat up`: reads the configuration, says where the daemon listens, runs it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import click

from hotseat.cli import configuration, draw, view
from hotseat.cli.ending import stay_parked
from hotseat.config import find, load
from hotseat.daemon.service import Serving, up


def serve(config: Path | None, *, check: bool, verbose: bool) -> None:
    """Until SIGTERM or Ctrl-C. With `check` only the configuration is read."""
    path = config or find()
    if check:
        configuration.check(path, offline=True, as_json=False)
        return
    loaded = load(path)
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if not verbose:
        logging.getLogger("aiohttp").setLevel(logging.WARNING)

    def ready(serving: Serving) -> None:
        click.echo(f"gateway  {serving.gateway}/v1")
        click.echo(f"control  {serving.control}")
        table(serving.workloads())
        sys.stdout.flush()

    import uvloop

    left = uvloop.run(up(loaded, file=path, ready=ready))
    stay_parked([row["name"] for row in left if row["state"] in ("parked", "stored")])


def table(rows: list[dict[str, Any]]) -> None:
    draw.table(view.HEADINGS, [view.row_from(row).cells() for row in rows], right=(4, 5, 6))
