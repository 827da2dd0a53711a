"""Records as rows of tables and as JSON. Pure; `draw` puts them on a terminal, `--json` prints them as they are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotseat import __version__
from hotseat.cli import units
from hotseat.gpu.entries import device_entry
from hotseat.words import DeviceUse, State, SwapReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One workload as `ps` shows it."""

    name: str
    state: State
    platform: str
    container: str
    """The platform's key, "docker:4f1c..."."""
    models: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    gpu_bytes: Mapping[int, int] = field(default_factory=dict)
    """Device index -> bytes held now."""
    parked_gpu_bytes: Mapping[int, int] = field(default_factory=dict)
    """Device index -> bytes it needs to sit again."""
    stored_bytes: int = 0
    """Of its device memory: on the store's disk, as compressed."""
    host_bytes: int = 0
    waiting: int = 0
    """Requests that wait for it, and `in_flight` those that its engine works on; always 0 without a daemon."""
    in_flight: int = 0
    pinned: bool = False
    """Never parked to make room for others (hotseat.yaml)."""
    note: str = ""
    way: str = ""
    """How its GPU memory moves: "interposed" or "custom-storage" (by the store), "driver", "mixed"; `way_why` tells.
    "": it has none."""
    way_why: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state.value,
            "platform": self.platform,
            "container": self.container,
            "models": list(self.models),
            "pids": list(self.pids),
            "gpu_bytes": sum(self.gpu_bytes.values()),
            "gpu_bytes_per_device": {str(index): count for index, count in self.gpu_bytes.items()},
            "parked_gpu_bytes": sum(self.parked_gpu_bytes.values()),
            "parked_gpu_bytes_per_device": {str(index): count for index, count in self.parked_gpu_bytes.items()},
            "stored_bytes": self.stored_bytes,
            "host_bytes": self.host_bytes,
            "waiting": self.waiting,
            "in_flight": self.in_flight,
            "pinned": self.pinned,
            "note": self.note,
            "way": self.way,
            "way_why": self.way_why,
        }

    def cells(self) -> list[str]:
        gpu = units.size(sum(self.gpu_bytes.values()))
        parked = sum(self.parked_gpu_bytes.values())
        if parked:
            gpu = f"0 (needs {units.size(parked)})" if gpu == "-" else f"{gpu} (needs {units.size(parked)} more)"
        return [
            self.name,
            self.state.value,
            self.platform,
            ", ".join(self.models) or "-",
            str(len(self.pids)),
            gpu,
            units.size(self.host_bytes),
            str(self.waiting) if self.waiting else "-",
            "; ".join(part for part in (self.note, self._by) if part),
        ]

    @property
    def _by(self) -> str:
        """The driver's way is the usual one, and not worth a word in each row."""
        return "" if self.way in ("", "driver") else f"{self.way}: {self.way_why}"


HEADINGS = ["NAME", "STATE", "PLATFORM", "MODELS", "PIDS", "GPU", "HOST", "WAITING", "NOTE"]


def row_from(data: Mapping[str, Any]) -> Row:
    """`Row.as_json` and the control API's rows, read back."""

    def per_device(name: str) -> dict[int, int]:
        return {int(index): int(count) for index, count in data.get(name, {}).items()}

    return Row(
        name=data["name"],
        state=State(data["state"]),
        platform=data["platform"],
        container=data["container"],
        models=tuple(data.get("models", ())),
        pids=tuple(data.get("pids", ())),
        gpu_bytes=per_device("gpu_bytes_per_device"),
        parked_gpu_bytes=per_device("parked_gpu_bytes_per_device"),
        stored_bytes=data.get("stored_bytes", 0),
        host_bytes=data.get("host_bytes", 0),
        waiting=data.get("waiting", 0),
        in_flight=data.get("in_flight", 0),
        pinned=data.get("pinned", False),
        note=data.get("note", ""),
        way=data.get("way", ""),
        way_why=data.get("way_why", ""),
    )


def picture(rows: Sequence[Row], uses: Sequence[DeviceUse]) -> dict[str, Any]:
    """What can be told without a daemon, in the shape of its snapshot."""
    owner = {pid: row.name for row in rows for pid in row.pids}
    return {
        "at": time.time(),
        "version": __version__,
        "closing": False,
        "emulated": any(use.device.emulated for use in uses),
        "devices": [device_entry(use, owner=owner) for use in uses],
        "workloads": [row.as_json() for row in rows],
    }


def report_json(report: SwapReport) -> dict[str, Any]:
    """A SwapReport as data: times in milliseconds, bytes per device, rates in GB/s where bytes moved."""
    total = sum(report.gpu_bytes.values())
    phases: list[dict[str, Any]] = []
    for phase, moved_in in report.with_moves():
        entry: dict[str, Any] = {"name": phase.name, "part": phase.part, "ms": round(phase.seconds * 1000, 3)}
        if moved_in and total:
            entry["gb_per_s"] = round(total / moved_in / 1e9, 3)
        phases.append(entry)
    return {
        "workload": report.workload,
        "direction": report.direction.value,
        "started_at": report.started_at,
        "ms": round(report.seconds * 1000, 3),
        "own_ms": round(report.own_seconds * 1000, 3),
        "gpu_bytes": total,
        "gpu_bytes_per_device": {str(index): count for index, count in report.gpu_bytes.items()},
        "processes": report.processes,
        "cuda_processes": report.cuda_processes,
        "threads": report.threads,
        "phases": phases,
        "interposed": [process.pid for process in report.interposed],
        "custom_storage": [process.pid for process in report.custom],
    }


def phase_rows(report: SwapReport) -> list[list[str]]:
    """phase, part, time, rate; one row each."""
    total = sum(report.gpu_bytes.values())
    return [
        [
            phase.name,
            phase.part,
            units.duration(phase.seconds),
            "" if moved_in is None else units.rate(total, moved_in),
        ]
        for phase, moved_in in report.with_moves()
    ]


def summary(report: SwapReport) -> str:
    """One sentence about a swap that is done."""
    if not report.phases:
        return f"{report.workload} is {'parked' if report.direction == 'out' else 'seated'} already; nothing to do"
    verb, what = ("parked", "released") if report.direction == "out" else ("seated", "taken")
    return (
        f"{report.workload} {verb} in {units.duration(report.seconds)}: {units.size(sum(report.gpu_bytes.values()))} "
        f"of GPU memory {what}, {report.processes} process{'' if report.processes == 1 else 'es'} "
        f"({report.cuda_processes} with CUDA), "
        f"{report.threads} threads; hotseat's own part {units.duration(report.own_seconds)}"
    )


def device_lines(uses: Sequence[DeviceUse]) -> list[str]:
    """One line a device: what is used, what is free, and whether it is only emulated."""
    return [
        f"GPU {use.device.index} {use.device.name}: {units.amount(use.used_bytes)} used, "
        f"{units.amount(use.free_bytes)} free of {units.size(use.device.total_bytes)}"
        + (" (emulated driver)" if use.device.emulated else "")
        for use in uses
    ]
