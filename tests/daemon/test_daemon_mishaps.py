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
from daemon_world import TEXT, Heard, World

from hotseat import config
from hotseat.daemon import commands
from hotseat.daemon import messages as m
from hotseat.daemon.actor import Actor
from hotseat.daemon.book import JobKind
from hotseat.daemon.core import Core
from hotseat.daemon.seats import ActorSeats
from hotseat.errors import Failed, Unavailable
from hotseat.events import EventBus
from hotseat.gateway.port import ModelView
from hotseat.swap.journal import Journal
from hotseat.testing.swapper import FakeSwapper
from hotseat.words import State


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


async def test_the_state_of_a_model_is_told_without_a_view_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    seats = ActorSeats(actor_over(World()))
    views: list[ModelView] = list(seats.models())
    monkeypatch.setattr("hotseat.daemon.waits.Waits", None)
    assert {view.id: seats.state(view.id) for view in views} == {view.id: view.state for view in views}
    assert seats.state("nobody") is None


async def test_all_models_together_look_at_each_workload_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"w{number}" for number in range(40)]
    settings = "{platform: process, command: [x], port: 1, gpu_memory: 1}"
    text = "workloads:\n" + "\n".join(f"  {name}: {settings}" for name in names)
    world = World()
    world.core = Core(config.parse(text).workloads)
    world.core.uses = world.devices().uses
    seen: list[str] = []

    def devices(record: Any) -> frozenset[int]:
        seen.append(record.name)
        return frozenset({0})

    monkeypatch.setattr("hotseat.daemon.waits._devices", devices)
    for name in names:
        world.core.records[name].learned.seconds[JobKind.START] = 1.0
        world.core.records[name].looked = True
    views = ActorSeats(actor_over(world)).models()
    assert [view.expected_wait for view in views] == [1.0] * len(names)
    assert max(seen.count(name) for name in names) <= 2, "once as one of the others, once for itself"


def test_the_wait_counts_the_way_out_of_who_sits_and_the_turns_of_others_on_its_devices_only() -> None:
    world = World()
    records = world.core.records
    for name, out in {"a": 3.0, "b": 9.0, "c": 4.0, "d": 1.0}.items():
        records[name].learned.seconds.update({JobKind.SWAP_OUT: out, JobKind.SWAP_IN: 2.0})
    records["c"].learned.memory = {1: 4}
    seen = records["c"].observation
    assert seen is not None
    seen.parked_gpu_bytes.clear()  # type: ignore[attr-defined]
    assert world.core.expected_wait(records["b"], world.now) == 2.0 + 3.0, "a's way out, not its own nor c's"
    assert world.core.expected_wait(records["c"], world.now) == 2.0, "alone on its device"
    world.ask("d")
    turn = 2.0 + records["d"].min_stay + 1.0
    assert world.core.expected_wait(records["b"], world.now) == pytest.approx(2.0 + 3.0 + turn)
    assert world.core.expected_wait(records["d"], world.now) == pytest.approx(2.0 + 3.0), "its own turn is no other's"


def test_a_parked_workload_whose_device_is_gone_stays_parked_and_says_so() -> None:
    world = World()
    world.send(m.Devices(uses=()), m.Closing())
    heard = Heard()
    world.send(m.Part(how="seat", answer=heard))
    (outcome,) = heard.values
    assert outcome.keys() == {"b", "c", "d"}
    assert "device 0, which is not there" in outcome["b"].message


def test_who_waits_beside_a_swap_is_told_the_plain_error() -> None:
    world = World()
    heard, ticket = Heard(), world.ask("b")
    world.send(m.Swap(workload="b", out="a", answer=heard))
    report = commands._done_already(world.core.records["a"])
    world.jobs.pop("a")
    world.real["a"].state = State.PARKED
    world.send(world.devices(), m.JobEnded(workload="a", report=report, observation=world.real["a"].seen("a")))
    world.send()
    world.end_job("b", Failed("it broke"))
    assert heard.errors[0].message == "it broke; a gets its seat back"
    assert world.told(ticket).message == "it broke"
    assert type(heard.errors[0]) is Failed


PRELOADS = """
workloads:
  a: {port: 1}
  b: {port: 2, preload: true}
  d: {port: 4}
"""


def test_what_was_not_looked_at_is_preloaded_when_it_was() -> None:
    world = World(PRELOADS, seated="")
    world.configure(PRELOADS + "  c: {port: 3, preload: true, image: x}\n")
    world.send(m.Preload())
    assert world.jobs == {"b": JobKind.SWAP_IN}, "c may run: nobody knows yet"
    world.end_job("b")
    assert not world.core.records["c"].wishes
    world.send(world.look("c"))
    assert world.jobs == {"c": JobKind.SWAP_IN}, "it is parked, and there is room for both"


EAGER = """
workloads:
  a: {port: 1, platform: process, command: [x]}
  b: {port: 2, platform: process, command: [x], preload: false}
  c: {port: 3, image: x}
"""


def test_a_process_waits_for_a_request_if_the_file_says_so() -> None:
    """Else it starts with the daemon, so that its first request finds it parked."""
    world = World(EAGER, seated="")
    for name in "abc":
        world.real[name].state = State.STOPPED
    world.send(*(world.look(name) for name in "abc"), m.Preload())
    assert world.jobs == {"a": JobKind.START}
    world.end_job("a")
    world.tick(600.0)
    assert world.jobs == {}
    world.ask("b")
    assert world.jobs == {"a": JobKind.SWAP_OUT}
    world.end_job("a")
    assert world.jobs == {"b": JobKind.START}


def test_a_preload_parks_nobody() -> None:
    world = World(PRELOADS)
    world.real["b"].state = State.STOPPED
    world.send(world.look("b"), m.Preload())
    world.tick(600.0)
    assert world.jobs == {}, "a sits there"
    world.send(m.Park(workload="a", answer=Heard()))
    world.end_job("a")
    assert world.jobs == {"b": JobKind.START}
