"""Device memory promised to swaps in, in a table that all hotseat processes of a host share.

A restore that runs out of device memory is final (FACTS.md), so no restore starts without a grant here. A grant is
made against what the device itself reports free now, less what is promised to others and not yet taken by them.

The reading of the device comes before the transaction, because no transaction may stay open over an await. If any grant
or return happened in between (the epoch moved), the reading may be stale and the caller reads again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from hotseat.swap import guard
from hotseat.swap.journal import Journal
from hotseat.words import DeviceUse, ProcessRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One row: `nbytes` of `device` for the workload `name`, whose processes are `pids`."""

    key: str
    name: str
    device: int
    nbytes: int
    pids: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """Why one device has no room. `others`: bytes promised to other workloads and not yet taken, by name."""

    device: int
    needed: int
    free: int
    others: Mapping[str, int]
    holders: Mapping[int, int]

    @property
    def lacking(self) -> int:
        return max(0, self.needed - (self.free - sum(self.others.values())))


def shortages(
    *, need: Mapping[int, int], uses: Sequence[DeviceUse], caps: Mapping[int, int], promises: Collection[Promise]
) -> list[Shortage]:
    """The devices that lack room for `need`. Pure. A cap counts everything that the device reports as used."""
    by_index = {use.device.index: use for use in uses}
    out = []
    for index, needed in sorted(need.items()):
        use = by_index.get(index)
        free = 0
        others: dict[str, int] = {}
        if use is not None:
            free = use.free_bytes
            if index in caps:
                free = min(free, max(0, caps[index] - use.used_bytes))
            for promise in promises:
                if promise.device == index:
                    taken = sum(use.processes.get(pid, 0) for pid in promise.pids)
                    if promise.nbytes > taken:
                        others[promise.name] = others.get(promise.name, 0) + promise.nbytes - taken
        if use is None or needed > free - sum(others.values()):
            holders = dict(use.processes) if use is not None else {}
            out.append(Shortage(device=index, needed=needed, free=free, others=others, holders=holders))
    return out


class Reservations:
    """The table's keeper for one hotseat process."""

    def __init__(self, *, journal: Journal, alive: Callable[[ProcessRef], bool]) -> None:
        self._journal = journal
        self._alive = alive
        self.comes_until = -math.inf
        """On the event loop's clock: until then something that this hotseat began may come ahead, claimed or not."""

    def settling(self) -> AbstractContextManager[None]:
        """Hold this from before the store is told who may come ahead until it is granted, or begun: nothing comes ahead
        into what was granted to another meanwhile. `Busy` if any hotseat process has it: for some milliseconds."""
        return guard.only_one(self._journal.locks, key="reservations", name="what comes ahead")

    def epoch(self) -> int:
        """Read this before the device."""
        with self._journal.transaction() as db:
            return int(db.execute("SELECT value FROM epoch").fetchone()[0])

    def grant(
        self,
        *,
        key: str,
        name: str,
        need: Mapping[int, int],
        pids: Collection[int],
        uses: Sequence[DeviceUse],
        caps: Mapping[int, int],
        epoch: int,
    ) -> list[Shortage] | None:
        """Promise `need` to `key`: [] if granted, the shortages if not, None if `uses` may be stale: read again."""
        with self._journal.transaction() as db:
            if int(db.execute("SELECT value FROM epoch").fetchone()[0]) != epoch:
                return None
            promises = [promise for promise in self._live() if promise.key != key]
            lacking = shortages(need=need, uses=uses, caps=caps, promises=promises)
            if not lacking:
                owner = guard.identity()
                # What its processes hold already (contexts that stayed) is no part of `need`, and must not pass for
                # the taking of it.
                here = {use.device.index: sum(use.processes.get(pid, 0) for pid in pids) for use in uses}
                db.execute("DELETE FROM reservations WHERE key = ?", (key,))
                db.executemany(
                    "INSERT INTO reservations VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (key, name, index, n + here.get(index, 0), json.dumps(sorted(pids)), owner)
                        for index, n in need.items()
                    ],
                )
                db.execute("UPDATE epoch SET value = value + 1")
            return lacking

    def held(self, key: str) -> dict[int, int]:
        """What is promised to `key` now."""
        return {promise.device: promise.nbytes for promise in self._live() if promise.key == key}

    def lower(self, key: str, nbytes: Mapping[int, int]) -> None:
        """By bytes per device that a reading of it from now on shows as used, in whoever's name."""
        if not any(nbytes.values()):
            return
        with self._journal.transaction() as db:
            db.executemany(
                "UPDATE reservations SET bytes = MAX(0, bytes - ?) WHERE key = ? AND device = ?",
                [(n, key, index) for index, n in nbytes.items()],
            )
            db.execute("UPDATE epoch SET value = value + 1")

    def give_back(self, key: str) -> None:
        with self._journal.transaction() as db:
            if db.execute("DELETE FROM reservations WHERE key = ?", (key,)).rowcount:
                db.execute("UPDATE epoch SET value = value + 1")

    def all(self) -> list[Promise]:
        """Every promise that counts."""
        return self._live()

    def _live(self) -> list[Promise]:
        """Without the entries of dead owners. One exception: if the owner died past its commit, the driver may be
        restoring still, so the entry counts until a recovery drops it or the processes themselves are gone."""
        out = []
        with_owner = "SELECT key, name, device, bytes, pids, owner FROM reservations"
        for key, name, device, nbytes, pids, owner in self._journal.rows(with_owner):
            if not guard.alive(owner):
                record = self._journal.read(key)
                restoring = record is not None and record.swapping and record.committed
                if not (restoring and record is not None and any(map(self._alive, record.processes))):
                    continue
            promise = Promise(key=key, name=name, device=device, nbytes=nbytes, pids=frozenset(json.loads(pids)))
            out.append(promise)
        return out
