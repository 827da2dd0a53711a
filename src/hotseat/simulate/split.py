"""Gives each request of a trace that names no models a model: popularity by Zipf's law, in on/off bursts. Pure.

Model k (from 1) has weight 1 / k ** zipf. Each model is now on, now off, for exponentially distributed times; a
request goes to one of those that are on, by weight; while none is on, to any. Arrivals themselves stay as they are.
"""

from __future__ import annotations

from array import array
from bisect import bisect
from collections.abc import Sequence
from heapq import heapify, heapreplace
from itertools import accumulate
from random import Random

from hotseat.simulate.trace import Trace


def split(
    trace: Trace, names: Sequence[str], *, seed: int, zipf: float = 1.0, on: float = 60.0, off: float = 240.0
) -> Trace:
    """`names` from the most popular to the least. `on`, `off`: mean seconds; `off` 0: all of them always on."""
    random = Random(seed)
    weights = [1.0 / (rank + 1) ** zipf for rank in range(len(names))]
    lit = [off <= 0 or random.random() < on / (on + off) for _ in names]
    turns = [(random.expovariate(1.0 / (on if is_on else off)), k) for k, is_on in enumerate(lit)] if off > 0 else []
    heapify(turns)
    sums = _sums(weights, lit)
    models = array("i", bytes(4 * len(trace)))
    for i, at in enumerate(trace.times):
        if turns and turns[0][0] <= at:
            while turns[0][0] <= at:
                when, k = turns[0]
                lit[k] = not lit[k]
                heapreplace(turns, (when + random.expovariate(1.0 / (on if lit[k] else off)), k))
            sums = _sums(weights, lit)
        models[i] = bisect(sums, random.random() * sums[-1], hi=len(sums) - 1)
    return trace.of(models, names)


def _sums(weights: Sequence[float], lit: Sequence[bool]) -> list[float]:
    some = any(lit)
    return list(accumulate(weight if is_on or not some else 0.0 for weight, is_on in zip(weights, lit, strict=True)))
