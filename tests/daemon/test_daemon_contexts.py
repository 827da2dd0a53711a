"""Contexts that stay on the device while their workloads are parked: what the host's memory is asked for, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from daemon_world import NEED, Heard, World

from hotseat.config import HostMemory
from hotseat.daemon import messages as m
from hotseat.daemon.book import JobKind
from hotseat.errors import Failed, NoRoom
from hotseat.words import State

CONTEXT = 2
TEXT = """
defaults: {min_stay: 0, linger: 0, max_wait: 100s}
workloads:
  a: {port: 1, start: false}
  b: {port: 2, context: keep, start: START}
  d: {port: 4}
"""


def made(*, host: int, start: bool = False) -> World:
    """b sits and may leave 2 of its 6 on the device; a and d are parked and take 8 and all 10 of it. `host`: units of
    host memory for what is parked beside them."""
    memory = HostMemory(parked=NEED["a"] + NEED["d"] + host, reserve=0)
    text = TEXT.replace("START", str(start).lower())
    return World(text, seated="b", interposed="b", contexts={"b": CONTEXT}, host=memory)


def parked(*, host: int) -> World:
    """The same, and b has left its seat but for its context."""
    world = made(host=host)
    world.send(m.Park(workload="b", answer=Heard()))
    world.end_job("b")
    assert world.core.records["b"].state is State.PARKED
    assert world.core.records["b"].context == {0: CONTEXT}
    return world


@pytest.mark.parametrize("host", [0, -3])
def test_what_stays_on_the_device_takes_no_host_memory_also_where_too_much_is_parked(host: int) -> None:
    world, heard = made(host=host), Heard()
    world.send(m.Park(workload="b", answer=heard))
    assert (world.jobs, heard.errors) == ({"b": JobKind.SWAP_OUT}, [])
    assert world.core.records["b"].host_bytes == 0
    world.end_job("b")
    assert world.core.records["b"].host_bytes == 0
    world.send(m.Seat(workload="b", answer=Heard()))
    assert (world.jobs, world.core.records["b"].host_bytes) == ({"b": JobKind.SWAP_IN}, 0)


def test_before_it_was_ever_parked_nobody_knows_how_much_and_that_it_stays_is_known() -> None:
    world = made(host=0)
    seen = replace(world.real["b"].seen("b"), context_gpu_bytes={})
    world.send(m.Observed(workload="b", epoch=world.core.records["b"].epoch, observation=seen))
    assert (world.core.records["b"].context, world.core.records["b"].host_bytes) == ({}, 0)
    assert park(world, whole=True).errors[0].rule == "host memory", "all that it holds beside the store's blocks comes"


@pytest.mark.parametrize("interposed", [True, False])
def test_a_context_that_does_not_stay_comes_to_host_memory(interposed: bool) -> None:
    world = World("workloads:\n  b: {port: 2}\n", seated="b", contexts={"b": CONTEXT})
    world.real["b"].interposed = interposed
    world.send(world.look("b"))
    assert world.core.records["b"].host_bytes == (CONTEXT if interposed else NEED["b"])


@pytest.mark.parametrize("host", [CONTEXT, CONTEXT - 1])
def test_who_must_leave_wholly_needs_the_room_on_the_host(host: int) -> None:
    world = made(host=host)
    ticket = world.ask("d")
    if host == CONTEXT:
        assert (world.jobs, world.whole["b"]) == ({"b": JobKind.SWAP_OUT}, True)
        assert world.core.records["b"].host_bytes == CONTEXT
    else:
        world.tick(10.0)
        assert world.jobs == {}
        assert "host memory" in world.told(ticket).message


@pytest.mark.parametrize("host", [CONTEXT, CONTEXT - 1])
def test_so_does_a_context_that_stayed_and_is_in_the_way_now(host: int) -> None:
    world = parked(host=host)
    ticket = world.ask("d")
    if host == CONTEXT:
        assert (world.jobs, world.whole["b"]) == ({"b": JobKind.SWAP_OUT}, True)
        assert world.core.records["b"].host_bytes == CONTEXT
        world.end_job("b")
        assert (world.core.records["b"].host_bytes, world.jobs) == (CONTEXT, {"d": JobKind.SWAP_IN})
    else:
        world.tick(10.0)
        assert world.jobs == {}
        assert "host memory" in world.told(ticket).message


@pytest.mark.parametrize("seen", [True, False])
def test_a_cold_start_has_the_room_of_a_context_that_stayed(seen: bool) -> None:
    world = parked(host=CONTEXT)
    world.real["d"].state = State.STOPPED
    world.send(world.look("d"))
    world.core.records["d"].learned.memory = {0: NEED["d"]} if seen else None
    world.ask("d")
    assert (world.jobs, world.whole["b"]) == ({"b": JobKind.SWAP_OUT}, True)
    world.end_job("b")
    assert world.jobs == {"d": JobKind.START}


@pytest.mark.parametrize("start", [True, False])
def test_whose_container_has_no_room_for_its_context_still_leaves_without_it(start: bool) -> None:
    world = made(host=NEED["a"] + CONTEXT, start=start)
    ticket = world.ask("d")
    world.end_job("b", NoRoom("the container's limit", rule="host memory"))
    world.tick(5.0)
    assert world.jobs == ({"b": JobKind.STOP} if start else {}), "rather than ask it again"
    if start:
        world.end_job("b", Failed("it will not end"))
    world.send(m.Left(ticket=ticket))
    world.tick(60.0)
    world.ask("a")
    assert (world.jobs, world.whole["b"]) == ({"b": JobKind.SWAP_OUT}, False), "a fits beside its context"


def park(world: World, *, whole: bool = True) -> Heard:
    heard = Heard()
    world.send(m.Park(workload="b", whole=whole, answer=heard))
    return heard


def test_a_person_has_it_leave_nothing_there() -> None:
    world = made(host=CONTEXT)
    heard = park(world)
    assert (world.jobs, world.whole["b"]) == ({"b": JobKind.SWAP_OUT}, True)
    world.end_job("b")
    assert (heard.times, heard.errors, world.core.records["b"].context) == (1, [], {})


def test_a_person_takes_away_what_has_stayed() -> None:
    world = parked(host=CONTEXT)
    park(world, whole=False)
    world.end_job("b")
    assert world.core.records["b"].context == {0: CONTEXT}
    heard = park(world)
    assert (world.jobs, world.whole["b"]) == ({"b": JobKind.SWAP_OUT}, True)
    assert park(world, whole=False).times == 0, "told with the other"
    world.end_job("b")
    assert (heard.times, heard.errors, world.core.records["b"].context) == (1, [], {})
    assert world.core.records["b"].held


def test_who_is_on_its_way_out_already_goes_wholly_after_that() -> None:
    world = made(host=CONTEXT)
    first, second, third = park(world, whole=False), park(world), park(world)
    world.end_job("b")
    assert (first.times, second.times, third.times) == (1, 0, 0)
    assert (world.jobs, world.whole["b"]) == ({"b": JobKind.SWAP_OUT}, True)
    world.end_job("b")
    assert (second.times, third.times, second.errors + third.errors) == (1, 1, [])
    assert world.core.records["b"].context == {}


def test_where_no_context_may_stay_the_swap_out_under_way_is_the_one_that_was_asked_for() -> None:
    memory = HostMemory(parked=sum(NEED.values()), reserve=0)
    world = World(TEXT.replace("keep", "restore").replace("START", "false"), seated="b", interposed="b", host=memory)
    first, second = park(world, whole=False), park(world)
    world.end_job("b")
    assert (first.times, second.times, world.jobs) == (1, 1, {})


@pytest.mark.parametrize("make", [made, parked])
def test_a_person_is_told_where_the_host_has_no_room_for_it(make: Callable[..., World]) -> None:
    world = make(host=CONTEXT - 1)
    (error,) = park(world).errors
    assert (error.rule, world.jobs) == ("host memory", {})
    assert "parking b wholly takes 2 B of host memory, 1 B are left" in error.message
