"""`hotseat simulate`: what was asked for, made a trace and a fleet; runs it, shows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from hotseat.cli import draw, simulated
from hotseat.config.load import load
from hotseat.config.units import parse_duration, parse_size
from hotseat.errors import UsageError
from hotseat.simulate import Costs, Fleet, Service, Trace, simulate
from hotseat.simulate.bound_waits import LeastWait
from hotseat.simulate.policies import BASELINES, HOTSEAT, Policy
from hotseat.simulate.reading import read
from hotseat.simulate.report import Figures, figures
from hotseat.simulate.scenario import Scenario, SplitBy, of_config, of_sizes
from hotseat.simulate.search import fewest

MOST_GPUS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of the command, parsed. Sizes in bytes, times in seconds, rates of swaps in GB/s."""

    trace: Path
    config: Path | None
    models: int | None
    sizes: Sequence[tuple[int, float]]
    gpus: tuple[int, int] | None
    gpu_memory: int
    host_memory: int | None
    how_many: bool
    slo: float | None
    slo_of: str
    attainment: float
    baselines: Sequence[Policy]
    compare: Sequence[float] | None
    per_model: bool
    min_stay: float
    out_rate: float
    in_rate: float
    out_fixed: float
    in_fixed: float
    cold_start: float
    prefill: float
    decode: float
    at_once: int
    zipf: float
    burst_on: float
    burst_off: float
    speed: float
    limit: int | None
    seed: int
    as_json: bool

    @property
    def costs(self) -> Costs:
        return Costs(
            out_rate=self.out_rate * 1e9,
            in_rate=self.in_rate * 1e9,
            out_fixed=self.out_fixed,
            in_fixed=self.in_fixed,
            start=self.cold_start,
        )

    @property
    def service(self) -> Service:
        return Service(prefill=self.prefill, decode=self.decode, at_once=self.at_once)


def parse(kind: str, text: str) -> Any:
    """The value of one option. `ValueError` says what to write instead."""
    items = [item.strip() for item in text.split(",")]
    match kind:
        case "size":
            size = parse_size(text)
            if size <= 0:
                raise ValueError('a size is more than 0; write for example "80GiB"')
            return size
        case "duration":
            return parse_duration(0 if text == "0" else text)
        case "durations":
            return [parse_duration(item) for item in items]
        case "share":
            return _share(text)
        case "range":
            return _range(text)
        case "sizes":
            return [_weighted(item) for item in items]
    return _policies(items)


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise ValueError(f'{text!r} is no share; write for example "99%" or 0.99')
    return share


def _range(text: str) -> tuple[int, int]:
    low, dots, high = text.partition("..")
    try:
        first, last = int(low), int(high if dots else low)
    except ValueError:
        first, last = 0, 0
    if not 1 <= first <= last <= MOST_GPUS:
        raise ValueError(f'{text!r} is no number of GPUs; write for example 4 or "1..16" (at most {MOST_GPUS})')
    return first, last


def _weighted(text: str) -> tuple[int, float]:
    size, _, weight = text.partition(":")
    try:
        number = float(weight or 1)
    except ValueError:
        number = 0.0
    nbytes = parse_size(size)
    if not 0 < number < 1e9 or nbytes <= 0:
        raise ValueError(f'{text!r} is no SIZE:WEIGHT; write for example "8GiB:4,40GiB:1"')
    return nbytes, number


def _policies(names: Sequence[str]) -> Sequence[Policy]:
    known = {policy.name: policy for policy in BASELINES}
    if names == ["all"]:
        return BASELINES
    if names == ["none"]:
        return ()
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no baseline {unknown[0]!r}; there are {', '.join(known)}, all, none")
    return [known[name] for name in dict.fromkeys(names)]


