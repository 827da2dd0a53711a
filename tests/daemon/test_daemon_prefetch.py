"""`prefetch: true`: who is often asked for comes into free memory, unless a person or its settings say otherwise."""

from __future__ import annotations

import pytest
from daemon_world import TEXT, Heard, World

from hotseat.daemon import messages as m
from hotseat.daemon.book import JobKind


def parked_among_others(text: str) -> World:
    """b is asked for often, then makes room for a, and then a leaves by a person's word."""
    world = World(text, seated="b")
    for _ in range(6):
        world.send(m.Left(ticket=world.ask("b")))
        world.probes.clear()
        world.tick(1.0)
    world.tick(10.0)
    ticket = world.ask("a")
    world.tick(2.0)
    world.end_job("b")
    world.tick(3.0)
    world.end_job("a")
    world.send(m.Left(ticket=ticket))
    world.tick(10.0)
    assert world.jobs == {}
    world.send(m.Park(workload="a", answer=Heard()))
    world.end_job("a")
    return world


def test_who_is_expected_soon_comes_into_what_is_free_and_says_why() -> None:
    world = parked_among_others(TEXT.replace("drain: 10s", "prefetch: true"))
    assert world.jobs == {"b": JobKind.SWAP_IN}
    assert world.core.records["b"].note == "is expected soon"
    world.end_job("b")
    world.ask("a")
    assert world.jobs == {"b": JobKind.SWAP_OUT}, "and gives it up at once"


@pytest.mark.parametrize("how", ["drain: 10s", "prefetch: true, idle_timeout: 1h"])
def test_who_may_not_be_fetched_stays(how: str) -> None:
    assert parked_among_others(TEXT.replace("drain: 10s", how)).jobs == {}


def test_what_a_person_has_parked_is_not_fetched() -> None:
    world = parked_among_others(TEXT.replace("drain: 10s", "prefetch: true"))
    world.end_job("b")
    world.tick(10.0)
    world.send(m.Park(workload="b", answer=Heard()))
    world.end_job("b")
    world.tick(60.0)
    assert world.jobs == {}
