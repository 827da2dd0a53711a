"""How the story is shown: the line of a step, the tables at the end, the same as data."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import click

from hotseat.cli import draw, units, view
from hotseat.cli.story.plot import Step, Told
from hotseat.cli.story.stage import Stage
from hotseat.cli.view import Row
from hotseat.words import Direction, SwapReport

WIDTH = 26


def opening(stage: Stage) -> str:
    each = next(iter(stage.engines.values()))
    held = units.size(each.weights_bytes + each.kv_bytes)
    what = f"{stage.device.name} of {units.size(stage.device.room)}"
    if not stage.device.emulated:
        what = f"{stage.device.name}, capped at {units.size(stage.device.room)}"
    names = " and ".join(stage.engines)
    by = "" if stage.arena is None else " The snapshot store moves their memory, the driver only their contexts."
    note = "\nemulated driver: real semantics, no real speed; no figure below says anything about a GPU"
    return (
        f"{names}: two engines with {held} each, on one {what}, as "
        f"{'process trees' if stage.platform == 'process' else stage.platform + ' containers'}. "
        f"They do not fit together.{by}{note if stage.device.emulated else ''}\n"
    )


def line(step: Step) -> str:
    mark = click.style("ok", fg="green") if step.ok else click.style("NOT AS TOLD", fg="red", bold=True)
    took = f" ({units.duration(step.seconds)})" if step.seconds else ""
    return f"  {step.name:<{WIDTH}} {mark}  {step.detail}{took}"


def fall(stage: Stage, told: Told, swaps: Sequence[SwapReport], rows: Sequence[Row], *, seconds: float) -> None:
    """What each phase took, who sits where, and whether all was as told."""
    if swaps:
        click.echo("\nWhat the swaps took (medians):")
        columns = ["", "PHASE", "PART", "TIMES", "MEDIAN", "RATE"]
        # A rate of the emulated driver would only mislead.
        shown = len(columns) - stage.device.emulated
        draw.table(columns[:shown], [row[:shown] for row in phase_rows(swaps)], right=range(3, shown))
    if rows:
        click.echo("\nWho sits where:")
        draw.table(view.HEADINGS, [row.cells() for row in rows], right=(4, 5, 6))
    wrong = [step for step in told.steps if not step.ok]
    click.echo()
    if told.ok:
        click.echo(f"All {len(told.steps)} steps as told, {len(swaps)} swaps, in {seconds:.1f} s.")
    else:
        click.echo(f"{len(wrong)} of {len(told.steps)} steps not as told: {', '.join(step.name for step in wrong)}")


def phase_rows(swaps: Sequence[SwapReport]) -> list[list[str]]:
    """One row a phase and direction: how often, its median, its median rate; then hotseat's own part."""
    out = []
    for direction in Direction:
        reports = [report for report in swaps if report.direction is direction]
        if not reports:
            continue
        order: dict[tuple[str, str], list[tuple[float, float | None]]] = {}
        for report in reports:
            for phase, moved_in in report.with_moves():
                order.setdefault((phase.name, phase.part), []).append((phase.seconds, moved_in))
        moved = int(median(sum(report.gpu_bytes.values()) for report in reports))
        for (name, part), times in order.items():
            moves = [moved_in for _, moved_in in times if moved_in is not None]
            rate = units.rate(moved, median(moves)) if moves and moved else ""
            count, shown = str(len(times)), units.duration(median(seconds for seconds, _ in times))
            out.append([direction.value, name, part, count, shown, rate])
        total, own = median(r.seconds for r in reports), median(r.own_seconds for r in reports)
        count = str(len(reports))
        out.append([direction.value, "all", "", count, units.duration(total), ""])
        out.append([direction.value, "own part", "", count, units.duration(own), ""])
    return out


def data(
    stage: Stage, told: Told, swaps: Sequence[SwapReport], rows: Sequence[Row], *, seconds: float
) -> dict[str, Any]:
    return {
        "ok": told.ok,
        "platform": stage.platform,
        "emulated": stage.device.emulated,
        "device": stage.device.name,
        "ms": round(seconds * 1000, 1),
        "steps": [step.as_json() for step in told.steps],
        "swaps": [view.report_json(report) for report in swaps],
        "workloads": [row.as_json() for row in rows],
    }
