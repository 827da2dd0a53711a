"""A house whose rooms a test furnishes, for the pages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotseat.errors import HotseatError, NotFound
from hotseat.events import EventBus

GIB = 1 << 30
_NO_WAY: dict[str, str] = {
    "seated": "is seated already",
    "parked": "is parked already",
    "quarantined": "is quarantined: a swap failed after its commit",
}


def workload(name: str, state: str = "seated", *, gib: int = 8, **more: Any) -> dict[str, Any]:
    """As the daemon's picture has it."""
    seated = state == "seated"
    return {
        "name": name,
        "state": state,
        "platform": "docker",
        "container": f"docker:{name}",
        "models": [name],
        "pids": [100],
        "gpu_bytes": gib * GIB if seated else 0,
        "gpu_bytes_per_device": {"0": gib * GIB} if seated else {},
        "parked_gpu_bytes": gib * GIB if state == "parked" else 0,
        "parked_gpu_bytes_per_device": {"0": gib * GIB} if state == "parked" else {},
        "host_bytes": GIB,
        "waiting": 0,
        "in_flight": 0,
        "pinned": False,
        "note": "",
        "doing": None,
        "seated_since": time.time() - 60 if seated else None,
        "oldest_wait": 0.0,
        "expected_wait": 0.0,
        "requests_per_second": 0.0,
        "tokens_per_second": 0.0,
        "warm_seconds": 0.0,
        "why": "",
        "hint": "",
        "cannot": {
            "park": "" if seated else f"{name} {_NO_WAY[state]}",
            "seat": "" if state == "parked" else f"{name} {_NO_WAY[state]}",
            "prewarm": f"{name} {_NO_WAY[state]}" if state == "quarantined" else "",
        },
        **more,
    }


@dataclass
class ScriptedHouse:
    """Two workloads on one device of 16 GiB, unless a test says otherwise. `asked` is what was asked of it."""

    workloads: list[dict[str, Any]] = field(default_factory=lambda: [workload("ada"), workload("bob", "parked")])
    emulated: bool = False
    foreign: int = 0
    written: list[bytes] = field(default_factory=lambda: [b"one\n", b"two\n"])
    asked: list[tuple[str, str]] = field(default_factory=list)
    refuse: HotseatError | None = None
    hold: asyncio.Event | None = None
    """A swap waits for it."""
    events: EventBus = field(default_factory=EventBus)
    past: list[dict[str, Any]] = field(default_factory=list)

    def snapshot(self) -> dict[str, Any]:
        held = {row["name"]: row["gpu_bytes"] for row in self.workloads if row["gpu_bytes"]}
        used = sum(held.values()) + self.foreign
        device = {
            "index": 0,
            "uuid": "GPU-0",
            "name": "NVIDIA H200",
            "emulated": self.emulated,
            "total_bytes": 16 * GIB,
            "cap_bytes": 15 * GIB,
            "used_bytes": used,
            "free_bytes": 16 * GIB - used,
            "held": held,
            "foreign_bytes": self.foreign,
        }
        return {
            "at": time.time(),
            "version": "1.2.3",
            "closing": False,
            "emulated": self.emulated,
            "devices": [device],
            "workloads": self.workloads,
        }

    def points(self) -> Sequence[dict[str, Any]]:
        return self.past

    def exposition(self) -> tuple[str, bytes]:
        return "text/plain; version=0.0.4", b"# nothing\n"

    async def park(self, name: str) -> list[dict[str, Any]]:
        return [await self._swap("park", name)]

    async def seat(self, name: str) -> list[dict[str, Any]]:
        return [await self._swap("seat", name)]

    async def prewarm(self, name: str, *, seconds: float) -> dict[str, Any]:
        self.asked.append((f"prewarm {seconds:g}", name))
        row = self._row(name)
        if self.refuse is not None:
            raise self.refuse
        self.workloads = [old | {"warm_seconds": seconds} if old is row else old for old in self.workloads]
        self.events.publish("prewarm", workload=name, seconds=seconds)
        return {"workload": name, "state": row["state"], "seconds": seconds}

    async def logs(self, name: str, *, tail: int, follow: bool) -> AsyncGenerator[bytes]:
        self.asked.append(("logs", name))
        self._row(name)
        for line in self.written[-tail:]:
            yield line
        if follow:
            await asyncio.Event().wait()

    def replace(self, name: str, row: dict[str, Any]) -> None:
        self.workloads = [row if old["name"] == name else old for old in self.workloads]
        self.events.publish("state", workload=name, state=row["state"], note="")

    def swapped(self, name: str, direction: str, *, seconds: float = 1.5) -> dict[str, Any]:
        phases = [
            {"name": "lock", "part": "driver", "seconds": 0.1},
            {"name": "checkpoint", "part": "driver", "seconds": seconds - 0.3},
            {"name": "pause", "part": "platform", "seconds": 0.2},
        ]
        data = {
            "direction": direction,
            "seconds": seconds,
            "own_seconds": 0.2,
            "gpu_bytes": {"0": 8 * GIB},
            "started_at": time.time() - seconds,
            "phases": phases,
        }
        self.events.publish("swap", workload=name, **data)
        return {"workload": name, **data}

    async def _swap(self, what: str, name: str) -> dict[str, Any]:
        self.asked.append((what, name))
        self._row(name)
        if self.hold is not None:
            await self.hold.wait()
        if self.refuse is not None:
            raise self.refuse
        report = self.swapped(name, "out" if what == "park" else "in")
        self.replace(name, workload(name, "parked" if what == "park" else "seated"))
        return report

    def _row(self, name: str) -> dict[str, Any]:
        for row in self.workloads:
            if row["name"] == name:
                return row
        raise NotFound(f"no workload {name}", hint="hotseat ps")
