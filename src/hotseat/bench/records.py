"""What one measurement is made of, and its medians. Pure.

Times are seconds, bytes are integers; a rate is decimal GB/s (bytes / seconds / 1e9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from hotseat.words import MOVING, SwapReport

CHECKPOINT_PHASES = ("lock", "checkpoint", "restore", "unlock")


@dataclass(frozen=True, slots=True, kw_only=True)
class BareCycle:
    """The driver's calls alone on the same processes: lock all, checkpoint all, restore all, unlock all."""

    lock: float
    checkpoint: float
    restore: float
    unlock: float
    gpu_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseFigure:
    """Median, smallest and largest of one phase over all cycles."""

    direction: str
    name: str
    part: str
    median: float
    low: float
    high: float
    gb_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One way's figures: hotseat's or the bare driver's."""

    cycles: int
    gpu_bytes: int
    phases: tuple[PhaseFigure, ...]
    out_seconds: float
    in_seconds: float
    own_out_seconds: float = 0.0
    own_in_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Everything of one run of `hotseat bench swap`."""

    workload: str
    command: str
    date: str
    machine: dict[str, Any]
    emulated: bool
    processes: int
    cuda_processes: int
    threads: int
    hotseat: Figures
    bare: Figures | None = None


def of_swaps(pairs: Sequence[tuple[SwapReport, SwapReport]]) -> Figures:
    """`pairs` are (out, in), one a cycle; at least one."""
    outs, ins = [out for out, _ in pairs], [back for _, back in pairs]
    moved = int(median(sum(report.gpu_bytes.values()) for report in outs))
    return Figures(
        cycles=len(pairs),
        gpu_bytes=moved,
        phases=(*_phases("out", outs, moved), *_phases("in", ins, moved)),
        out_seconds=median(report.seconds for report in outs),
        in_seconds=median(report.seconds for report in ins),
        own_out_seconds=median(report.own_seconds for report in outs),
        own_in_seconds=median(report.own_seconds for report in ins),
    )


def of_bare(cycles: Sequence[BareCycle]) -> Figures:
    """At least one cycle."""
    moved = int(median(cycle.gpu_bytes for cycle in cycles))
    figures = []
    for name in CHECKPOINT_PHASES:
        times = [float(getattr(cycle, name)) for cycle in cycles]
        direction = "out" if name in ("lock", "checkpoint") else "in"
        figures.append(_figure(direction, name, "driver", times, moved, whole=times))
    return Figures(
        cycles=len(cycles),
        gpu_bytes=moved,
        phases=tuple(figures),
        out_seconds=median(cycle.lock + cycle.checkpoint for cycle in cycles),
        in_seconds=median(cycle.restore + cycle.unlock for cycle in cycles),
    )


def _phases(direction: str, reports: Sequence[SwapReport], moved: int) -> list[PhaseFigure]:
    """In the order of the first report. A phase that happens twice in one swap counts by its sum."""
    order: dict[tuple[str, str], list[float]] = {}
    for number, report in enumerate(reports):
        for phase in report.phases:
            times = order.setdefault((phase.name, phase.part), [0.0] * len(reports))
            times[number] += phase.seconds
    last = dict(iter(order))
    out = []
    for (name, part), times in order.items():
        parts = [others for (other, _), others in order.items() if other == name]
        whole = [sum(seconds) for seconds in zip(*parts, strict=True)] if part == last[name] else None
        out.append(_figure(direction, name, part, times, moved, whole=whole))
    return out


def _figure(
    direction: str, name: str, part: str, times: Sequence[float], moved: int, *, whole: Sequence[float] | None
) -> PhaseFigure:
    """`whole`: with the last part of a phase, the times of all its parts, in which its memory moved."""
    middle = median(times)
    moving = name in MOVING and moved and whole is not None and median(whole) > 0
    return PhaseFigure(
        direction=direction,
        name=name,
        part=part,
        median=middle,
        low=min(times),
        high=max(times),
        gb_per_s=moved / median(whole) / 1e9 if moving and whole is not None else None,
    )
