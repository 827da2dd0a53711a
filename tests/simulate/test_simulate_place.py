"""Where workloads are at home, and how many GPUs are enough."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import trace

from hotseat.errors import UsageError
from hotseat.simulate.place import place, wanted
from hotseat.simulate.search import fewest

few = st.lists(st.tuples(st.integers(1, 80), st.integers(0, 9)), min_size=1, max_size=6)


def placed(some: list[tuple[int, int]], gpus: int) -> list[int]:
    """(size, windows) each."""
    names = [f"m{k}" for k in range(len(some))]
    return place(names, [size for size, _ in some], [count for _, count in some], gpus=gpus, gpu_bytes=80)


def heaviest(some: list[tuple[int, int]], homes: tuple[int, ...] | list[int]) -> int:
    loads: dict[int, int] = {}
    for (size, count), home in zip(some, homes, strict=True):
        loads[home] = loads.get(home, 0) + size * max(1, count)
    return max(loads.values())


def test_a_minute_counts_once_however_many_ask_in_it() -> None:
    requests = trace(*[(at, 0, 1, 1) for at in (0.0, 59.9, 60.0, 61.0, 200.0)], (61.0, 1, 1, 1), models=2)
    assert wanted(requests, [0, 1], 3) == [3, 1, 0]
    assert wanted(requests, [2, 2], 3) == [0, 0, 3]


def test_the_busy_are_kept_apart_though_they_are_small() -> None:
    busy, calm = (10, 9), (40, 1)
    assert placed([busy, busy, calm, calm], 2) == [0, 1, 0, 1]


def test_what_nobody_asks_for_still_takes_its_place() -> None:
    assert placed([(10, 0), (10, 0), (10, 0)], 3) == [0, 1, 2]


def test_a_model_may_be_as_large_as_a_gpu_and_no_larger() -> None:
    assert placed([(80, 1)], 1) == [0]
    with pytest.raises(UsageError) as error:
        placed([(5, 1), (81, 1)], 4)
    assert "m1 needs" in error.value.message
    assert "--gpu-memory" in str(error.value.hint)


@given(some=few, gpus=st.integers(1, 3))
def test_no_gpu_has_more_than_a_third_above_the_best_placement(some: list[tuple[int, int]], gpus: int) -> None:
    """Graham's bound for the heaviest first: 4/3 - 1/(3 * gpus) of the optimum."""
    homes = placed(some, gpus)
    assert all(0 <= home < gpus for home in homes)
    best = min(heaviest(some, choice) for choice in product(range(gpus), repeat=len(some)))
    assert heaviest(some, homes) * 3 * gpus <= best * (4 * gpus - 1)


@given(some=few)
def test_with_a_gpu_for_each_nobody_shares(some: list[tuple[int, int]]) -> None:
    assert len(set(placed(some, len(some)))) == len(some)


class Tried:
    def __init__(self, shares: dict[int, float]) -> None:
        self.shares, self.asked = shares, list[int]()

    def __call__(self, count: int) -> float:
        self.asked.append(count)
        return self.shares[count]


@given(low=st.integers(1, 40), width=st.integers(0, 200), data=st.data())
def test_the_search_is_right_wherever_more_attain_no_less(low: int, width: int, data: st.DataObject) -> None:
    high = low + width
    need = data.draw(st.integers(low, high + 1))
    tried = Tried({count: 0.9 + 0.1 * (count >= need) for count in range(low, high + 1)})
    assert fewest(tried, low=low, high=high, goal=0.99) == (need if need <= high else None)
    assert len(tried.asked) <= 2 * width.bit_length() + 3
    assert len(set(tried.asked)) == len(tried.asked), "a simulation was run twice"


@given(low=st.integers(1, 5), shares=st.lists(st.floats(0, 1), min_size=1, max_size=20), goal=st.floats(0, 1))
def test_where_more_may_attain_less_one_gpu_less_still_does_not_reach_it(
    low: int, shares: list[float], goal: float
) -> None:
    by_count = dict(enumerate(shares, start=low))
    found = fewest(by_count.__getitem__, low=low, high=max(by_count), goal=goal)
    if found is None:
        assert by_count[max(by_count)] < goal
    else:
        assert by_count[found] >= goal
        assert found == low or by_count[found - 1] < goal
