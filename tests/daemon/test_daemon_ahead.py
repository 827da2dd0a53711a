"""Who comes in ahead of its swap in, and when; and that what is known of the devices then is not a second old."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from daemon_world import NEED, SIZE, Heard, Real, World

from hotseat import config
from hotseat.daemon import messages as m
from hotseat.daemon.actor import Actor
from hotseat.daemon.book import JobKind, Ticket
from hotseat.daemon.hands import RealHands
from hotseat.daemon.hooks import HookCalls
from hotseat.errors import DriverFailed, HotseatError, NotFound
from hotseat.events import EventBus
from hotseat.gateway.health import Health
from hotseat.platforms.port import Container
from hotseat.store.port import Held
from hotseat.swap.port import Observation, Progress, StoreRoom, Workload
from hotseat.testing.gpu import FakeGpu
from hotseat.words import Device, DeviceUse, Direction, PhaseTime, State, SwapReport

TEXT = """
defaults: {min_stay: 0, linger: 0, max_wait: 100s}
workloads:
  a: {port: 1}
  b: {port: 2}
  c: {port: 3}
  d: {port: 4}
"""


def checkpoint(world: World, name: str) -> list[str]:
    """It tells that it is there; who was to come in ahead for that."""
    before = len(world.ahead)
    for phase, status in (("freeze", "start"), ("freeze", "done"), ("checkpoint", "start")):
        assert world.ahead[before:] == [], "not before: it may still want the memory"
        world.send(m.Progress(workload=name, phase=phase, status=status))
    return world.ahead[before:]


def test_the_next_one_begins_to_come_when_the_last_one_is_past_its_commit() -> None:
    world = World(TEXT, seated="a")
    world.ask("b")
    assert world.jobs == {"a": JobKind.SWAP_OUT}
    assert checkpoint(world, "a") == ["b"]


def test_it_waits_for_the_last_of_those_who_make_its_room() -> None:
    world = World(TEXT, seated="bc")
    world.ask("d")
    assert world.jobs == {"b": JobKind.SWAP_OUT, "c": JobKind.SWAP_OUT}
    assert checkpoint(world, "c") == []
    assert checkpoint(world, "b") == ["d"]


def test_who_began_to_come_and_is_not_wanted_any_more_gives_the_memory_back() -> None:
    world = World(TEXT, seated="a")
    ticket = world.ask("b")
    assert checkpoint(world, "a") == ["b"]
    world.send(m.Left(ticket=ticket))
    assert world.ahead == ["b"], "a may still come back, and b be asked for again"
    world.end_job("a")
    assert world.ahead == ["b", "nobody"]
    world = World(TEXT, seated="a")
    world.ask("b")
    assert checkpoint(world, "a") == ["b"]
    world.end_job("a")
    assert world.jobs == {"b": JobKind.SWAP_IN}
    world.end_job("b")
    assert world.ahead == ["b"]


def test_who_has_left_is_not_waited_for() -> None:
    world = World(TEXT, seated="bc")
    world.ask("d")
    world.end_job("c")
    assert checkpoint(world, "b") == ["d"]


def test_it_does_not_come_for_nobody() -> None:
    world = World(TEXT, seated="a")
    ticket = world.ask("b")
    world.send(m.Left(ticket=ticket))
    assert checkpoint(world, "a") == []


def test_nobody_comes_for_one_who_is_parked_by_hand_and_one_does_where_it_is_to_be_seated_then() -> None:
    world = World(TEXT, seated="a")
    world.send(m.Park(workload="a", answer=Heard()))
    assert checkpoint(world, "a") == []
    world = World(TEXT, seated="a")
    world.send(m.Swap(workload="b", out="a", answer=Heard()))
    assert checkpoint(world, "a") == ["b"]


def test_not_when_hotseat_stops() -> None:
    world = World(TEXT, seated="a")
    world.ask("b")
    world.send(m.Closing())
    assert checkpoint(world, "a") == []


@pytest.mark.parametrize(("memory", "comes"), [({0: 2}, []), ({1: 2}, ["b"]), (None, [])])
def test_not_into_memory_that_a_cold_start_may_take(memory: dict[int, int] | None, comes: list[str]) -> None:
    """It reserves nothing."""
    world = World(TEXT, seated="a")
    world.ask("b")
    starting = world.core.records["c"]
    starting.learned.memory = memory
    world.core.launch(starting, JobKind.START, world.now)
    assert checkpoint(world, "a") == comes


def test_one_that_is_not_parked_does_not_come() -> None:
    world = World(TEXT.replace("b: {port: 2}", "b: {port: 2, start: true}"), seated="a")
    world.real["b"].state = State.STOPPED
    world.send(world.look("b"))
    world.ask("b")
    assert world.jobs == {"a": JobKind.SWAP_OUT}
    assert checkpoint(world, "a") == []


class Hands:
    """Of a and b, whose memory the store lends them: a device lists it in the store's name. Nobody looks at anything
    between two jobs."""

    def __init__(self, world: World) -> None:
        self.world, self.asked, self.silent, self.late = world, list[str](), False, 0
        """`late`: so often the devices are shown as they were when they were full."""
        self.came = asyncio.Event()

    def equip(self, specs: object, *, caps: object) -> None:
        pass

    async def devices(self) -> Sequence[DeviceUse]:
        if self.silent:
            raise DriverFailed("NVML says no")
        if self.late and self.world.real["a"].state is State.PARKED:
            self.late -= 1
            return self.uses(SIZE)
        return self.uses()

    def uses(self, used: int | None = None) -> list[DeviceUse]:
        if used is None:
            used = sum(real.holds(name) for name, real in self.world.real.items()) + sum(self.here().values())
        device = Device(index=0, uuid="u", name="n", total_bytes=SIZE)
        return [DeviceUse(device=device, used_bytes=used, free_bytes=SIZE - used, processes={4242: used})]

    def here(self) -> dict[str, int]:
        coming = "b" in self.asked and self.world.real["b"].state is State.PARKED
        return {"u": SIZE - self.world.real["a"].holds("a")} if coming else {}

    async def store_room(self) -> StoreRoom:
        return StoreRoom(arena=100, ahead={} if self.late else self.here())

    async def observe(self, name: str) -> Observation:
        seen, held = self.world.real[name].seen(name), dict[Any, Held]()
        for process, one in self.world.real[name].seen(name).held.items():
            held[process] = replace(one, device_bytes={"u": one.bytes})
        return replace(seen, held=held)

    async def probe(self, name: str, container: object) -> None:
        pass

    async def ahead(self, name: str) -> None:
        self.asked.append(name)
        self.came.set()
        raise HotseatError("whatever it is")

    async def swap_out(self, name: str, *, progress: Progress, **how: object) -> SwapReport:
        progress("checkpoint", "start")
        await self.came.wait()
        self.world.real[name].state = State.PARKED
        return report(name, Direction.OUT)

    async def swap_in(self, name: str, *, progress: Progress) -> SwapReport:
        assert sum(real.holds(name) for name, real in self.world.real.items()) + NEED[name] <= SIZE
        self.world.real[name].state = State.SEATED
        return report(name, Direction.IN)


def report(name: str, direction: Direction) -> SwapReport:
    return SwapReport(
        workload=name,
        direction=direction,
        phases=(PhaseTime(name="x", seconds=1.0),),
        gpu_bytes={},
        processes=1,
        cuda_processes=1,
        threads=1,
        started_at=0.0,
    )


@pytest.mark.parametrize("mishap", ["", "silent", "late"])
async def test_what_left_is_known_to_be_free_at_the_end_of_its_job(mishap: str) -> None:
    """Not at the next look at the devices: until then the store's memory would look like a stranger's. If they cannot
    be read, or still show it, the end of the job is told all the same, and they are looked at again and again."""
    world = World(TEXT, seated="a", interposed="ab")
    hands = Hands(world)
    actor = Actor(config.parse(TEXT).workloads, hands=hands, events=EventBus())  # type: ignore[arg-type]
    running = asyncio.create_task(actor.run())
    try:
        await actor.gauge()
        for name in world.real:
            await actor.look(name)
        await actor.idle()
        hands.silent, hands.late = mishap == "silent", 3 if mishap == "late" else 0
        seated: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        ticket = Ticket(workload="b", arrived=actor.clock(), answer=lambda value, error: seated.set_result(error))
        actor.send(m.Arrived(ticket=ticket))
        async with asyncio.timeout(20):
            while mishap == "silent" and actor.records["a"].state is not State.PARKED:
                await actor.idle()
                await asyncio.sleep(0)
            hands.silent = False
            assert await seated is None
        assert {name: actor.records[name].state.value for name in "ab"} == {"a": "parked", "b": "seated"}
        assert hands.asked == ["b"], "and that it cannot come ahead is nobody's trouble"
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


class Swapper:
    """Writes down who was to come ahead, and when that was over for all."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def ahead(self, workload: Workload, **how: object) -> None:
        self.told.append(workload.name)

    async def none_ahead(self) -> None:
        self.told.append("nobody")
        raise HotseatError("no store answers")

    async def store(self, *args: object, **how: object) -> None: ...

    async def fetch(self, *args: object, **how: object) -> None: ...

    async def store_room(self) -> None: ...


