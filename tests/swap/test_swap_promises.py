"""What is promised of a device, and what of that has arrived."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hotseat.swap.journal import Journal
from hotseat.swap.reservations import Reservations
from hotseat.words import Device, DeviceUse

STORE, A, B = 9, 1, 2
ONE = Device(index=0, uuid="GPU-0", name="one", total_bytes=100)


@pytest.fixture
def promises(tmp_path: Path) -> Iterator[Reservations]:
    journal = Journal(directory=tmp_path)
    yield Reservations(journal=journal, alive=lambda process: True)
    journal.close()


def ask(promises: Reservations, key: str, nbytes: int, pid: int, **listed: int) -> bool:
    """Whether it is granted where the device lists these bytes of the store and of A."""
    used = sum(listed.values())
    processes = {{"store": STORE, "a": A}[name]: n for name, n in listed.items()}
    use = DeviceUse(device=ONE, used_bytes=used, free_bytes=100 - used, processes=processes)
    epoch = promises.epoch()
    found = promises.grant(key=key, name=key, need={0: nbytes}, pids={pid}, uses=(use,), caps={}, epoch=epoch)
    return found == []


def test_what_has_arrived_in_the_stores_name_is_not_counted_twice(promises: Reservations) -> None:
    assert ask(promises, "a", 60, A)
    assert not ask(promises, "b", 40, B, store=50), "50 of the 60 are there, and nobody has said so"
    promises.lower("a", {0: 50})
    assert promises.held("a") == {0: 10}
    assert not ask(promises, "b", 41, B, store=50)
    assert ask(promises, "b", 40, B, store=50)


def test_a_reading_from_before_it_arrived_is_read_again(promises: Reservations) -> None:
    assert ask(promises, "a", 60, A)
    epoch = promises.epoch()
    promises.lower("a", {0: 50})
    use = DeviceUse(device=ONE, used_bytes=0, free_bytes=100, processes={})
    found = promises.grant(key="b", name="b", need={0: 90}, pids={B}, uses=(use,), caps={}, epoch=epoch)
    assert found is None


def test_never_below_nothing_and_only_of_its_own(promises: Reservations) -> None:
    assert ask(promises, "a", 20, A)
    assert ask(promises, "b", 30, B)
    promises.lower("a", {0: 50, 1: 7})
    promises.lower("c", {0: 50})
    assert (promises.held("a"), promises.held("b")) == ({0: 0}, {0: 30})
