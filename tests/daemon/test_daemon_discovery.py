"""Labelled containers come, change and go while the daemon serves; labels with mistakes cost nobody but themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import pytest
from daemon_house import House, MakeHouse, until

from hotseat import config
from hotseat.config import Config, Workload
from hotseat.daemon.changing import Changes
from hotseat.daemon.discovery import Discovery
from hotseat.errors import PlatformFailed
from hotseat.platforms.port import Container
from hotseat.platforms.spec import ContainerSpec
from hotseat.testing.engine import FakeEngine
from hotseat.testing.platforms import FakePlatform


def spec(container: str, expose: tuple[int, ...] = (8000,), **labels: str) -> ContainerSpec:
    said = {f"hotseat.{key}": value for key, value in labels.items()}
    return ContainerSpec(name=container, command=("x",), labels=said, expose=expose)


@dataclass
class Told:
    """In place of `Sources`: what it was told last."""

    workloads: Mapping[str, Workload] = field(default_factory=dict)
    unfit: Mapping[str, str] = field(default_factory=dict)
    times: int = 0
    names: frozenset[str] = frozenset()

    def claims(self, container: Container) -> bool:
        return container.name in self.names

    async def found(self, source: str, workloads: Mapping[str, Workload], *, unfit: Mapping[str, str]) -> Changes:
        assert source == "docker"
        self.workloads, self.unfit = workloads, unfit
        self.times += 1
        return Changes()


@dataclass
class Field:
    platform: FakePlatform = field(default_factory=lambda: FakePlatform(name="docker"))
    told: Told = field(default_factory=Told)
    text: str = "defaults: {min_stay: 7s}"

    @property
    def config(self) -> Config:
        return config.parse(self.text)

    def discovery(self, *, period: float = 60.0) -> Discovery:
        platforms = {"docker": self.platform}
        return Discovery(self.told, platforms=platforms, config=lambda: self.config, period=period)  # type: ignore[arg-type]


@pytest.fixture
def ground() -> Field:
    return Field()


async def test_what_is_there_at_the_start_is_found(ground: Field) -> None:
    await ground.platform.create(spec("a", model="m, n"))
    await ground.platform.create(ContainerSpec(name="b", command=("x",)))
    await ground.discovery().first()
    (found,) = ground.told.workloads.values()
    assert (found.container, found.models, found.port, found.min_stay) == ("a", ["m", "n"], 8000, 7.0)


async def test_nothing_new_is_not_told_again(ground: Field) -> None:
    await ground.platform.create(spec("a", model="m"))
    discovery = ground.discovery()
    for _ in range(3):
        await discovery.look("docker")
    assert ground.told.times == 1
    ground.text = "defaults: {min_stay: 8s}"
    await discovery.look("docker")
    assert ground.told.workloads["a"].min_stay == 8.0


async def test_who_goes_or_is_renamed_or_is_made_anew(ground: Field) -> None:
    first = await ground.platform.create(spec("a", model="m"))
    discovery = ground.discovery()
    await discovery.look("docker")
    ground.platform.behind.rename("a", "z")
    await discovery.look("docker")
    assert {name: found.container for name, found in ground.told.workloads.items()} == {"a": "z"}, "it stays itself"
    await ground.platform.remove(await ground.platform.inspect(first.id))
    await discovery.look("docker")
    assert ground.told.workloads == {}
    await ground.platform.create(spec("a", model="other"))
    await discovery.look("docker")
    assert ground.told.workloads["a"].models == ["other"]


async def test_two_hotseats_share_an_engine_by_a_label_each(ground: Field) -> None:
    ours = ContainerSpec(name="ours", command=("x",), labels={"hotseat.model": "m", "team": "search"}, expose=(8000,))
    theirs = ContainerSpec(name="theirs", command=("x",), labels={"hotseat.model": "n", "team": "ads"}, expose=(8000,))
    for one in (ours, theirs, spec("nobodys", model="o"), spec("wrong", (), model="p")):
        await ground.platform.create(one)
    ground.text = "discovery: {labels: {team: search}}"
    await ground.discovery().look("docker")
    assert (set(ground.told.workloads), ground.told.unfit) == ({"ours"}, {})


async def test_a_mistake_costs_its_own_container_only(ground: Field) -> None:
    await ground.platform.create(spec("a", model="m"))
    await ground.platform.create(spec("b", model="m2", prot="1", idle="sleep"))
    await ground.platform.create(spec("c", (), model="m3"))
    await ground.discovery().look("docker")
    assert set(ground.told.workloads) == {"a"}
    assert "did you mean `hotseat.port`" in ground.told.unfit["b"]
    assert "hotseat.idle: " in ground.told.unfit["b"]
    assert "exposes none" in ground.told.unfit["c"]


async def test_of_two_with_one_name_the_older_keeps_it(ground: Field) -> None:
    for name in ("new", "old"):
        await ground.platform.create(spec(name, model=name, name="same"))
    await ground.platform.behind.start("old")
    await ground.discovery().look("docker")
    assert ground.told.workloads["same"].container == "old"
    assert "container old is workload same already" in ground.told.unfit["new"]


async def test_what_the_file_has_and_what_hotseat_made_of_it_is_not_discovered(ground: Field) -> None:
    await ground.platform.create(spec("ours", model="m"))
    made = spec("made", model="m")
    await ground.platform.create(
        ContainerSpec(name="made", command=("x",), labels={**made.labels, "hotseat.made-from": "x"}, expose=(1,))
    )
    ground.told.names = frozenset({"ours"})
    await ground.discovery().look("docker")
    assert (ground.told.workloads, ground.told.unfit) == ({}, {})


async def test_silence_is_no_removal(ground: Field) -> None:
    await ground.platform.create(spec("a", model="m"))
    discovery = ground.discovery()
    await discovery.look("docker")
    ground.platform.fault("labelled", PlatformFailed("the daemon is away"))
    await discovery.look("docker")
    assert set(ground.told.workloads) == {"a"}
    ground.platform.fault("labelled", PlatformFailed("the daemon is away"))
    await discovery.first()
    assert set(ground.told.workloads) == {"a"}


async def test_switched_off_it_forgets(ground: Field) -> None:
    await ground.platform.create(spec("a", model="m"))
    discovery = ground.discovery()
    await discovery.look("docker")
    ground.text = "discovery: {docker: off}"
    await discovery.look("docker")
    assert ground.told.workloads == {}


@pytest.fixture
async def running(ground: Field) -> AsyncIterator[Discovery]:
    discovery = ground.discovery(period=0.01)
    task = asyncio.create_task(discovery.run())
    yield discovery
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_goes_on_by_itself_also_after_the_platform_was_away(ground: Field, running: Discovery) -> None:
    await ground.platform.create(spec("a", model="m"))
    await until(lambda: "a" in ground.told.workloads)
    ground.platform.fault("labelled", PlatformFailed("away"), times=3)
    await ground.platform.create(spec("b", model="n"))
    await until(lambda: "b" in ground.told.workloads)
    ground.platform.behind.rename("b", "c")
    await until(lambda: {found.container for found in ground.told.workloads.values()} == {"a", "c"})


async def test_a_rename_is_heard_of(ground: Field) -> None:
    await ground.platform.create(spec("a", model="m"))
    discovery = ground.discovery(period=0.01)
    discovery.seek("docker")
    task = asyncio.create_task(discovery.run())
    await until(lambda: bool(ground.platform._listeners))
    discovery._period = 3600.0  # from now on only what is heard of
    ground.platform.behind.rename("a", "b")
    await until(lambda: {found.container for found in ground.told.workloads.values()} == {"b"})
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_new_container_takes_a_name_that_a_renamed_one_had(ground: Field) -> None:
    first = await ground.platform.create(spec("a", model="m"))
    discovery = ground.discovery()
    await discovery.look("docker")
    ground.platform.behind.rename("a", "a-old")
    second = await ground.platform.create(spec("a", model="n"))
    await discovery.look("docker")
    identities = {name: found.identity for name, found in ground.told.workloads.items()}
    assert identities == {"a": second.id, "a-old": first.id}


async def open_engine(house: House, name: str) -> FakeEngine:
    engine = FakeEngine(model=name)
    await engine.start()
    house.engines[name] = engine
    house.swapper.memory[name] = {0: 8}
    return engine


async def test_a_container_that_appears_is_served_and_one_that_goes_is_forgotten(make_house: MakeHouse) -> None:
    house = await make_house(names="a", min_stay="0")
    await house.up()
    engine = await open_engine(house, "c")
    try:
        assert await house.answer("m-c") == 404
        await house.platform.create(spec("c", (), model="m-c", url=engine.url, gpu_memory="8"))
        await until(lambda: "c" in house.states())
        assert await house.answer("m-c") == 200
        assert engine.asked
        assert house.states() == {"a": "parked", "c": "seated"}
        await house.platform.remove(await house.platform.inspect("c"))
        await until(lambda: "c" not in house.states())
        assert await house.answer("m-c") == 404
        assert await house.answer("a") == 200
    finally:
        await engine.stop()


async def test_a_label_with_a_mistake_is_noted_where_people_look(make_house: MakeHouse) -> None:
    house = await make_house(names="a")
    await house.up()
    await house.platform.create(spec("c", (), model="m-c"))
    async with house.client() as client, contextlib.aclosing(client.events(after=0)) as events, asyncio.timeout(20):
        event = await anext(event async for event in events if event.get("change") == "left out")
        assert event["workload"] == "c"
        assert "hotseat.port" in event["note"]
        (note,) = (await client.health())["notes"]
        assert note.startswith("c (docker): hotseat.port: say where its engine listens")
    assert set(house.states()) == {"a"}


async def test_the_file_wins_over_the_labels_of_its_container(make_house: MakeHouse) -> None:
    house = await make_house(names="a")
    container = await house.platform.inspect("a")
    await house.platform.remove(container)
    await house.platform.start(await house.platform.create(spec("a", model="by-label")))
    await house.up()
    assert house.row("a")["models"] == ["a", "a-alias"]
    assert await house.answer("by-label") == 404
    assert await house.answer("a") == 200


@pytest.fixture
async def discovered(make_house: MakeHouse) -> AsyncIterator[House]:
    """a of the file, and c by its label, which sits; they do not fit together."""
    house = await make_house(names="a", min_stay="0")
    await house.up()
    engine = await open_engine(house, "c")
    await house.platform.create(labelled_c(engine))
    await until(lambda: "c" in house.states())
    assert await house.answer("m-c") == 200
    yield house
    await engine.stop()


def labelled_c(engine: FakeEngine) -> ContainerSpec:
    return spec("c", (), model="m-c", url=engine.url, gpu_memory="8")


def blind(house: House) -> None:
    """Discovery learns nothing from now on."""
    house.platform.fault("labelled", PlatformFailed("away"), times=1_000_000)


@pytest.mark.parametrize("state", ["seated", "parked", "stopped"])
async def test_a_request_right_after_a_rename_is_answered(discovered: House, state: str) -> None:
    house = discovered
    if state == "parked":
        assert await house.answer("a") == 200
    elif state == "stopped":
        house.platform.behind.stop("c")
    await until(lambda: house.states()["c"] == state)
    blind(house)
    house.swapper.memory["d"] = house.swapper.memory["c"]
    house.platform.behind.rename("c", "d")
    house.engines["d"] = house.engines["c"]
    assert await house.answer("m-c") == 200
    assert await house.answer("a") == 200, "it is parked under its new name too"
    assert await house.answer("m-c") == 200


async def test_a_request_for_what_was_made_anew_waits_for_discovery(discovered: House) -> None:
    house = discovered
    house.platform.fault("labelled", delay=0.3, times=3)
    await house.platform.remove(await house.platform.inspect("c"))
    new = await house.platform.create(labelled_c(house.engines["c"]))
    assert await house.answer("m-c") == 200
    assert house.row("c")["container"] == new.key