class Platform:
    """There is b, once it has been looked for long enough, and nothing else."""

    def __init__(self) -> None:
        self.found = asyncio.Event()

    async def inspect(self, ref: str) -> Container:
        if ref != "b":
            raise NotFound(f"no {ref}")
        await self.found.wait()
        return Real(State.PARKED).seen("b").container


@pytest.mark.parametrize("begins", ["before", "meanwhile", "after"])
async def test_a_cold_start_finds_the_memory_free_and_stays_alone_with_it(tmp_path: Path, begins: str) -> None:
    swapper, platform = Swapper(), Platform()
    health, hooks = Health(), HookCalls(tmp_path)
    hands = RealHands(
        config.parse(TEXT).workloads,
        swapper=swapper,  # type: ignore[arg-type]
        devices=FakeGpu(),
        platforms={"docker": platform},  # type: ignore[dict-item]
        health=health,
        hooks=hooks,
        caps={},
        store=config.Store(),
    )

    async def start() -> None:
        with pytest.raises(HotseatError):
            await hands.start("a", progress=lambda phase, status: None)

    if begins == "before":  # on other devices, or it would not come to that
        await start()
    coming = asyncio.create_task(hands.ahead("b"))
    await asyncio.sleep(0)
    if begins == "meanwhile":
        await start()
    platform.found.set()
    await coming
    if begins == "after":
        await start()
    assert swapper.told == {"before": ["nobody", "b"], "meanwhile": ["nobody"], "after": ["b", "nobody"]}[begins]
    await health.aclose()
    await hooks.aclose()
