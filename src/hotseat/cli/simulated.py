"""How a simulation is shown: tables, sentences, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from hotseat.cli import draw
from hotseat.config.units import format_size
from hotseat.simulate.report import Figures, Quantiles
from hotseat.simulate.scenario import Scenario

if TYPE_CHECKING:
    from hotseat.cli.simulating import Settings

Runs = Sequence[tuple[int, Sequence[Figures]]]
"""(GPUs, one row a policy)."""

_HEADS = (
    "GPUS", "POLICY", "WAIT P50", "P90", "P99", "MAX", "MEAN", "AT LEAST", "FIRST TOKEN P50", "P99", "IN TIME",
    "SWAPS IN", "STARTS", "AT LEAST", "FROZEN", "GPU LOST", "GPU BUSY",
)  # fmt: skip


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 100 else f"{value:,.0f} s"


def show(settings: Settings, runs: Runs) -> None:
    rows = [_row(count, one) for count, figures in runs for one in figures]
    draw.table(_HEADS, rows, right=[0, *range(2, len(_HEADS))])
    for count, figures in runs:
        for one in figures:
            if one.waiting:
                click.echo(f"{one.policy} on {count} GPUs: {one.waiting:,} requests never got a seat")
            if settings.per_model:
                click.echo(f"\n{one.policy}, {count} GPUs")
                _show_models(one)


def _row(count: int, one: Figures) -> list[str]:
    wait, first = one.wait, one.first
    return [
        str(count),
        one.policy,
        *(seconds(x) for x in (wait.p50, wait.p90, wait.p99, wait.max)),
        "-" if one.wait_mean is None else seconds(one.wait_mean),
        seconds(one.least_wait_mean),
        *(seconds(x) for x in (first.p50, first.p99)),
        _share(one.attained),
        f"{one.swaps_in:,}",
        f"{one.starts:,}",
        f"{one.least_seats:,}",
        f"{one.frozen:,}",
        _share(one.gpu_lost),
        _share(one.gpu_busy),
    ]


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.1f} %"


def _show_models(one: Figures) -> None:
    def four(figures: Quantiles) -> list[str]:
        return [seconds(figures.p50), seconds(figures.p99), seconds(figures.max)]

    heads = ("MODEL", "REQUESTS", "WAIT P50", "P99", "MAX", "FIRST TOKEN P50", "P99", "MAX", "IN TIME")
    rows = [[m.model, f"{m.requests:,}", *four(m.wait), *four(m.first), _share(m.attained)] for m in one.models]
    draw.table(heads, rows, right=range(1, len(heads)))


def assumptions(settings: Settings) -> list[str]:
    """In words, so that a table that is passed on says what it stands on."""
    s = settings
    return [
        f"assumed: swap out {s.out_fixed:g} s + bytes at {s.out_rate:g} GB/s, in {s.in_fixed:g} s + bytes at "
        f"{s.in_rate:g} GB/s; cold start {s.cold_start:g} s",
        f"assumed: an answer takes prompt/{s.prefill:g} + output/{s.decode:g} s, {s.at_once} at once in an engine; "
        f"GPUs of {format_size(s.gpu_memory)}, each workload at home on one",
        "AT LEAST, behind MEAN: no schedule has a lower mean wait, even if it knows the future (where this row stopped "
        "nobody: no schedule that stops nobody); behind STARTS: fewest seats that any schedule takes in which nobody "
        "waits longer than this row's MAX",
    ]


def answer(settings: Settings, count: int | None) -> str:
    goal = f"{settings.attainment * 100:g} % of requests within {settings.slo:g} s ({settings.slo_of})"
    if count is None:
        return f"not reached: {goal}, with the most GPUs that were tried"
    return f"{count} GPU{'s' if count > 1 else ''}: the fewest that reach {goal}"


def as_json(settings: Settings, scenario: Scenario, runs: Runs, count: int | None) -> dict[str, Any]:
    given = {key: value for key, value in asdict(settings).items() if key not in ("as_json", "baselines")}
    out: dict[str, Any] = {
        "settings": given | {"trace": str(settings.trace), "config": settings.config and str(settings.config)},
        "requests": len(scenario.trace),
        "models": len(scenario.trace.names),
        "said": list(scenario.said),
        "runs": [{"gpus": gpus, **one.as_dict()} for gpus, figures in runs for one in figures],
    }
    if settings.how_many:
        out["gpus_needed"] = count
    return out