def run_simulation(settings: Settings) -> None:
    if settings.how_many and settings.slo is None:
        raise UsageError("--how-many needs an SLO", hint="for example: --how-many --slo 10s --attainment 99%")
    if settings.burst_on <= 0:
        raise UsageError("--burst-on must be more than 0", hint="--burst-off 0s: models are always asked for")
    with draw.progress("simulating", quiet=settings.as_json) as progress:
        progress("reading the trace", "start")
        trace = read(settings.trace, limit=settings.limit)
        scenario = _scenario(settings, trace.faster(settings.speed) if settings.speed != 1 else trace)
        if settings.how_many:
            answer, tried = _how_many(settings, scenario, progress)
            runs = [(count, [one]) for count, one in tried]
        else:
            answer = None
            runs = [
                (count, _compared(settings, scenario.trace, scenario.fleet(count), count, progress))
                for count in scenario.counts(settings.gpus)
            ]
    if settings.as_json:
        click.echo(json.dumps(simulated.as_json(settings, scenario, runs, answer), indent=2))
        return
    for line in (*scenario.said, *simulated.assumptions(settings)):
        draw.remark(line)
    simulated.show(settings, runs)
    if settings.how_many:
        assert settings.slo is not None
        click.echo(simulated.answer(settings, answer))


def _scenario(settings: Settings, trace: Trace) -> Scenario:
    split = SplitBy(seed=settings.seed, zipf=settings.zipf, on=settings.burst_on, off=settings.burst_off)
    if settings.config is not None:
        if settings.models is not None:
            raise UsageError("--models and --config both describe the fleet", hint="give one of them")
        return of_config(
            trace, load(settings.config), costs=settings.costs, service=settings.service,
            gpu_bytes=settings.gpu_memory, host=settings.host_memory, split_by=split,
        )  # fmt: skip
    return of_sizes(
        trace, settings.models, sizes=settings.sizes, costs=settings.costs, service=settings.service,
        gpu_bytes=settings.gpu_memory, host=settings.host_memory, min_stay=settings.min_stay, split_by=split,
    )  # fmt: skip


def _compared(
    settings: Settings, trace: Trace, fleet: Fleet, count: int, progress: Callable[[str, str], None]
) -> list[Figures]:
    """hotseat, its variants, the baselines."""
    wanted: list[tuple[Policy, Fleet]] = [(HOTSEAT, fleet)]
    for stay in settings.compare or ():
        members = tuple(replace(member, min_stay=stay) for member in fleet.members)
        wanted.append((replace(HOTSEAT, name=f"hotseat min_stay={stay:g}s"), replace(fleet, members=members)))
    wanted += [(policy, fleet) for policy in settings.baselines]
    bound = LeastWait(trace, fleet)
    return [_one(settings, trace, its, policy, count, progress, bound) for policy, its in wanted]


def _one(
    settings: Settings,
    trace: Trace,
    fleet: Fleet,
    policy: Policy,
    count: int,
    progress: Callable[[str, str], None],
    bound: LeastWait | None = None,
) -> Figures:
    done = 0

    def tick(requests: int) -> None:
        nonlocal done
        done += requests
        progress(f"{policy.name} on {count} GPUs, {done * 100 // len(trace)} %", "start")

    outcome = simulate(trace, fleet, policy, tick=tick)
    return figures(outcome, slo=settings.slo, slo_of=settings.slo_of, models=settings.per_model, least_wait=bound)


def _how_many(
    settings: Settings, scenario: Scenario, progress: Callable[[str, str], None]
) -> tuple[int | None, list[tuple[int, Figures]]]:
    """(the answer, what was tried by the number of GPUs)."""
    tried: dict[int, Figures] = {}

    def share(count: int) -> float:
        if count not in tried:
            tried[count] = _one(settings, scenario.trace, scenario.fleet(count), HOTSEAT, count, progress)
        return tried[count].attained or 0.0

    low, high = settings.gpus if settings.gpus is not None else (1, len(scenario.members))
    return fewest(share, low=low, high=high, goal=settings.attainment), sorted(tried.items())
