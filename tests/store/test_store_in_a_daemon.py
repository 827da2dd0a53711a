"""A daemon, three engines that take turns on one device, and a store: its disk, and contexts that stay."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from store_bench import hotseat
from store_house import CONTEXT, MIB, NAMES, WITHIN, living

from hotseat.daemon.client import Client
from hotseat.errors import NoRoom, Refused

pytestmark = pytest.mark.emulated
SMALL = CONTEXT + 2 * MIB
"""What of an engine the store does not move: with its context its allocations below 2 MiB."""


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e")


async def test_who_is_least_wanted_goes_to_disk_and_the_next_request_brings_it_back(directory: Path) -> None:
    async with living(directory, device=72 * MIB, arena=24) as house:
        texts = {name: await house.say(name) for name in NAMES}
        assert len(set(texts.values())) == 3, "they differ by their seed"
        assert house.states() == {"ada": "stored", "bob": "parked", "cyd": "seated"}
        assert len(house.bench.files()) == 1
        assert house.row("ada")["stored_bytes"] > 0
        for name in ("ada", "cyd", "bob", "ada"):
            assert await house.say(name) == texts[name]
            assert house.states()[name] == "seated"
            assert sorted(house.states().values()) == ["parked", "seated", "stored"]


async def test_contexts_stay_until_another_needs_their_room(directory: Path) -> None:
    """Beside the one that sits, and the store's own, there is room for one context."""
    async with living(directory, device=52 * MIB, arena=96, defaults={"context": "keep"}) as house:
        texts = {name: await house.say(name) for name in NAMES}
        assert house.states() == {"ada": "parked", "bob": "parked", "cyd": "seated"}
        held = {name: house.row(name)["gpu_bytes"] for name in NAMES[:2]}
        gone, stays = sorted(held, key=held.__getitem__)
        assert (held[gone], held[stays]) == (0, SMALL)
        assert f"its context stays ({SMALL // MIB} MiB of device 0)" in house.row(stays)["note"]
        for name in (stays, *NAMES, stays, "cyd"):
            assert await house.say(name) == texts[name]
            away = [row["gpu_bytes"] for row in house.serving.workloads() if row["state"] == "parked"]
            assert sorted(away) == [0, SMALL]
        (kept,) = [row["name"] for row in house.serving.workloads() if row["gpu_bytes"] == SMALL]
        words = ("park", kept, "--whole", "--json", f"--control={house.control}")
        code, out, _ = await hotseat(*words, environ=house.bench.environ)
        assert (code, json.loads(out)["gpu_bytes"], house.row(kept)["gpu_bytes"]) == (0, SMALL, 0)
        assert (house.row(kept)["state"], await house.say(kept)) == ("parked", texts[kept])


async def test_for_whom_a_person_parks_another_goes_to_disk_where_the_arena_is_short(directory: Path) -> None:
    async with living(directory, device=72 * MIB, arena=24) as house:
        texts = {name: await house.say(name) for name in NAMES}
        async with Client(house.control) as client:
            (report,) = await client.park("cyd")
            assert report.interposed
            assert house.states() == {"ada": "stored", "bob": "stored", "cyd": "parked"}
        assert {name: await house.say(name) for name in NAMES} == texts


async def test_a_person_moves_what_is_parked_to_disk_and_back(directory: Path) -> None:
    async with living(directory, device=72 * MIB, arena=96) as house, Client(house.control) as client:
        texts = {name: await house.say(name) for name in NAMES[:2]}
        assert [house.states()[name] for name in NAMES[:2]] == ["parked", "seated"]
        words = ("store", "spill", "ada", "--json", f"--control={house.control}")
        code, out, _ = await hotseat(*words, environ=house.bench.environ)
        told = json.loads(out)
        assert (code, told["workload"], told["to"], told["already"]) == (0, "ada", "disk", False)
        parts = [told[f"{part}_bytes"] for part in ("moved", "shared", "zero", "left")]
        assert sum(parts) == told["bytes"] > told["zero_bytes"]
        assert house.row("ada")["state"] == "stored"
        assert (house.row("ada")["stored_bytes"], len(house.bench.files())) == (told["disk_bytes"], 1)
        assert (await client.spill("ada"))["already"]
        with pytest.raises(Refused, match="bob is seated, not parked"):
            await client.spill("bob")
        back = await client.fetch("ada")
        assert (back["to"], back["moved_bytes"] + back["left_bytes"]) == ("host memory", told["moved_bytes"])
        assert house.row("ada")["state"] == "parked"
        assert house.bench.files() == []
        _, said = await asyncio.gather(client.spill("ada"), house.say("ada"))
        assert said == texts["ada"], "who asks for it meanwhile gets it from there"
        assert await house.say("bob") == texts["bob"]
        kinds: list[str] = []
        async with asyncio.timeout(WITHIN), contextlib.aclosing(client.events(after=0)) as events:
            async for event in events:
                if event["workload"] == "ada" and event["kind"] in ("store", "fetch"):
                    kinds.append(event["kind"])
                if len(kinds) == 3:
                    break
        assert kinds == ["store", "fetch", "store"]


async def test_without_a_disk_the_person_is_told_what_to_do_and_it_runs_on(directory: Path) -> None:
    async with living(directory, device=128 * MIB, arena=24, spills=False) as house:
        texts = {name: await house.say(name) for name in NAMES[:2]}
        assert [house.states()[name] for name in NAMES[:2]] == ["seated", "seated"]
        async with Client(house.control) as client:
            await client.park("ada")
            with pytest.raises(NoRoom, match="the arena lacks") as refused:
                await client.park("bob")
            assert "--arena" in refused.value.hint
            assert house.states()["bob"] == "seated"
            with pytest.raises(Refused, match="spills nothing to disk") as refused:
                await client.spill("ada")
            assert "--spill" in refused.value.hint
            await client.seat("ada")
            await client.park("bob")  # what was short then is not held against it
            assert house.states()["bob"] == "parked"
        assert {name: await house.say(name) for name in NAMES[:2]} == texts
