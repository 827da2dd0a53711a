"""What a store holds, workload by workload, as lines, rows and JSON. Pure but for the keeper's age."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hotseat.cli import units
from hotseat.config.units import format_size
from hotseat.linux import proc
from hotseat.store.port import TURNED_OFF, Held, HeldState, Status
from hotseat.words import ProcessRef

FIGURES = ("bytes", "lent_bytes", "parked_bytes", "disk_bytes", "zero_bytes")
"""Of `Held`, as the table has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One workload's part of the store."""

    name: str
    processes: Mapping[ProcessRef, Held]

    @property
    def state(self) -> str:
        return ", ".join(sorted({"stored" if held.stored else held.state.value for held in self.processes.values()}))

    @property
    def note(self) -> str:
        notes = {held.note for held in self.processes.values() if held.note}
        notes |= {"not connected" for held in self.processes.values() if not held.connected}
        return "; ".join(sorted(notes))

    def total(self, figure: str) -> int:
        return sum(int(getattr(held, figure)) for held in self.processes.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "pids": sorted(ref.pid for ref in self.processes),
            "blocks": self.total("blocks"),
            "bytes": self.total("bytes"),
            "lent_bytes": self.total("lent_bytes"),
            "parked_bytes": self.total("parked_bytes"),
            "zero_bytes": self.total("zero_bytes"),
            "disk_bytes": self.total("disk_bytes"),
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    status: Status
    workloads: tuple[Part, ...]
    uptime: float | None
    """Seconds; None where the keeper is not to be seen."""

    HEADINGS: ClassVar = ["NAME", "STATE", "PIDS", "MEMORY", "LENT", "IN ARENA", "ON DISK", "ZERO", "NOTE"]

    @property
    def parked(self) -> int:
        """Bytes that are parked, as their workloads see them."""
        return sum(held.bytes for held in self.status.processes.values() if held.state is HeldState.OUT)

    @property
    def zero(self) -> int:
        return sum(part.total("zero_bytes") for part in self.workloads)

    @property
    def shared(self) -> float | None:
        """Bytes in the arena that are parked and not zero, by those that hold them: 2 where all is there twice."""
        there = [held for held in self.status.processes.values() if held.parked_bytes and not held.stored]
        kept = sum(held.parked_bytes for held in there)
        return sum(held.bytes - held.zero_bytes for held in there) / kept if kept else None

    def as_json(self) -> dict[str, Any]:
        seen = self.status
        return {
            "version": seen.version,
            "arena_bytes": seen.arena,
            "ready_bytes": seen.ready,
            "used_bytes": seen.used,
            "cached_bytes": seen.cached,
            "parked_bytes": self.parked,
            "zero_bytes": self.zero,
            "spill": seen.spill,
            "spill_direct": seen.direct,
            "disk_bytes": seen.disk,
            "disk_free_bytes": seen.disk_free,
            "custom_storage": seen.custom_storage,
            "no_custom_storage": seen.no_custom_storage,
            "dedup_ratio": self.shared and round(self.shared, 3),
            "keeper": seen.keeper,
            "worker": seen.worker,
            "worker_starts": seen.starts,
            "uptime_seconds": self.uptime and round(self.uptime, 1),
            "note": seen.note,
            "workloads": [part.as_json() for part in self.workloads],
        }

    def lines(self) -> list[str]:
        seen = self.status
        ready = "" if seen.ready == seen.arena else f", {units.size(seen.ready)} of it populated so far"
        up = f", up {units.age(self.uptime)}" if self.uptime is not None else ""
        died = f" (number {seen.starts}: those before it died, nothing was lost)" if seen.starts > 1 else ""
        lines = [
            f"arena    {units.size(seen.arena)}{ready}",
            f"used     {format_size(seen.used)}, for {format_size(self.parked)} that are parked",
            f"cached   {format_size(seen.cached)}, given up when room is needed",
        ]
        if self.shared is not None:
            lines.append(f"saved    {format_size(self.zero)} zero; the rest is kept once, {self.shared:.2f} to 1")
        if seen.spill:
            through = "" if seen.direct else ", through the page cache"
            free = format_size(seen.disk_free)
            lines.append(f"disk     {format_size(seen.disk)} in {seen.spill}{through}, {free} free")
        if seen.custom_storage:
            lines.append("custom   processes without the interposer go by custom storage, which has never run on a GPU")
        elif seen.no_custom_storage not in ("", TURNED_OFF):
            lines.append(f"custom   no custom storage: {seen.no_custom_storage}")
        lines.append(f"keeper   pid {seen.keeper}{up}; worker pid {seen.worker}{died}")
        return [*lines, *([f"note     {seen.note}"] if seen.note else [])]

    def rows(self) -> list[list[str]]:
        return [
            [
                part.name,
                part.state,
                " ".join(str(ref.pid) for ref in sorted(part.processes)),
                *(
                    units.size(part.total(name))
                    for name in ("bytes", "lent_bytes", "parked_bytes", "disk_bytes", "zero_bytes")
                ),
                part.note,
            ]
            for part in self.workloads
        ]


def storage(status: Status, *, names: Mapping[int, str]) -> Storage:
    """`names`: pid -> workload; who has none stands by its number."""
    parts: dict[str, dict[ProcessRef, Held]] = {}
    for ref, held in sorted(status.processes.items()):
        parts.setdefault(names.get(ref.pid, str(ref.pid)), {})[ref] = held
    return Storage(
        status=status,
        workloads=tuple(Part(name=name, processes=processes) for name, processes in sorted(parts.items())),
        uptime=_age(status.keeper),
    )


def _age(pid: int) -> float | None:
    ref = proc.ref(pid) if pid else None
    return None if ref is None else time.clock_gettime(time.CLOCK_BOOTTIME) - ref.start_time / os.sysconf("SC_CLK_TCK")
