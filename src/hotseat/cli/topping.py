"""`hotseat top`: looks, draws, waits, until somebody presses q."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from hotseat.cli.access.choose import open_access
from hotseat.errors import HotseatError

PIPE_WIDTH = 200
"""Columns where nobody's terminal is narrower: a pipe gets everything."""


async def run(*, once: bool, interval: float, as_json: bool, control: str | None, no_daemon: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from hotseat.cli.panorama import panorama

    terminal = sys.stdout.isatty()
    async with open_access(control=control, no_daemon=no_daemon, quiet=True) as access:
        picture = await access.snapshot()
        if as_json:
            click.echo(json.dumps(picture, indent=2))
            return
        console = Console(width=None if terminal else PIPE_WIDTH, highlight=False)
        if once or not terminal:
            console.print(panorama(picture, width=console.width))
            return
        quit = asyncio.Event()
        with _keys(quit), Live(console=console, screen=True, auto_refresh=False) as live:
            trouble = ""
            while not quit.is_set():
                live.update(panorama(picture, width=console.width, trouble=trouble, hint="q ends it"), refresh=True)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(quit.wait(), interval)
                try:
                    picture, trouble = await access.snapshot(), ""
                except HotseatError as error:
                    trouble = error.message  # it may come back


@contextlib.contextmanager
def _keys(quit: asyncio.Event) -> Iterator[None]:
    """q, without Enter. Without a terminal to type at there is Ctrl-C."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before: Any = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def pressed() -> None:
        keys = os.read(descriptor, 64)
        if not keys or keys.lower().startswith(b"q"):
            quit.set()

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, pressed)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
