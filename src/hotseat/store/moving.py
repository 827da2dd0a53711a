"""The blocking work on a process's memory, for worker threads: its digests and out to the arena, in from it.

Memory that a process yielded stays mapped here (`MappedView`) until it is out or given back; memory that is filled,
only while it is. Beyond that the descriptors hold it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hotseat.store.arena import Arena
from hotseat.store.book import ZERO, Digests, Slots
from hotseat.store.coming import Filled, Patience, free
from hotseat.store.copied import Copied
from hotseat.store.custom import Operation
from hotseat.store.device import Device, Devices
from hotseat.store.digest import CHUNK
from hotseat.store.filling import filled
from hotseat.store.lent import LentView
from hotseat.store.runs import addresses_of, runs
from hotseat.store.shortage import Shortage
from hotseat.store.streaming import Stream
from hotseat.store.tenant import Piece, Share, View, Window, groups

T = TypeVar("T")


class MappedWindow:
    """Some pieces, one behind the other at `base`."""

    def __init__(self, device: Device, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.end: int | None = None
        with ExitStack() as undo:
            blocks = []
            for piece in pieces:
                handle = device.import_(piece.fd)
                undo.callback(device.release, handle)
                blocks.append((handle, piece.block.bytes))
            self.base = undo.enter_context(device.window(blocks))
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Once is enough."""
        self._undo.close()


