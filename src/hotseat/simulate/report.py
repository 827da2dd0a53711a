"""Figures of an outcome: what a person compares and a program reads. Pure. Seconds, counts, shares from 0 to 1."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hotseat.simulate.bound import Least, least
from hotseat.simulate.bound_waits import LeastWait
from hotseat.simulate.results import Results
from hotseat.simulate.run import Outcome

SLO_OF = ("seat", "first-token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """By nearest rank, of those requests that got so far; all 0 if none did."""

    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    model: str
    requests: int
    wait: Quantiles
    first: Quantiles
    attained: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    policy: str
    requests: int
    waiting: int
    """Requests that never got a seat: nobody could or would make room."""
    wait: Quantiles
    """Until the seat was given."""
    wait_mean: float | None
    """None: some never got one."""
    least_wait_mean: float
    """See `bound_waits`: no schedule has a lower one; where this one stopped nobody, none that stops nobody."""
    first: Quantiles
    """Until the first token."""
    end: Quantiles
    """Until the last token."""
    frozen: int
    """Requests that were frozen in mid-answer at least once."""
    attained: float | None
    """Share of requests within the SLO; None: no SLO was given."""
    swaps_out: int
    swaps_in: int
    starts: int
    stops: int
    swap_seconds: float
    """All swaps and starts together took so long."""
    gpu_busy: float
    gpu_lost: float
    """Shares of the time of all GPUs; the rest is idle."""
    seconds: float
    decisions: int
    least_seats: int
    least_seconds: float
    """The bound of `bound` for the longest wait of this policy."""
    models: tuple[ModelFigures, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def figures(
    outcome: Outcome,
    *,
    slo: float | None = None,
    slo_of: str = SLO_OF[1],
    models: bool = False,
    least_wait: LeastWait | None = None,
) -> Figures:
    """`models`: one table row a model as well, in the order of the trace's names. `least_wait`: for several outcomes of
    one trace on one fleet."""
    least_wait = least_wait or LeastWait(outcome.results.trace, outcome.fleet)
    results = outcome.results
    wait, first = results.wait, results.first
    known = sorted(x for x in wait if x == x)
    waiting = len(wait) - len(known)
    whole = len(outcome.meters) * outcome.seconds or 1.0
    bound = _least(outcome, math.inf if waiting or not known else known[-1])
    return Figures(
        policy=outcome.policy.name,
        requests=len(wait),
        waiting=waiting,
        wait=_of_sorted(known),
        wait_mean=None if waiting else math.fsum(known) / (len(known) or 1),
        least_wait_mean=_least_wait(outcome, least_wait) / (len(wait) or 1),
        first=quantiles(first),
        end=quantiles(results.end),
        frozen=sum(1 for times in results.freezes if times),
        attained=attained(results, slo, slo_of),
        swaps_out=sum(tally.swaps_out for tally in outcome.tallies),
        swaps_in=sum(tally.swaps_in for tally in outcome.tallies),
        starts=sum(tally.starts for tally in outcome.tallies),
        stops=sum(tally.stops for tally in outcome.tallies),
        swap_seconds=sum(tally.seconds for tally in outcome.tallies),
        gpu_busy=sum(meter.busy for meter in outcome.meters.values()) / whole,
        gpu_lost=sum(meter.lost for meter in outcome.meters.values()) / whole,
        seconds=outcome.seconds,
        decisions=outcome.decisions,
        least_seats=bound.seats_taken,
        least_seconds=bound.seconds,
        models=tuple(_models(outcome, slo, slo_of)) if models else (),
    )


def _least(outcome: Outcome, slack: float) -> Least:
    return least(outcome.results.trace, outcome.fleet, slack=slack)


def _least_wait(outcome: Outcome, of: LeastWait) -> float:
    return of.any if any(tally.stops for tally in outcome.tallies) else of.parking


def attained(results: Results, slo: float | None, slo_of: str) -> float | None:
    """Share of all requests, also of those that never got a seat."""
    if slo is None or not len(results.wait):
        return None
    return _within(results.wait if slo_of == "seat" else results.first, slo)


def _within(seconds: Sequence[float], slo: float) -> float:
    return sum(1 for x in seconds if x <= slo) / len(seconds)


def quantiles(seconds: Iterable[float]) -> Quantiles:
    return _of_sorted(sorted(x for x in seconds if x == x))


def _of_sorted(seconds: Sequence[float]) -> Quantiles:
    def at(share: float) -> float:
        return seconds[max(0, math.ceil(share * len(seconds)) - 1)] if seconds else 0.0

    return Quantiles(p50=at(0.5), p90=at(0.9), p99=at(0.99), max=at(1.0))


def _models(outcome: Outcome, slo: float | None, slo_of: str) -> Iterable[ModelFigures]:
    results, trace = outcome.results, outcome.results.trace
    waits, firsts = ([array("d") for _ in trace.names] for _ in range(2))
    for model, wait, first in zip(trace.models, results.wait, results.first, strict=True):
        waits[model].append(wait)
        firsts[model].append(first)
    for number, name in enumerate(trace.names):
        if not waits[number]:
            continue
        yield ModelFigures(
            model=name,
            requests=len(waits[number]),
            wait=quantiles(waits[number]),
            first=quantiles(firsts[number]),
            attained=None if slo is None else _within((waits if slo_of == "seat" else firsts)[number], slo),
        )
