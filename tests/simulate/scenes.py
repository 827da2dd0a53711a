"""Small fleets and traces, by hand and by Hypothesis."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from hotseat.simulate import Costs, Fleet, Member, Service, Trace
from hotseat.simulate.trace import in_order

COSTS = Costs(out_rate=10.0, in_rate=20.0, out_fixed=0.1, in_fixed=0.2, start=7.0, stop=0.3)
SERVICE = Service(prefill=100.0, decode=10.0, at_once=2)


def member(name: str, need: dict[int, int], **fields: Any) -> Member:
    return Member(name=name, need=need, **({"costs": COSTS, "service": SERVICE, "min_stay": 1.0} | fields))


def fleet(*members: Member, devices: dict[int, int] | None = None, host: int | None = None) -> Fleet:
    return Fleet(devices=devices or {0: 10}, members=members, serves=tuple(range(len(members))), host=host)


def trace(*requests: tuple[float, int, int, int], models: int) -> Trace:
    """(time, model, prompt, output) each."""
    times, numbers, prompts, outputs = (list(column) for column in zip(*requests, strict=True))
    names = [f"m{number}" for number in range(models)]
    return in_order(array("d", times), array("i", numbers), array("i", prompts), array("i", outputs), names)


@st.composite
def settings_of(draw: st.DrawFn, devices: int) -> dict[str, Any]:
    first = draw(st.integers(0, devices - 1))
    need = {first: draw(st.integers(1, 10))}
    if devices > 1 and draw(st.integers(0, 4)) == 0:
        need[(first + 1) % devices] = draw(st.integers(1, 10))
    return {
        "need": need,
        "priority": draw(st.sampled_from([0, 0, 3])),
        "min_stay": draw(st.sampled_from([0.0, 1.0, 5.0])),
        "linger": draw(st.sampled_from([0.0, 0.5])),
        "drain": draw(st.sampled_from([None, None, 2.0])),
        "idle_timeout": draw(st.sampled_from([None, None, 3.0])),
        "idle_stops": draw(st.booleans()),
        "preload": draw(st.sampled_from([False, False, True])),
    }


@st.composite
def fleets(draw: st.DrawFn, *, hosts: bool = True) -> Fleet:
    devices = draw(st.integers(1, 3))
    some = draw(st.lists(settings_of(devices), min_size=1, max_size=6))
    members = [member(f"m{number}", **fields) for number, fields in enumerate(some)]
    host = draw(st.sampled_from([None, None, 10, 20])) if hosts else None
    return fleet(*members, devices=dict.fromkeys(range(devices), 10), host=host)


@st.composite
def traces(draw: st.DrawFn, models: int) -> Trace:
    gaps = st.sampled_from([0.0, 0.01, 0.3, 1.0, 2.5, 20.0])
    row = st.tuples(gaps, st.integers(0, models - 1), st.integers(0, 300), st.integers(0, 40))
    rows: Sequence[tuple[float, int, int, int]] = draw(st.lists(row, min_size=1, max_size=40))
    now, requests = 0.0, []
    for gap, *rest in rows:
        now += gap
        requests.append((now, *rest))
    return trace(*requests, models=models)


@st.composite
def scenes(draw: st.DrawFn, *, hosts: bool = True) -> tuple[Trace, Fleet]:
    its = draw(fleets(hosts=hosts))
    return draw(traces(len(its.members))), its