class MappedView:
    """What a process yielded, mapped here, with the digests of its chunks. Pieces may be added from several threads."""

    def __init__(self, devices: Devices, *, key: int) -> None:
        """`key`: the secret that digests are made with."""
        self._devices, self._key = devices, key
        self._lock = threading.Lock()
        self._windows: dict[bytes, list[MappedWindow]] = {}
        self._rows: dict[int, NDArray[np.uint64]] = {}

    def add(self, pieces: Sequence[Piece]) -> None:
        for uuid, some in groupby(sorted(pieces, key=_place), key=lambda piece: piece.block.uuid):
            for group in groups(list(some)):
                self._add(self._devices.get(uuid), uuid, group)

    def _add(self, device: Device, uuid: bytes, pieces: Sequence[Piece]) -> None:
        window = MappedWindow(device, pieces)
        with self._lock:
            self._windows.setdefault(uuid, []).append(window)
        chunks = sum(piece.block.bytes for piece in pieces) // CHUNK
        rows = np.split(
            device.digests(window.base, chunks, key=self._key),
            np.cumsum([piece.block.bytes // CHUNK for piece in pieces])[:-1],
        )
        with self._lock:
            self._rows.update(zip((piece.block.id for piece in pieces), rows, strict=True))

    def windows(self, uuid: bytes) -> Sequence[MappedWindow]:
        """Of one device."""
        return self._windows.get(uuid, ())

    def digests(self, pieces: Sequence[Piece]) -> tuple[Digests, NDArray[np.bool_]]:
        """Of each chunk, and whether it is all zero."""
        table = np.concatenate(
            [np.empty((0, 3), dtype=np.uint64), *(self._rows[piece.block.id] for piece in pieces)], axis=0
        )
        return table[:, :2], table[:, 2] == 0

    def close(self) -> None:
        """Once is enough."""
        for windows in self._windows.values():
            for window in windows:
                window.close()


@dataclass(frozen=True, slots=True)
class Mover:
    """`key`: the secret that digests are made with."""

    devices: Devices
    arena: Arena
    key: int
    shortage: Shortage = field(default_factory=Shortage)

    def view(self) -> MappedView:
        return MappedView(self.devices, key=self.key)

    def out(
        self,
        view: View,
        shares: Sequence[Share],
        chunks: NDArray[np.intp],
        slots: Slots,
        stop: threading.Event,
        *,
        last: bool,
        copied: Copied | None = None,
    ) -> None:
        """These chunks, each to its slot. `last`: of the view nothing is needed once it is copied, also if this fails;
        it is let go of piece by piece, beside the copies of the rest, and `copied` is told."""
        wanted = np.full(sum(share.chunks for share in shares), ZERO, dtype=np.int32)
        wanted[chunks] = slots

        def one(share: Share) -> None:
            firsts = share.firsts()
            under_way: deque[tuple[int, Window, NDArray[np.intp]]] = deque()

            def over(window: Window, mine: NDArray[np.intp]) -> None:
                window.close()
                if copied is not None:
                    filled = wanted[mine]
                    copied.done(window.pieces, mine, filled[filled != ZERO])

            windows: Iterable[tuple[Window, NDArray[np.intp]]]
            windows = ((window, _chunks(window, firsts)) for window in view.windows(share.uuid))
            if copied is not None and copied.wanted(share.uuid):  # what needs the fewest copies is free the soonest
                windows = sorted(windows, key=lambda one: int((wanted[one[1]] != ZERO).sum()))
            with self.devices.get(share.uuid).copies(arena=self.arena.address, stop=stop) as copies:
                for window, mine in windows:
                    here, addresses = wanted[mine], addresses_of(window.base, len(mine))
                    copies.out(runs(addresses[here != ZERO], here[here != ZERO], edge=self.arena.edge), end=window.end)
                    if window.end is not None and (rest := window.end - window.base - (len(here) - 1) * CHUNK) < CHUNK:
                        self._clear(int(here[-1]), rest)
                    under_way.append((copies.mark(), window, mine))
                    if last and (len(under_way) > 1 or not copies.mark()):  # one is copied beside, where any is at all
                        mark, first, theirs = under_way.popleft()
                        copies.wait(mark)
                        over(first, theirs)
            if last:
                for _, window, mine in under_way:
                    over(window, mine)

        _each(one, shares)

    def _clear(self, slot: int, first: int) -> None:
        """What no copy writes of it: the bytes that another had there must not come back."""
        if slot >= 0:
            self.arena.chunk(slot)[first:] = bytes(CHUNK - first)

    def lent(self, operation: Operation, pieces: Sequence[Piece]) -> LentView:
        """Of what custom storage has mapped, with its digests."""
        view = LentView(operation, pieces)
        view.look(self.devices, key=self.key)
        return view

    def refill(
        self, operation: Operation, shares: Sequence[Share], slots: Slots, stop: threading.Event, stream: Stream | None
    ) -> None:
        """Into what custom storage has mapped: from the arena, then with what `stream` has of the rest."""
        view = LentView(operation, [piece for share in shares for piece in share.pieces])

        def one(share: Share) -> None:
            (window,) = view.windows(share.uuid)
            here = slots[share.first : share.first + share.chunks]
            addresses = addresses_of(window.base, share.chunks)
            device = self.devices.get(share.uuid)
            with device.copies(arena=self.arena.address, stop=stop) as copies:
                came, zero = here > ZERO, here == ZERO
                copies.into(runs(addresses[came], here[came], edge=self.arena.edge), end=window.end)
                copies.clear(runs(addresses[zero], here[zero], edge=self.arena.edge), end=window.end)
            if stream is not None and (away := here < ZERO).any():
                stream.copy(device, addresses[away], here[away], stop, end=window.end)

        _each(one, shares)

    def fill(
        self,
        shares: Sequence[Share],
        slots: Slots,
        stop: threading.Event,
        *,
        stream: Stream | None = None,
        patience: Patience | None = None,
    ) -> Filled:
        """Creates the memory of all shares and fills it: from the arena, then with what `stream` has of the rest. To
        let go of it here is nothing that anybody needs to wait for. `patience`: to wait for the memory.

        `NoRoom` if a device lacks the memory, with nothing left allocated there. `VerifyFailed` as from the stream.
        """
        made: list[int] = []
        mapped = ExitStack()

        def one(share: Share) -> list[int]:
            device, some = self.devices.get(share.uuid), slots[share.first : share.first + share.chunks]
            fds, undo = filled(device, share, some, arena=self.arena, stop=stop, stream=stream, patience=patience)
            made.extend(fds)
            mapped.push(undo)
            return fds

        try:
            return [fd for fds in _each(one, shares) for fd in fds], mapped
        except BaseException:
            if patience is not None:
                patience.made.clear()
            free((made, mapped), self.shortage)
            raise


def _place(piece: Piece) -> tuple[bytes, int]:
    return piece.block.uuid, piece.block.address


def _chunks(window: Window, firsts: Mapping[int, int]) -> NDArray[np.intp]:
    """Which chunks of the process it has, by the first one of each block."""
    spans = ((firsts[piece.block.id], piece.block.bytes // CHUNK) for piece in window.pieces)
    return np.concatenate([np.arange(first, first + count) for first, count in spans])


def _each(work: Callable[[Share], T], shares: Sequence[Share]) -> list[T]:
    """Each device has a bus of its own: on all at once. The first error, once all have ended."""
    if len(shares) < 2:
        return [work(share) for share in shares]
    with ThreadPoolExecutor(len(shares), thread_name_prefix="device") as pool:
        return [job.result() for job in [pool.submit(work, share) for share in shares]]
