"""Which way: through the daemon if one listens at the control socket, else directly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hotseat.cli import draw
from hotseat.cli.access.control import Control
from hotseat.cli.access.direct import Direct
from hotseat.cli.access.port import Access
from hotseat.config import paths
from hotseat.daemon.client import Client
from hotseat.daemon.wiring import build
from hotseat.errors import DriverFailed, NotFound


@asynccontextmanager
async def open_access(
    *, control: str | None, no_daemon: bool, quiet: bool = False, swaps: bool = False
) -> AsyncIterator[Access]:
    """`control`: a socket that was named; then there must be a daemon (`NotFound`). `quiet`: no remarks.
    `swaps`: a swap will come; without a daemon what it needs is started beforehand."""
    path = Path(control) if control is not None else paths.control_socket()
    if not no_daemon and (control is not None or path.exists()):
        async with Client(path) as client:
            if await client.alive():
                yield Control(client)
                return
        if control is not None:
            raise NotFound(
                f"no hotseat daemon listens at {path}",
                hint="start one: hotseat up; or do it directly: --no-daemon",
            )
    async with build(warm=swaps) as runtime:
        access = Direct(runtime)
        if not quiet:
            await _say_if_emulated(access)
        yield access


async def _say_if_emulated(access: Access) -> None:
    """The emulated driver says so wherever it shows itself. Where there is no driver the command itself finds out."""
    try:
        uses = await access.devices()
    except DriverFailed:
        return
    if any(use.device.emulated for use in uses):
        draw.remark("emulated driver: a test bench, no figure from it counts")
