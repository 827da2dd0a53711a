"""A person has what is parked moved to disk and back: what is begun, what is told, who waits meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from daemon_world import NEED, Heard, World

from hotseat.daemon import messages as m
from hotseat.daemon.book import JobKind, row
from hotseat.errors import Busy, NoRoom, Refused, Unavailable
from hotseat.words import State


@pytest.fixture
def world() -> World:
    """a sits; b is parked by the store, c by the driver."""
    return World(interposed="b")


def ask(world: World, kind: type[m.Spill] | type[m.Fetch], name: str = "b") -> Heard:
    heard = Heard()
    world.send(kind(workload=name, answer=heard))
    return heard


def stored(world: World) -> None:
    ask(world, m.Spill)
    world.end_job("b")
    assert world.core.records["b"].state is State.STORED


def test_it_goes_to_disk_and_comes_back_and_each_time_is_told_what_was_moved(world: World) -> None:
    told: dict[str, Any] = {"workload": "b", "already": False, "bytes": NEED["b"], "moved_bytes": NEED["b"]}
    heard = ask(world, m.Spill)
    assert world.jobs == {"b": JobKind.STORE}
    assert row(world.core.records["b"])["note"] == "goes to disk: by hand"
    world.send(m.PartDone(workload="b", part=0.4))
    assert row(world.core.records["b"])["note"] == "40 %; goes to disk: by hand"
    world.end_job("b")
    assert heard.values[0].items() >= {**told, "to": "disk"}.items()
    assert row(world.core.records["b"])["state"] == "stored"
    heard = ask(world, m.Fetch)
    assert world.jobs == {"b": JobKind.FETCH}
    assert world.core.records["b"].arena_bytes == NEED["b"], "nobody else may be promised that room"
    world.end_job("b")
    assert heard.values[0].items() >= {**told, "to": "host memory"}.items()
    assert row(world.core.records["b"])["state"] == "parked"


def test_what_is_there_already_is_left_alone(world: World) -> None:
    (told,) = ask(world, m.Fetch).values
    assert (told["already"], told["bytes"], told["moved_bytes"]) == (True, NEED["b"], 0)
    stored(world)
    (told,) = ask(world, m.Spill).values
    assert (told["already"], told["bytes"], told["moved_bytes"]) == (True, NEED["b"], 0)
    assert world.jobs == {}


@pytest.mark.parametrize("kind", [m.Spill, m.Fetch])
def test_what_cannot_be_moved_is_refused_with_the_way_out(world: World, kind: type[m.Spill] | type[m.Fetch]) -> None:
    (error,) = ask(world, kind, "a").errors
    assert isinstance(error, Refused)
    assert (error.message, error.hint) == ("a is seated, not parked", "park it first: hotseat park a")
    (error,) = ask(world, kind, "c").errors
    assert isinstance(error, Refused)
    assert (error.message, error.rule) == ("the store has no memory of c", "store")
    world.send(m.Closing())
    (error,) = ask(world, kind).errors
    assert isinstance(error, Unavailable)
    assert world.jobs == {}


def test_who_asks_for_the_same_is_told_the_same_and_who_asks_for_another_thing_that_it_is_busy(world: World) -> None:
    heard = [ask(world, m.Spill), ask(world, m.Spill)]
    (error,) = ask(world, m.Fetch).errors
    assert isinstance(error, Busy)
    world.end_job("b")
    assert heard[0].values == heard[1].values != []


@pytest.mark.parametrize("kind", [m.Spill, m.Fetch])
def test_a_request_and_a_seat_that_come_meanwhile_wait_for_its_end(
    world: World, kind: type[m.Spill] | type[m.Fetch]
) -> None:
    if kind is m.Fetch:
        stored(world)
    world.send(m.Park(workload="a", answer=Heard()))
    world.end_job("a")
    ask(world, kind)
    ticket, seat = world.ask("b"), Heard()
    world.send(m.Seat(workload="b", answer=seat))
    assert world.jobs == {"b": JobKind.STORE if kind is m.Spill else JobKind.FETCH}
    world.end_job("b")
    assert world.jobs == {"b": JobKind.SWAP_IN}
    world.end_job("b")
    assert (seat.times, world.told(ticket)) == (1, 0.0)


def test_what_could_not_be_fetched_is_seated_from_disk_all_the_same(world: World) -> None:
    stored(world)
    heard = ask(world, m.Fetch)
    ticket = world.ask("b")
    world.end_job("b", NoRoom("the arena lacks 6 MiB", rule="host memory"))
    assert isinstance(heard.errors[0], NoRoom)
    world.tick(6.0)  # what a keeps its seat for at least
    world.end_job("a")
    assert world.jobs == {"b": JobKind.SWAP_IN}
    world.end_job("b")
    assert world.tickets[ticket].values


def test_a_full_disk_leaves_it_in_host_memory_and_may_be_tried_again_at_once(world: World) -> None:
    heard = ask(world, m.Spill)
    world.end_job("b", NoRoom("the disk is full", rule="disk"))
    assert isinstance(heard.errors[0], NoRoom)
    assert world.core.records["b"].state is State.PARKED
    stored(world)
