"""`hotseat reload` and `hotseat down`: what is asked of the daemon as a whole. And how any process's end is awaited."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hotseat.cli import draw
from hotseat.daemon.client import Client
from hotseat.errors import Failed, ProcessGone
from hotseat.linux import proc
from hotseat.linux.identity import Process

LAST_BREATH = 30.0
"""Seconds from its last step until its process has ended."""


async def reload(*, control: str | None, as_json: bool) -> None:
    async with Client(Path(control) if control is not None else None) as client:
        done = await client.reload()
    if as_json:
        click.echo(json.dumps(done, indent=2))
        return
    for line in told(done):
        click.echo(line)


def told(done: dict[str, Any]) -> list[str]:
    """One line a thing that a reload did, or cannot do."""
    lines = [f"{name}: added" for name in done["added"]]
    lines += [f"{name}: removed; its container is left as it is" for name in done["removed"]]
    lines += [f"{name}: {', '.join(settings)}" for name, settings in done["changed"].items()]
    lines += [f"{name}: {', '.join(settings)}, at its next start" for name, settings in done["at_next_start"].items()]
    lines += [f"{setting}: counts from now on" for setting in done["settings"]]
    lines += [f"{setting}: counts after a restart of the daemon" for setting in done["needs_restart"]]
    return lines or [f"{done['file']}: nothing changed"]


async def down(*, parked: str | None, control: str | None, as_json: bool) -> None:
    last: dict[str, Any] = {}
    async with Client(Path(control) if control is not None else None) as client:
        pid = int((await client.health())["pid"])
        daemon = process(pid)
        try:
            async for last in client.stop(parked=parked):
                if not as_json:
                    draw.remark(step(last))
            if daemon is not None:
                await ended(daemon, what="the daemon has stopped serving but")
        finally:
            if daemon is not None:
                daemon.close()
    if as_json:
        click.echo(json.dumps({"pid": pid, "parked": last["parked"]}))
    else:
        stay_parked(last["parked"])


def stay_parked(names: Sequence[str]) -> None:
    if names:
        draw.remark(f"stay parked: {', '.join(names)}; `hotseat up` or `hotseat seat NAME` finds them again")


def step(event: dict[str, Any]) -> str:
    """One step of a stop in words."""
    known = ("seq", "at", "kind", "workload", "step", "error")
    said = [f"{key} {words}" for key, value in event.items() if key not in known and (words := _words(value))]
    name = f"{event['workload']}: " if event.get("workload") else ""
    line = f"{name}{event['step']}" + (f" ({', '.join(said)})" if said else "")
    if (error := event.get("error")) is None:
        return line
    return f"{line}: {error['message']}" + (f"\n hint: {error['hint']}" if error.get("hint") else "")


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def process(pid: int) -> Process | None:
    """None if it is not to be seen from here (another pid namespace) or has just ended."""
    ref = proc.ref(pid)
    if ref is None:
        return None
    try:
        return Process.open(ref)
    except ProcessGone:
        return None


async def ended(process: Process, *, what: str) -> None:
    """Until it has. `Failed` if it does not."""
    try:
        async with asyncio.timeout(LAST_BREATH):
            while process.alive():  # noqa: ASYNC110 - a pidfd of another's child has no event on this loop
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise Failed(
            f"{what} has not ended (pid {process.ref.pid})",
            hint="a driver call may hang in the kernel; see its log and /proc/PID/stack",
        ) from error
