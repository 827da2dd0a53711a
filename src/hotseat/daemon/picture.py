"""What the scheduler is shown of the records. Part of the core: synchronous, no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotseat.daemon import rooms
from hotseat.daemon.book import Record
from hotseat.scheduler import HostRoom, Snapshot, WorkloadView
from hotseat.words import State

if TYPE_CHECKING:
    from hotseat.daemon.core import Core


def snapshot(core: Core, now: float) -> Snapshot:
    """Devices, host memory and workloads as they are known now."""
    disk = core.store.disk_free if core.store is not None else 0
    views = tuple(record.view(now, disk_free=disk) for record in core.records.values() if record.looked)
    here = core.store.ahead if core.store is not None else {}
    devices = rooms.rooms(core.uses, core.caps, tuple(core.records.values()), ahead=here)
    arena = HostRoom(budget=core.store.arena) if core.store is not None else None
    return Snapshot(devices=devices, workloads=views, host=core.host.room, arena=arena)


def wants(view: WorkloadView, now: float) -> bool:
    """It is not seated, and should be: then the others' idleness matters."""
    return view.state is not State.SEATED and (view.demand_since is not None or view.preload or view.warm_until > now)


def shape(record: Record) -> tuple[object, ...]:
    """What of it the scheduler and those who wait depend on."""
    seen = record.observation
    held = None if seen is None else (seen.container, dict(seen.gpu_bytes), dict(seen.parked_gpu_bytes))
    return (record.state, record.note, record.looked, record.ready, record.job, record.held, record.pids, held)
