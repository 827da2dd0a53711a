"""What the journal keeps of one workload, as frozen records that turn into JSON and back. No I/O."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from hotseat.words import Direction, PhaseTime, ProcessRef, State, SwapReport

SILENT_ENGINE = "probe"
"""`Record.step` of a quarantine whose workload runs: only its engine did not answer. Seating it asks that again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One CUDA process: its restore thread (host tid) and the bytes per device that it holds, or held when parked."""

    process: ProcessRef
    restore_thread: int
    gpu: Mapping[int, int] = field(default_factory=dict)
    blocks: Mapping[int, int] | None = None
    """What the store holds or held of it, beside `gpu`. None: it is not interposed. Empty: not known before `take`."""
    custom: bool = False
    """It has no interposer, and the store moves all of it by the driver's custom storage."""
    kept: bool = False
    """Parked, its context stays on the devices: locked, with `gpu` as it is."""

    @property
    def interposed(self) -> bool:
        return self.blocks is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The journal's line for one incarnation (`started_at`) of one container (`key`).

    `state` is PARKED, QUARANTINED or, while a swap runs or after hotseat died in one, SWAPPING_OUT / SWAPPING_IN; a
    seated workload has no record. `step` is the last step begun, `committed` whether it lies past the commit.
    """

    key: str
    name: str
    started_at: float
    state: State
    note: str = ""
    step: str = ""
    committed: bool = False
    holdings: tuple[Holding, ...] = ()
    parked: Mapping[int, int] = field(default_factory=dict)
    """Device index -> bytes that a swap in must find free; at least the sum of the holdings."""
    owner: str = ""
    """The hotseat process that swaps it now, as `guard.identity` writes it."""

    @property
    def swapping(self) -> bool:
        return self.state in (State.SWAPPING_OUT, State.SWAPPING_IN)

    @property
    def silent_engine(self) -> bool:
        """Quarantined though it runs: only its engine did not answer."""
        return self.state is State.QUARANTINED and self.step == SILENT_ENGINE

    @property
    def may_be_whole(self) -> bool:
        """Quarantined before its commit, because the driver was silent. Once it speaks again, that may be lifted."""
        lost = self.committed or self.silent_engine or not self.holdings
        return self.state is State.QUARANTINED and not lost

    @property
    def direction(self) -> Direction:
        return Direction.IN if self.state is State.SWAPPING_IN else Direction.OUT

    @property
    def processes(self) -> frozenset[ProcessRef]:
        return frozenset(holding.process for holding in self.holdings)

    def need(self, of: Collection[ProcessRef]) -> dict[int, int]:
        """Device bytes to restore these processes. What the device took beyond the sum of the processes (the driver's
        own share) counts in full for a part of them too: a reservation may be too large, never too small."""
        if not of:
            return {}
        whole = total(self.holdings)
        if self.processes <= set(of) or not whole:
            return dict(self.parked)
        chosen = total([holding for holding in self.holdings if holding.process in of])
        return {index: n + max(0, self.parked.get(index, 0) - whole[index]) for index, n in chosen.items()}


def total(holdings: Collection[Holding]) -> dict[int, int]:
    """Bytes per device of all of them."""
    out: dict[int, int] = {}
    for holding in holdings:
        for index, nbytes in (*holding.gpu.items(), *(holding.blocks or {}).items()):
            out[index] = out.get(index, 0) + nbytes
    return out


def contexts(holdings: Collection[Holding]) -> dict[int, int]:
    """Bytes per device that are the driver's, not the store's."""
    return total([replace(one, blocks=None) for one in holdings])


def dump_holdings(holdings: Collection[Holding]) -> str:
    return json.dumps(
        [
            [
                *h.process,
                h.restore_thread,
                sorted(h.gpu.items()),
                None if h.blocks is None else sorted(h.blocks.items()),
                h.kept,
                h.custom,
            ]
            for h in holdings
        ]
    )


def load_holdings(text: str) -> tuple[Holding, ...]:
    return tuple(
        Holding(
            process=ProcessRef(pid, start),
            restore_thread=tid,
            gpu=dict(gpu),
            blocks=dict(more[0]) if more and more[0] is not None else None,
            kept=len(more) > 1 and more[1],
            custom=len(more) > 2 and more[2],
        )
        for pid, start, tid, gpu, *more in json.loads(text)  # an older hotseat wrote less
    )


def dump_report(report: SwapReport) -> str:
    return json.dumps(
        {
            "workload": report.workload,
            "direction": report.direction,
            "phases": [[phase.name, phase.seconds, phase.part] for phase in report.phases],
            "gpu_bytes": sorted(report.gpu_bytes.items()),
            "processes": report.processes,
            "cuda_processes": report.cuda_processes,
            "threads": report.threads,
            "started_at": report.started_at,
            "interposed": report.interposed,
            "custom": report.custom,
        }
    )


def load_report(text: str) -> SwapReport:
    data = json.loads(text)
    return SwapReport(
        workload=data["workload"],
        direction=Direction(data["direction"]),
        phases=tuple(PhaseTime(name=name, seconds=seconds, part=part) for name, seconds, part in data["phases"]),
        gpu_bytes=dict(data["gpu_bytes"]),
        processes=data["processes"],
        cuda_processes=data["cuda_processes"],
        threads=data["threads"],
        started_at=data["started_at"],
        interposed=tuple(ProcessRef(*process) for process in data.get("interposed", ())),
        custom=tuple(ProcessRef(*process) for process in data.get("custom", ())),
    )
