"""The worker: `python -m hotseat.store.worker PARTS`, started by the keeper alone with its descriptors."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import hotseat
from hotseat.errors import HotseatError
from hotseat.store.arena import PIECE, Arena
from hotseat.store.book import Book
from hotseat.store.control import Control
from hotseat.store.custom import CustomStorage
from hotseat.store.customs import Customs
from hotseat.store.device import Devices
from hotseat.store.disk import Disk
from hotseat.store.growth import Growth
from hotseat.store.holdings import Holdings
from hotseat.store.joining import Joining
from hotseat.store.keeping import Keeping
from hotseat.store.moving import Mover
from hotseat.store.port import TURNED_OFF
from hotseat.store.record import RecordFiles
from hotseat.store.service import Service
from hotseat.store.shortage import Shortage
from hotseat.store.spare import SMALL_PIECE
from hotseat.store.spilling import Spilling
from hotseat.store.steps import Steps

PR_SET_PDEATHSIG = 1
"""prctl(2)"""
GROW_AGAIN = 30.0
"""Seconds until the arena is populated further after that failed."""
QUIET = 0.5
"""Seconds between two looks whether anything is under way; so long an answer may take to be read."""


async def work(parts: dict[str, Any]) -> None:
    """Until SIGTERM."""
    loop = asyncio.get_running_loop()
    # Without a keeper nothing outlives us: what we would promise from then on would not be true.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    secret = os.pread(parts["secret"], 32, 0)
    piece = SMALL_PIECE if parts["learned"] else PIECE
    arena, keeping, record = Arena(parts["arena"], piece=piece), Keeping(parts["keeping"]), RecordFiles(parts["index"])
    key = int.from_bytes(secret[:8], "little")
    mover, note, shortage = None, "", Shortage()
    try:
        mover = Mover(await asyncio.to_thread(Devices, parts["library"]), arena, key, shortage)
    except HotseatError as error:
        note = error.message
    disk, no_disk = _disk(parts)
    holdings = Holdings(book=Book(arena.slots, ready=0), keeping=keeping, record=record, disk=disk, shortage=shortage)
    spilling = Spilling(holdings, arena=arena, key=key, why=no_disk, compare=parts["compare"])
    growth = Growth(
        arena, holdings.book, learned=parts["learned"], devices=None if mover is None else mover.devices.bytes
    )
    steps = Steps(holdings, arena=arena, growth=growth, mover=mover, spilling=spilling, compare=parts["compare"])
    steps.note = note
    joining = Joining(holdings, growth=growth, listener=socket.socket(fileno=parts["agents"]), secret=secret)
    quits = asyncio.Event()
    devices = None if mover is None else mover.devices
    storage, why = _custom_storage(devices, note, wanted=parts["custom_storage"])
    customs = Customs(
        holdings, steps=steps, spilling=spilling, devices=devices, storage=storage, why=why, uncertain=quits.set
    )
    service = Service(
        holdings,
        growth=growth,
        steps=steps,
        customs=customs,
        spilling=spilling,
        meet=joining.tenant,
        starts=parts["starts"],
    )
    quitting = loop.create_task(_quit_once_quiet(holdings, quits))
    joining.adopt(record.read(), await asyncio.to_thread(keeping.all))
    await customs.open_devices()
    grows = _prepare(steps, growth, holdings.book, arena, mover, parts["threads"]) if mover else None
    preparing = loop.create_task(grows) if grows else None
    joining.start()
    server = await Control(service, version=hotseat.__version__).serve(socket.socket(fileno=parts["control"]))
    await ended.wait()
    server.close()
    quitting.cancel()
    if preparing is not None:
        preparing.cancel()
    # What hangs in the driver must not keep us: the keeper holds everything that matters.
    os._exit(0)


def _custom_storage(devices: Devices | None, note: str, *, wanted: bool) -> tuple[CustomStorage | None, str]:
    """Or None, and why there is none."""
    if not wanted:
        return None, TURNED_OFF
    if devices is None:
        return None, note
    try:
        return devices.custom_storage(), ""
    except HotseatError as error:
        return None, error.message


async def _quit_once_quiet(holdings: Holdings, quits: asyncio.Event) -> None:
    """The driver failed to end an operation, so memory may stay mapped here for as long as this process lives. The
    keeper starts another, as ever; who is at something is let finish it."""
    await quits.wait()
    while True:
        await asyncio.sleep(QUIET)
        if not any(one.lock.locked() or one.operation is not None for one in holdings.tenants.values()):
            os._exit(1)


def _disk(parts: dict[str, Any]) -> tuple[Disk | None, str]:
    """Or None, and why there is none although one was asked for."""
    if parts["spill"] is None:
        return None, ""
    try:
        return Disk(Path(parts["spill"]), limit=parts["spill_limit"]), ""
    except HotseatError as error:
        return None, error.message


async def _prepare(steps: Steps, growth: Growth, book: Book, arena: Arena, mover: Mover, threads: int) -> None:
    """Populates what is wanted; for ever, where that is learned. What fails is said, and tried again."""
    while True:
        try:
            return await _populate(steps, growth, book, arena, mover, threads)
        except Exception as error:
            said = error.message if isinstance(error, HotseatError) else f"the arena does not grow: {error}"
            steps.note = said
        steps.ready_changed.set()
        await asyncio.sleep(GROW_AGAIN)
        if steps.note == said:
            steps.note = ""


async def _populate(steps: Steps, growth: Growth, book: Book, arena: Arena, mover: Mover, threads: int) -> None:
    device = await asyncio.to_thread(mover.devices.any)
    while True:
        end = growth.next()
        if end > book.ready:
            await asyncio.to_thread(arena.grow, book.ready, end, device.register, threads=threads)
            book.ready = end
        elif growth.learned:
            growth.changed.clear()
            steps.ready_changed.set()
            await growth.changed.wait()
        else:
            return
        steps.ready_changed.set()


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
