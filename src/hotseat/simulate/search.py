"""How many GPUs reach an SLO: by trying. Pure."""

from __future__ import annotations

from collections.abc import Callable

Attained = Callable[[int], float]
"""Number of GPUs -> share of requests within the SLO."""


def fewest(attained: Attained, *, low: int, high: int, goal: float) -> int | None:
    """The smallest number from `low` to `high` that reaches `goal`, found by halving; None if `high` does not.

    More GPUs are taken to attain no less. Where that is not so (an unlucky placement), the answer is still a number
    that reaches the goal while one less does not.
    """
    step, reaches = 1, low
    below = low - 1
    while attained(reaches) < goal:
        if reaches >= high:
            return None
        below = reaches
        reaches = min(high, reaches + step)
        step *= 2
    while reaches - below > 1:
        middle = (below + reaches) // 2
        if attained(middle) >= goal:
            reaches = middle
        else:
            below = middle
    return reaches
