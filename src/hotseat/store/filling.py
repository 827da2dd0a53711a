"""Memory of a device made for a process that comes back, and filled. Blocks; for worker threads.

To make, map and export memory takes the driver as long whether bytes are to come into it or not. So what has some is
made first, and the bus is busy with it beside all else.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np

from hotseat.errors import DriverTimeout, NoRoom
from hotseat.store.arena import Arena
from hotseat.store.book import ZERO, Slots
from hotseat.store.coming import Filled, Patience
from hotseat.store.cuda import OutOfMemory
from hotseat.store.device import Device
from hotseat.store.digest import CHUNK
from hotseat.store.runs import Addresses, addresses_of, runs
from hotseat.store.streaming import Stream
from hotseat.store.tenant import Share, groups


def filled(
    device: Device,
    share: Share,
    slots: Slots,
    *,
    arena: Arena,
    stop: threading.Event,
    stream: Stream | None,
    patience: Patience | None = None,
) -> Filled:
    """Errors as of `Mover.fill`. `patience`: memory that the device has not is waited for."""
    grouped = list(groups(share.pieces))
    chunks = [sum(piece.block.bytes for piece in group) // CHUNK for group in grouped]
    here = np.split(slots, np.cumsum(chunks)[:-1])
    order = sorted(range(len(grouped)), key=lambda group: not (here[group] > ZERO).any())
    fds, places = dict[int, list[int]](), dict[int, Addresses]()
    with ExitStack() as unexported, ExitStack() as undo:
        with (
            device.copies(arena=arena.address, stop=stop) as copies,
            ThreadPoolExecutor(1, thread_name_prefix="bus", initializer=device.enter) as bus,
        ):
            jobs: list[Future[None]] = []
            try:
                for group in order:
                    blocks = []
                    for piece in grouped[group]:
                        if stop.is_set():  # what is given up takes no more, which others may be promised by now
                            raise DriverTimeout(
                                f"{device.name} was not filled in time", hint="give it a longer deadline"
                            )
                        handle = _create(device, piece.block.bytes, share, stop, patience)
                        undo.callback(device.release, handle)
                        blocks.append((handle, piece.block.bytes))
                    base = undo.enter_context(device.window(blocks))
                    addresses = places[group] = addresses_of(base, chunks[group])
                    came, zero = here[group] > ZERO, here[group] == ZERO
                    if came.any():
                        some = runs(addresses[came], here[group][came], edge=arena.edge)
                        jobs.append(bus.submit(copies.into, some))
                    copies.clear(runs(addresses[zero], here[group][zero], edge=arena.edge))
                    fds[group] = []
                    for handle, _ in blocks:
                        fds[group].append(device.export(handle))
                        unexported.callback(os.close, fds[group][-1])
                    _raise_first(job for job in jobs if job.done())
            except BaseException:
                bus.shutdown(cancel_futures=True)
                raise
            _raise_first(jobs)
        if stream is not None and (away := slots < ZERO).any():
            everywhere = np.concatenate([places[group] for group in sorted(places)])
            stream.copy(device, everywhere[away], slots[away], stop)
        unexported.pop_all()
        return [fd for group in sorted(fds) for fd in fds[group]], undo.pop_all()


def _create(device: Device, nbytes: int, share: Share, stop: threading.Event, patience: Patience | None) -> int:
    handle = _created(device, nbytes, patience)
    if handle is None and patience is not None:
        with patience.shortage.waiting(device.uuid):
            last = False
            while handle is None and not last:
                if stop.is_set():
                    raise DriverTimeout(f"{device.name} had no room in time", hint="park another workload of it first")
                if not (last := patience.hurry.is_set()):  # room may have come just before that
                    patience.shortage.pause()
                handle = _created(device, nbytes, patience)
    if handle is None:
        total = sum(piece.block.bytes for piece in share.pieces)
        raise NoRoom(
            f"{device.name} has no room for {total >> 20} MiB",
            hint="park another workload of this device first",
            device=device.name,
            bytes=total,
        )
    if patience is not None:
        patience.made[device.uuid] = patience.made.get(device.uuid, 0) + nbytes
    return handle


def _created(device: Device, nbytes: int, patience: Patience | None) -> int | None:
    leave = patience.leave.get(device.name, 0) if patience is not None and not patience.hurry.is_set() else 0
    if leave and device.free() < nbytes + leave:
        return None
    try:
        return device.create(nbytes)
    except OutOfMemory:
        return None


def _raise_first(jobs: Iterable[Future[None]]) -> None:
    for job in jobs:
        job.result()
