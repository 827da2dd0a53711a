"""What NVML's figures mean: the per-process list first, the total beside it, strangers allowed for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hotseat.swap import truth
from hotseat.words import Device, DeviceUse

MINE = frozenset({1, 2})
GIB = 1 << 30


def use(used: int, **processes: int) -> tuple[DeviceUse, ...]:
    device = Device(index=0, uuid="u", name="d", total_bytes=100 * GIB)
    listed = {int(name[1:]): nbytes for name, nbytes in processes.items()}
    return (DeviceUse(device=device, used_bytes=used, free_bytes=100 * GIB - used, processes=listed),)


def test_all_gone_and_the_total_fell():
    assert truth.unreleased(before=use(10, p1=6, p2=4), after=use(0), pids=MINE) == ({}, {})


def test_one_still_listed():
    assert truth.unreleased(before=use(10, p1=6, p2=4), after=use(4, p2=4), pids=MINE)[0] == {0: 4}


def test_listed_with_no_bytes_is_listed():
    assert truth.unreleased(before=use(6, p1=6), after=use(0, p1=0), pids=MINE)[0] == {0: 0}


def test_gone_from_the_list_but_the_memory_is_not_free_yet():
    assert truth.unreleased(before=use(100, p1=100), after=use(60), pids=MINE) == ({}, {0: 60})


def test_what_a_listed_stranger_took_meanwhile_is_not_held_against_it():
    before, after = use(100, p1=100), use(80, p9=80)
    assert truth.unreleased(before=before, after=after, pids=MINE) == ({}, {})
    assert truth.dropped(before, after, MINE) == {0: 100}


def test_what_the_driver_took_beside_the_processes_is_found_again():
    drop = truth.dropped(use(110, p1=60, p2=40), use(0), MINE)
    assert truth.to_find_free(held={0: 100}, dropped=drop, processes=2) == {0: 110}


def test_a_strangers_release_does_not_make_it_need_a_whole_device():
    assert truth.to_find_free(held={0: 100}, dropped={0: 50 * GIB}, processes=2) == {0: 100 + 2 * (64 << 20)}


def test_without_figures_of_processes_the_drop_is_all_there_is():
    assert truth.to_find_free(held={0: 0}, dropped={0: 70}, processes=1) == {0: 70}
    assert truth.to_find_free(held={}, dropped={0: 70}, processes=1) == {0: 70}


figures = st.integers(0, 50 * GIB)


@given(held=figures, drop=st.integers(-50 * GIB, 50 * GIB), processes=st.integers(1, 8))
def test_a_swap_in_never_looks_for_less_than_was_held(held: int, drop: int, processes: int):
    need = truth.to_find_free(held={0: held}, dropped={0: drop}, processes=processes)
    assert need.get(0, 0) >= held
