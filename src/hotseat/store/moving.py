"""The blocking work on a process's memory, for worker threads: digests, out to the arena, in from it.

Handles live only within a call; between calls the descriptors hold the memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hotseat.errors import NoRoom
from hotseat.store.arena import Arena
from hotseat.store.book import ZERO, Slots
from hotseat.store.cuda import OutOfMemory
from hotseat.store.device import Device, Devices
from hotseat.store.runs import runs
from hotseat.store.streaming import Stream
from hotseat.store.tenant import Share


@dataclass(frozen=True, slots=True)
class Mover:
    """`key`: the secret that digests are made with."""

    devices: Devices
    arena: Arena
    key: int

    @contextmanager
    def _mapped(self, share: Share) -> Iterator[tuple[Device, int]]:
        """The device and the address of the share's first chunk."""
        device = self.devices.get(share.uuid)
        with ExitStack() as undo:
            blocks = []
            for piece in share.pieces:
                handle = device.import_(piece.fd)
                undo.callback(device.release, handle)
                blocks.append((handle, piece.block.bytes))
            yield device, undo.enter_context(device.window(blocks))

    def digests(self, shares: Sequence[Share]) -> tuple[list[bytes], NDArray[np.bool_]]:
        """Of each chunk: 16 bytes, and whether it is all zero."""
        rows = [np.empty((0, 3), dtype=np.uint64)]
        for share in shares:
            with self._mapped(share) as (device, base):
                rows.append(device.digests(base, share.chunks, key=self.key))
        table = np.concatenate(rows)
        packed = np.ascontiguousarray(table[:, :2]).tobytes()
        return [packed[at : at + 16] for at in range(0, len(packed), 16)], table[:, 2] == 0

    def out(self, shares: Sequence[Share], copies: Sequence[tuple[int, int]], stop: threading.Event) -> None:
        """(chunk, slot) pairs, by chunk."""
        for share in shares:
            here = [(chunk - share.first, slot) for chunk, slot in copies if 0 <= chunk - share.first < share.chunks]
            if here:
                with self._mapped(share) as (device, base):
                    device.copy_out(runs(here, edge=self.arena.edge), base=base, arena=self.arena.address, stop=stop)

    def fill(
        self, shares: Sequence[Share], slots: Slots, stop: threading.Event, *, stream: Stream | None = None
    ) -> list[int]:
        """Creates the memory of all shares and fills it: from the arena, then with what `stream` has of the rest.
        Descriptors, one a piece in their order.

        `NoRoom` if a device lacks the memory, with nothing left allocated there. `VerifyFailed` as from the stream.
        """
        with ExitStack() as undo:
            fds = []
            made = []
            for share in shares:
                device = self.devices.get(share.uuid)
                blocks = []
                for piece in share.pieces:
                    handle = self._create(device, piece.block.bytes, share)
                    undo.callback(device.release, handle)
                    blocks.append((handle, piece.block.bytes))
                made.append((share, device, blocks))
            for share, device, blocks in made:
                wanted = list(enumerate(slots[share.first : share.first + share.chunks].tolist()))
                here = [(chunk, slot) for chunk, slot in wanted if slot >= ZERO]
                away = [(chunk, slot) for chunk, slot in wanted if slot < ZERO]
                with device.window(blocks) as base:
                    device.copy_in(runs(here, edge=self.arena.edge), base=base, arena=self.arena.address, stop=stop)
                    if away and stream is not None:
                        stream.copy(device, base, away, share.chunks, stop)
            with ExitStack() as unexported:
                for _, device, blocks in made:
                    for handle, _ in blocks:
                        fds.append(device.export(handle))
                        unexported.callback(os.close, fds[-1])
                unexported.pop_all()
            return fds

    def _create(self, device: Device, nbytes: int, share: Share) -> int:
        try:
            return device.create(nbytes)
        except OutOfMemory as error:
            total = sum(piece.block.bytes for piece in share.pieces)
            raise NoRoom(
                f"{device.name} has no room for {total >> 20} MiB",
                hint="park another workload of this device first",
                device=device.name,
                bytes=total,
            ) from error
