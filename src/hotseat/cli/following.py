"""`hotseat events`, the daemon's events as lines; `hotseat logs`, what a container writes."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import click

from hotseat.cli import units
from hotseat.cli.access.choose import open_access
from hotseat.daemon.client import Client


async def follow(
    *,
    control: str | None,
    as_json: bool,
    workloads: frozenset[str] = frozenset(),
    kinds: frozenset[str] = frozenset(),
    since: float | None = None,
) -> None:
    """Until the daemon ends or Ctrl-C. `since`: first those of so many seconds back. Empty sets mean all."""
    begin = time.time() - since if since is not None else 0.0
    async with Client(Path(control) if control is not None else None) as client:
        async for event in client.events(after=None if since is None else 0):
            if (
                (not workloads or event.get("workload") in workloads)
                and (not kinds or event.get("kind") in kinds)
                and float(event.get("at", 0)) >= begin
            ):
                click.echo(json.dumps(event) if as_json else line(event))


async def show_logs(name: str, *, tail: int, follow: bool, control: str | None, no_daemon: bool) -> None:
    """Bytes as they were written: their encoding and colours are the container's."""
    async with (
        open_access(control=control, no_daemon=no_daemon, quiet=True) as access,
        contextlib.aclosing(access.logs(name, tail=tail, follow=follow)) as chunks,
    ):
        async for chunk in chunks:
            click.echo(chunk, nl=False)


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
        case "start":
            return f"cold start in {units.duration(float(event.get('seconds', 0)))}"
        case "note" if isinstance(event.get("error"), dict):
            error = event["error"]
            hint = f"; {error['hint']}" if error.get("hint") else ""
            return f"{event.get('job', 'it')} failed: {error.get('message', '')}{hint}"
        case _:
            rest = {key: value for key, value in event.items() if key not in ("seq", "at", "kind", "workload")}
            return json.dumps(rest) if rest else ""
