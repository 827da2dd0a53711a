"""What hotseat makes runs with the interposer where a store is there, and is swapped by it."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from integration_daemon import Daemon, ask, settled, workload
from integration_house import IMAGE, MIB, PLATFORMS, SOON, Guest, House, everywhere, in_containers
from integration_store import running_store

from hotseat import config
from hotseat.cli.cdi import write as write_cdi
from hotseat.daemon.interposing import interposer_for
from hotseat.daemon.making import made
from hotseat.demo import EngineSpec
from hotseat.platforms.interposed import LIBRARY_INSIDE
from hotseat.store.port import HeldState
from hotseat.testing.served import free_port
from hotseat.words import State


@pytest.fixture
def devices() -> tuple[int, ...]:
    return (64 * MIB,)


async def guest_of(house: House, name: str, spec: EngineSpec) -> Guest:
    """What the daemon has made; removed at the end."""
    guest = Guest(house=house, spec=spec, container=await house.platform.inspect(name))
    house.guests.append(guest)
    return guest


@everywhere
async def test_what_hotseat_makes_is_swapped_by_the_store(house: House, control: Path) -> None:
    names = [house.name(), house.name()]
    specs = [
        EngineSpec(models=(name,), seed=seed, weights_bytes=24 * MIB, kv_bytes=4 * MIB, port=free_port())
        for seed, name in enumerate(names, start=1)
    ]
    workloads = {name: workload(house, spec) for name, spec in zip(names, specs, strict=True)}
    daemon = Daemon(house=house, guests=[], settings={"workloads": workloads, "store": {"control": str(control)}})
    async with running_store(house, control=control) as store:
        await daemon.up()
        guests = []
        said: dict[str, str] = {}
        for name, spec in zip(names, specs, strict=True):
            said[name] = await ask(daemon, name)  # its first request makes and starts it; the other one is parked
            guests.append(await guest_of(house, name, spec))
        assert said[names[0]] != said[names[1]]
        for _ in range(2):
            for name in names:
                assert await ask(daemon, name) == said[name]
                await settled(daemon)
                states = {held.state for held in (await store.status(deadline=SOON)).processes.values()}
                assert states == {HeldState.RUNNING, HeldState.OUT}, "one of them sits, the store has the other"
        rows = await daemon.rows()
        assert {rows[name]["way"] for name in names} == {"interposed"}
        assert all("the store" in rows[name]["way_why"] for name in names)
        seen = [await guest.seen() for guest in guests]
        assert [(one.state, one.way.name) for one in seen] == [
            (State.PARKED, "interposed"),
            (State.SEATED, "interposed"),
        ]
        await daemon.down()


@everywhere
async def test_without_the_interposer_it_takes_the_drivers_way(house: House, control: Path) -> None:
    name = house.name()
    spec = EngineSpec(models=(name,), weights_bytes=12 * MIB, port=free_port())
    settings = {
        "workloads": {name: workload(house, spec, interposed=False)},
        "store": {"control": str(control)},
    }
    daemon = Daemon(house=house, guests=[], settings=settings)
    async with running_store(house, control=control) as store:
        await daemon.up()
        said = await ask(daemon, name)
        await guest_of(house, name, spec)
        async with daemon.client() as client:
            await client.park(name)
        row = (await daemon.rows())[name]
        assert (row["way"], "was started without the interposer" in row["way_why"]) == ("driver", True)
        assert (await store.status(deadline=SOON)).processes == {}
        assert await ask(daemon, name) == said
        await daemon.down()


@pytest.fixture
def device(control: Path) -> Iterator[str]:
    """A CDI device of this test's own, where Podman looks for them."""
    name = f"test-{uuid.uuid4().hex}"
    file = Path("/run/cdi") / f"hotseat-{name}.json"
    write_cdi(control, output=file, name=name)
    yield f"hotseat.dev/interposer={name}"
    file.unlink()


@pytest.mark.parametrize("kind", PLATFORMS[2:])
async def test_a_container_that_somebody_else_makes_gets_it_by_a_device(
    house: House, control: Path, device: str
) -> None:
    async with running_store(house, control=control) as store:
        spec = EngineSpec(weights_bytes=24 * MIB, port=free_port())
        guest = await house.launch(house.describe(spec, devices=(device,)), spec=spec)
        await guest.answers()
        before = await guest.ask()
        for _ in range(2):
            out = await guest.park()
            (pid,) = [process.pid for process in out.interposed]
            assert pid in guest.pids()
            assert (await store.status(deadline=SOON)).used >= 24 * MIB
            await guest.seat()
            assert (await guest.ask()).text == before.text
        plain = await house.start(weights=4 * MIB)
        assert (await plain.seen()).way.name == "driver"


@asynccontextmanager
async def made_of(house: House, text: str, control: Path) -> AsyncIterator[list[str]]:
    """The environment of the container that hotseat makes of a workload of hotseat.yaml."""
    name = house.name()
    spec = config.parse(f"workloads: {{{name}: {{platform: {house.kind}, port: 8000, {text}}}}}").workloads[name]
    store = config.Store.model_validate({"use": "on", "control": control})
    container = await made(name, spec, house.platform, interposer=interposer_for(spec, store))
    try:
        yield json.loads(await house.person("inspect", "--format", "{{json .Config.Env}}", name)) or []
    finally:
        await house.platform.remove(container)


@in_containers
async def test_what_the_image_preloads_stays_behind_the_interposer(house: House, control: Path) -> None:
    base, reference = house.name(), f"{house.name()}:1"
    await house.person("create", "--name", base, IMAGE, "x")
    try:
        await house.person("commit", "--change", "ENV LD_PRELOAD=/lib/mine.so", base, reference)
        async with made_of(house, f"image: '{reference}', run: {{gpus: none, network: host}}", control) as environment:
            assert f"LD_PRELOAD={LIBRARY_INSIDE}:/lib/mine.so" in environment
        await house.person("rmi", reference)
    finally:
        await house.person("rm", base)
