"""What nobody expected costs one request or one look, never a workload: nothing stays locked, no seat is lost."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from daemon_house import House, until
from daemon_world import TEXT, World

from hotseat.daemon import messages as m
from hotseat.daemon.actor import Actor
from hotseat.daemon.seats import ActorSeats
from hotseat.errors import Failed, Unavailable
from hotseat.events import EventBus
from hotseat.swap.journal import Journal
from hotseat.testing.swapper import FakeSwapper


def actor_over(world: World, hands: Any = None) -> Actor:
    actor = Actor({}, hands=hands, events=EventBus())
    actor._core = world.core
    return actor


@contextlib.asynccontextmanager
async def running(actor: Actor) -> AsyncIterator[None]:
    task = asyncio.create_task(actor.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def ready(world: World, name: str) -> None:
    world.send(m.Probed(workload=name, number=world.ask_for_probe(name)))
    assert world.core.records[name].open


async def test_a_container_without_an_address_takes_no_seat_for_ever() -> None:
    world = World()
    ready(world, "a")
    seats = ActorSeats(actor_over(world))
    assert seats.try_seat("a") is None
    assert not world.core.records["a"].in_flight
    with pytest.raises(Unavailable, match="no address"):
        async with seats.seat("a"):
            pass
    assert not world.core.records["a"].in_flight


@pytest.mark.parametrize("change", ["port: 7", "url: 'http://127.0.0.1:7'", "port: 1, health: /alive"])
def test_an_engine_that_answers_elsewhere_now_is_asked_again(change: str) -> None:
    world = World()
    ready(world, "a")
    world.configure(TEXT.replace("a: {port: 1}", "a: {port: 1, priority: 3}"))
    assert world.core.records["a"].open, "that does not matter to who asks it"
    world.configure(TEXT.replace("a: {port: 1}", f"a: {{{change}}}"))
    assert not world.core.records["a"].open
    world.ask("a")
    assert "a" in world.probes


def test_the_answer_to_a_probe_of_the_old_place_does_not_count() -> None:
    world = World()
    number = world.ask_for_probe("a")
    world.configure(TEXT.replace("a: {port: 1}", "a: {port: 7}"))
    world.send(m.Probed(workload="a", number=number))
    assert not world.core.records["a"].ready


@pytest.mark.parametrize("fault", [KeyError("x"), sqlite3.OperationalError("locked"), OSError(24, "too many files")])
async def test_a_look_that_ends_in_a_bug_locks_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    whole, broken = FakeSwapper.observe, True

    async def observe(swapper: FakeSwapper, workload: Any) -> Any:
        if broken and workload.name == "a":
            raise fault
        return await whole(swapper, workload)

    monkeypatch.setattr(FakeSwapper, "observe", observe)
    async with asyncio.timeout(20), house.client() as client:
        await client.park("a")
    await until(lambda: "looking at a failed" in house.row("a")["note"])
    assert house.states()["a"] == "parked"
    broken = False
    await until(lambda: house.row("a")["note"] == "")
    assert await house.answer("a") == 200


async def test_a_probe_that_ends_in_a_bug_tells_those_who_wait() -> None:
    class Hands:
        async def probe(self, name: str, container: Any) -> None:
            raise KeyError(name)

    actor = actor_over(World(), Hands())
    seats = ActorSeats(actor)
    async with running(actor), asyncio.timeout(20):
        for _ in range(2):
            with pytest.raises(Failed, match="the probe of a failed"):
                async with seats.seat("a"):
                    pass


def test_a_journal_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    journal = Journal(directory=tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db")) as other, other:
        other.execute("INSERT INTO workloads VALUES ('docker:a', 'a', 1, 'parked', '', '', 1, 'no json', '[]', '', 1)")
        other.execute("INSERT INTO history VALUES (1, 'docker:a', 'a', 1, 'no json')")
    for read in (lambda: journal.read("docker:a"), journal.all, lambda: journal.reports(key="docker:a")):
        with pytest.raises(Failed, match="cannot be read"):
            read()
    with pytest.raises(Failed, match="cannot be read"):
        journal.rows("SELECT * FROM nothing")
    journal.close()
