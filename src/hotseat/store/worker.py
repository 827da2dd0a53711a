"""The worker: `python -m hotseat.store.worker PARTS`, started by the keeper alone with its descriptors."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
from typing import Any

import hotseat
from hotseat.errors import HotseatError
from hotseat.store.arena import Arena
from hotseat.store.book import Book
from hotseat.store.control import Control
from hotseat.store.device import Devices
from hotseat.store.joining import Joining
from hotseat.store.keeping import Keeping
from hotseat.store.moving import Mover
from hotseat.store.record import RecordFiles
from hotseat.store.service import Service

PR_SET_PDEATHSIG = 1
"""prctl(2)"""


async def work(parts: dict[str, Any]) -> None:
    """Until SIGTERM."""
    loop = asyncio.get_running_loop()
    # Without a keeper nothing outlives us: what we would promise from then on would not be true.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    secret = os.pread(parts["secret"], 32, 0)
    arena, keeping, record = Arena(parts["arena"]), Keeping(parts["keeping"]), RecordFiles(parts["index"])
    mover, note = None, ""
    try:
        devices = await asyncio.to_thread(Devices, parts["library"])
        mover = Mover(devices, arena, int.from_bytes(secret[:8], "little"))
    except HotseatError as error:
        note = error.message
    book = Book(arena.slots, ready=0)
    service = Service(arena=arena, book=book, mover=mover, keeping=keeping, record=record, compare=parts["compare"])
    service.note, service.starts = note, parts["starts"]
    joining = Joining(service, listener=socket.socket(fileno=parts["agents"]), secret=secret)
    joining.adopt(record.read(), await asyncio.to_thread(keeping.all))
    preparing = loop.create_task(_prepare(service, arena, mover, parts["threads"])) if mover else None
    joining.start()
    server = await Control(service, version=hotseat.__version__).serve(socket.socket(fileno=parts["control"]))
    await ended.wait()
    server.close()
    if preparing is not None:
        preparing.cancel()
    # What hangs in the driver must not keep us: the keeper holds everything that matters.
    os._exit(0)


async def _prepare(service: Service, arena: Arena, mover: Mover, threads: int) -> None:
    loop = asyncio.get_running_loop()

    def ready(slots: int) -> None:
        service.book.ready = slots
        service.ready_changed.set()

    def tell(slots: int) -> None:
        loop.call_soon_threadsafe(ready, slots)

    def work() -> None:
        device = mover.devices.any()
        arena.prepare(device.register, tell, threads=threads)

    try:
        await asyncio.to_thread(work)
    except HotseatError as error:
        service.note = error.message
        service.ready_changed.set()


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
