"""`hotseat store spill` and `fetch`: through the daemon, which alone says where a workload is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hotseat.cli import draw, units
from hotseat.config.units import format_size
from hotseat.daemon.client import Client


async def spill(name: str, *, control: str | None, as_json: bool) -> None:
    await _move(name, to_disk=True, control=control, as_json=as_json)


async def fetch(name: str, *, control: str | None, as_json: bool) -> None:
    await _move(name, to_disk=False, control=control, as_json=as_json)


async def _move(name: str, *, to_disk: bool, control: str | None, as_json: bool) -> None:
    async with Client(Path(control) if control is not None else None) as client:
        with draw.progress(f"{name} {'to' if to_disk else 'from'} disk", quiet=as_json) as progress:
            ask = client.spill if to_disk else client.fetch
            done = await ask(name, told=(lambda note: progress(note, "start")) if progress.live else None)
    click.echo(json.dumps(done, indent=2) if as_json else sentence(done))


def sentence(done: dict[str, Any]) -> str:
    """What was moved, and what was not and why."""
    to_disk = done["to"] == "disk"
    where = f"{done['workload']} is {'on disk' if to_disk else 'in host memory'}"
    if done["already"]:
        return f"{where} already; nothing to do"
    moved, seconds = done["moved_bytes"], done["seconds"]
    said = [f"{where}: {units.amount(moved)} {'written' if to_disk else 'read'} in {units.duration(seconds)}"]
    if moved:
        said[0] += f" ({units.rate(moved, seconds)}), {format_size(done['disk_bytes'])} on disk"
    if done["shared_bytes"]:
        said.append(f"{format_size(done['shared_bytes'])} is equal to some of that")
    if done["zero_bytes"]:
        said.append(f"{format_size(done['zero_bytes'])} is zero")
    if done["left_bytes"]:
        why = "stays where it is, others need it there" if to_disk else "was still in host memory"
        said.append(f"{format_size(done['left_bytes'])} {why}")
    return "; ".join(said)
