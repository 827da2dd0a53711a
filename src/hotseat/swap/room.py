"""Room on the devices for one swap in: wait for it, reserve it, and prove that it is reserved.

What the store brought in ahead of a swap (`hotseat.swap.ahead`) has no reservation. So before a device is read for a
grant, all of it but the workload's own is given up, and its own is claimed: of that only the rest needs room."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence

from hotseat.config.units import format_size
from hotseat.errors import Busy, HotseatError, NoRoom
from hotseat.gpu.port import DeviceTruth
from hotseat.linux import proc
from hotseat.store.port import HeldState, Store
from hotseat.swap.lending import ahead_of, by_index, summed
from hotseat.swap.meter import Meter
from hotseat.swap.records import Record
from hotseat.swap.reservations import Reservations, Shortage
from hotseat.swap.scene import Scene
from hotseat.swap.truth import added, less
from hotseat.words import DeviceUse, ProcessRef, State

LOOKS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25)
"""Seconds between two looks at devices without room; the last one again and again."""
SHOWN = 5
"""Processes named in a refusal."""


class Room:
    """For one swap."""

    def __init__(self, *, reservations: Reservations, devices: DeviceTruth, store: Store | None, meter: Meter) -> None:
        self._reservations = reservations
        self._devices = devices
        self._store = store
        self._meter = meter
        self._uses: tuple[DeviceUse, ...] = ()
        """As read for the last grant."""
        self._claimed: list[ProcessRef] = []
        self._ahead: dict[str, int] = {}
        """What had come ahead at the last grant."""

    async def reserve(self, scene: Scene, processes: Collection[ProcessRef]) -> None:
        """Reserve what `processes` need, or `NoRoom` after `Deadlines.room`: memory may be released late."""
        scene.ahead = {}
        if not self._need(scene, processes):
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + scene.deadlines.room
        attempt = 0
        while True:
            lacking = await self._try(scene, processes)
            if lacking == []:
                return
            if loop.time() >= until:
                raise no_room(scene.workload.name, lacking or [])
            with self._meter.of("wait"):
                await asyncio.sleep(LOOKS[min(attempt, len(LOOKS) - 1)] if lacking is not None else 0)
            attempt += lacking is not None

    async def _try(self, scene: Scene, processes: Collection[ProcessRef]) -> list[Shortage] | None:
        if self._store is None:
            return await self._grant(scene, processes)
        try:
            with self._reservations.settling():
                await self._claim(scene, self._store, seconds=scene.deadlines.move_floor)
                lacking = await self._grant(scene, processes)
                self._ahead = dict(scene.ahead)
                if lacking != []:
                    await self.disclaim(scene)  # more may come of it, and none of that is promised
                return lacking
        except Busy:
            await asyncio.sleep(LOOKS[0])
            return None

    async def _grant(self, scene: Scene, processes: Collection[ProcessRef]) -> list[Shortage] | None:
        epoch = self._reservations.epoch()
        self._uses = await self._devices.use()
        return self._reservations.grant(
            key=scene.workload.container.key,
            name=scene.workload.name,
            need=self._need(scene, processes),
            pids=scene.pids,
            uses=self._uses,
            caps=scene.caps,
            epoch=epoch,
        )

    async def _claim(self, scene: Scene, store: Store, *, seconds: float) -> None:
        """Of a store that is not there nothing has come. One that hangs may still be taking memory ahead: `Busy`,
        unless nobody asked it to."""
        self._claimed = scene.blocks_in(HeldState.OUT)
        scene.ahead = {}
        try:
            async with asyncio.timeout(scene.deadlines.store):
                scene.ahead = ahead_of(await store.claim(self._claimed, alone=True, deadline=seconds))
        except HotseatError:
            pass
        except TimeoutError:
            if asyncio.get_running_loop().time() < self._reservations.comes_until:
                raise Busy("the store does not answer, and may still bring somebody in", hint="try again") from None

    async def disclaim(self, scene: Scene) -> None:
        """What has come ahead may be given up for others again."""
        claimed, self._claimed, self._ahead, scene.ahead = self._claimed, [], {}, {}
        if self._store is not None and claimed:
            with contextlib.suppress(HotseatError, TimeoutError):
                async with asyncio.timeout(scene.deadlines.query):
                    await self._store.claim(claimed, alone=False, deadline=0.0)

    async def reserve_lost(self, scene: Scene, processes: Collection[ProcessRef]) -> None:
        """Anew, if less is there than had come ahead when it was granted: the store's worker has died since."""
        if scene.ahead != self._ahead:
            await self.reserve(scene, processes)

    def must_cover(self, scene: Scene, processes: Collection[ProcessRef]) -> None:
        """The last line of defence: a restore without a reservation that covers it is a bug of ours, and not tried."""
        granted = self._reservations.held(scene.workload.container.key)
        need = self._need(scene, processes)
        if any(granted.get(index, 0) < nbytes for index, nbytes in need.items()):
            raise NoRoom(
                f"restoring {scene.workload.name} needs {need} bytes by device, {granted} are reserved: a bug",
                rule="reserve before restore",
                hint="please report it; nothing was tried",
            )

    def arrived(self, scene: Scene, nbytes: Mapping[int, int]) -> None:
        """So much of it is on the devices now: what was reserved, and what had come ahead. Beside that, what had left
        before the rest."""
        nbytes = added(
            less(nbytes, by_index(scene.ahead, self._uses)), by_index(summed(scene.left.values()), self._uses)
        )
        self._claimed, self._ahead, scene.ahead, scene.left = [], {}, {}, {}
        self._reservations.lower(scene.workload.container.key, nbytes)

    def give_back(self, scene: Scene) -> None:
        self._reservations.give_back(scene.workload.container.key)

    def _need(self, scene: Scene, processes: Collection[ProcessRef]) -> dict[int, int]:
        record: Record = scene.record(state=State.PARKED)
        margin = scene.policy.device_margin
        here = added(scene.on_device(processes), by_index(scene.ahead, self._uses))
        if self._uses:  # else it is not read yet, and asked only whether there is anything
            here = less(here, by_index(summed(scene.left.values()), self._uses))
        return {index: nbytes - here.get(index, 0) + margin for index, nbytes in record.need(processes).items()}


def no_room(name: str, lacking: Sequence[Shortage]) -> NoRoom:
    """Says for each device what is needed, what is free, and who has the rest."""
    parts = []
    for one in lacking:
        holders = sorted(one.holders.items(), key=lambda entry: -entry[1])
        told = [f"{_called(pid)} (pid {pid}) holds {format_size(n)}" for pid, n in holders[:SHOWN]]
        if len(holders) > SHOWN:
            told.append(f"{len(holders) - SHOWN} more hold {format_size(sum(n for _, n in holders[SHOWN:]))}")
        told += [f"{format_size(n)} are reserved for {other}" for other, n in sorted(one.others.items())]
        tail = f" ({'; '.join(told)})" if told else ""
        parts.append(f"device {one.device}: {format_size(one.needed)} needed, {format_size(one.free)} free{tail}")
    if not parts:
        parts = ["other swaps kept changing what is reserved"]
    return NoRoom(
        f"no room to swap {name} in. {'. '.join(parts)}",
        rule="device memory",
        hint="park a workload that is seated there, e.g. `hotseat swap IN OUT`, or end the foreign process",
        lacking={one.device: one.lacking for one in lacking},
        holders={one.device: dict(one.holders) for one in lacking},
        reserved={one.device: dict(one.others) for one in lacking},
    )


def _called(pid: int) -> str:
    found = proc.stat(pid)
    return found.name if found is not None else "a process"
