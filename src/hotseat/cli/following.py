"""`hotseat events`: the daemon's events as lines."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from hotseat.cli import units
from hotseat.daemon.client import Client


async def follow(*, control: str | None, as_json: bool) -> None:
    """Until the daemon ends or Ctrl-C."""
    async with Client(Path(control) if control is not None else None) as client:
        async for event in client.events():
            click.echo(json.dumps(event) if as_json else line(event))


def line(event: dict[str, Any]) -> str:
    """12:01:02.345  llama  state  parked (makes room for qwen)"""
    at = float(event.get("at", 0))
    clock = time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03d}"
    kind = event.get("kind", "")
    return f"{clock}  {event.get('workload') or '-':<12}  {kind:<8}  {said(kind, event)}"


def said(kind: str, event: dict[str, Any]) -> str:
    match kind:
        case "state":
            note = f" ({event['note']})" if event.get("note") else ""
            return f"{event.get('state')}{note}"
        case "phase":
            return f"{event.get('phase')}: {event.get('status')}"
        case "swap":
            own = units.duration(float(event.get("own_seconds", 0)))
            took = units.duration(float(event.get("seconds", 0)))
            return f"{event.get('direction')} in {took}, hotseat's own part {own}"
        case _:
            rest = {key: value for key, value in event.items() if key not in ("seq", "at", "kind", "workload")}
            return json.dumps(rest) if rest else ""
