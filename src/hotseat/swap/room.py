"""Room on the devices for one swap in: wait for it, reserve it, and prove that it is reserved."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from hotseat.config.units import format_size
from hotseat.errors import NoRoom
from hotseat.gpu.port import DeviceTruth
from hotseat.linux import proc
from hotseat.swap.meter import Meter
from hotseat.swap.records import Record
from hotseat.swap.reservations import Reservations, Shortage
from hotseat.swap.scene import Scene
from hotseat.words import ProcessRef, State

LOOKS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25)
"""Seconds between two looks at devices without room; the last one again and again."""
SHOWN = 5
"""Processes named in a refusal."""


class Room:
    """For one swap."""

    def __init__(self, *, reservations: Reservations, devices: DeviceTruth, meter: Meter) -> None:
        self._reservations = reservations
        self._devices = devices
        self._meter = meter

    async def reserve(self, scene: Scene, processes: Collection[ProcessRef]) -> None:
        """Reserve what `processes` need, or `NoRoom` after `Deadlines.room`: memory may be released late."""
        need = self._need(scene, processes)
        if not need:
            return
        key = scene.workload.container.key
        loop = asyncio.get_running_loop()
        until = loop.time() + scene.deadlines.room
        attempt = 0
        while True:
            epoch = self._reservations.epoch()
            uses = await self._devices.use()
            lacking = self._reservations.grant(
                key=key,
                name=scene.workload.name,
                need=need,
                pids=scene.pids,
                uses=uses,
                caps=scene.caps,
                epoch=epoch,
            )
            if lacking == []:
                return
            if loop.time() >= until:
                raise no_room(scene.workload.name, lacking or [])
            with self._meter.of("wait"):
                await asyncio.sleep(LOOKS[min(attempt, len(LOOKS) - 1)] if lacking is not None else 0)
            attempt += lacking is not None

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
        """So much of what was reserved is on the devices now."""
        self._reservations.lower(scene.workload.container.key, nbytes)

    def give_back(self, scene: Scene) -> None:
        self._reservations.give_back(scene.workload.container.key)

    def _need(self, scene: Scene, processes: Collection[ProcessRef]) -> dict[int, int]:
        record: Record = scene.record(state=State.PARKED)
        margin = scene.policy.device_margin
        here = scene.on_device(processes)
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
