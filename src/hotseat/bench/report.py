"""A measurement as JSON and as a page that a person reads: machine, date, command, figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hotseat.bench.records import Figures, Measurement
from hotseat.config.units import format_size


def as_json(measurement: Measurement) -> dict[str, Any]:
    """Times in milliseconds under names that end in `_ms`."""
    return {
        "workload": measurement.workload,
        "command": measurement.command,
        "date": measurement.date,
        "machine": measurement.machine,
        "emulated": measurement.emulated,
        "processes": measurement.processes,
        "cuda_processes": measurement.cuda_processes,
        "threads": measurement.threads,
        "hotseat": _figures(measurement.hotseat),
        "bare": _figures(measurement.bare) if measurement.bare else None,
    }


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "cycles": figures.cycles,
        "gpu_bytes": figures.gpu_bytes,
        "out_ms": _ms(figures.out_seconds),
        "in_ms": _ms(figures.in_seconds),
        "own_out_ms": _ms(figures.own_out_seconds),
        "own_in_ms": _ms(figures.own_in_seconds),
        "phases": [
            {
                "direction": phase.direction,
                "name": phase.name,
                "part": phase.part,
                "median_ms": _ms(phase.median),
                "low_ms": _ms(phase.low),
                "high_ms": _ms(phase.high),
                "gb_per_s": phase.gb_per_s and round(phase.gb_per_s, 3),
            }
            for phase in figures.phases
        ],
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def rows(measurement: Measurement) -> list[list[str]]:
    """direction, phase, part, median, range, rate, the bare driver's median beside it."""
    bare = {(p.direction, p.name): p for p in measurement.bare.phases} if measurement.bare else {}
    out = []
    for phase in measurement.hotseat.phases:
        beside = bare.get((phase.direction, phase.name)) if phase.part == "driver" else None
        out.append(
            [
                phase.direction,
                phase.name,
                phase.part,
                f"{_ms(phase.median):.1f} ms",
                f"{_ms(phase.low):.1f}-{_ms(phase.high):.1f}",
                f"{phase.gb_per_s:.2f} GB/s" if phase.gb_per_s else "",
                f"{_ms(beside.median):.1f} ms" if beside else "",
            ]
        )
    return out


HEADINGS = ["", "PHASE", "PART", "MEDIAN", "RANGE (ms)", "RATE", "BARE DRIVER"]


def totals(measurement: Measurement) -> list[str]:
    """The sentences below the table."""
    ours, bare = measurement.hotseat, measurement.bare
    lines = [
        f"{measurement.workload}: {measurement.processes} process{'' if measurement.processes == 1 else 'es'} "
        f"({measurement.cuda_processes} with CUDA), "
        f"{measurement.threads} threads, {format_size(ours.gpu_bytes)} of GPU memory, {ours.cycles} cycles",
        f"out {_ms(ours.out_seconds):.1f} ms, in {_ms(ours.in_seconds):.1f} ms; hotseat's own part "
        f"{_ms(ours.own_out_seconds):.1f} ms out, {_ms(ours.own_in_seconds):.1f} ms in",
    ]
    if bare:
        lines.append(
            f"bare driver calls, same processes, in turn: out {_ms(bare.out_seconds):.1f} ms, "
            f"in {_ms(bare.in_seconds):.1f} ms"
        )
    if measurement.emulated:
        lines.append("emulated driver: its rates say nothing about a GPU; hotseat's own part is real")
    return lines


def markdown(measurement: Measurement) -> str:
    head = " | ".join(heading.lower() or "way" for heading in HEADINGS)
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows(measurement))
    machine = "\n".join(f"- {name}: {value}" for name, value in measurement.machine.items())
    sentences = "\n".join(f"- {line}" for line in totals(measurement))
    return (
        f"# hotseat bench swap: {measurement.workload}\n\n"
        f"{measurement.date}, by `{measurement.command}`\n\n{sentences}\n\n"
        f"| {head} |\n|{'---|' * len(HEADINGS)}\n{body}\n\nMachine:\n\n{machine}\n"
    )


def write(measurement: Measurement, stem: Path) -> tuple[Path, Path]:
    """STEM.md and STEM.json; the folder is made if need be."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    page, data = stem.with_name(stem.name + ".md"), stem.with_name(stem.name + ".json")
    page.write_text(markdown(measurement))
    data.write_text(json.dumps(as_json(measurement), indent=2) + "\n")
    return page, data
