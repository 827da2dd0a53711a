"""What is told, counted and shown of a daemon: events, metrics, the picture, logs."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from daemon_house import House, MakeHouse, until

from hotseat import config
from hotseat.daemon import messages as m
from hotseat.daemon.book import row
from hotseat.daemon.core import Core
from hotseat.errors import NotFound
from hotseat.words import Direction


async def test_the_picture_tells_who_sits_who_is_parked_and_why(house: House) -> None:
    async with house.client() as client:
        picture = await client.snapshot()
        (device,) = picture["devices"]
        assert device["held"] == {"a": 8}
        assert (device["used_bytes"], device["free_bytes"], device["foreign_bytes"]) == (8, 2, 0)
        a, b = picture["workloads"]
        assert (a["state"], b["state"]) == ("seated", "parked")
        assert b["why"] == "the next request for it brings it back"
        assert a["cannot"] == {"park": "", "seat": "a is seated already", "prewarm": ""}
        assert b["cannot"] == {"park": "b is parked already", "seat": "", "prewarm": ""}
        assert picture["emulated"] is False
        assert picture["closing"] is False


async def test_the_picture_of_a_swap_under_way_and_of_who_waits(house: House) -> None:
    house.swapper.hold[Direction.OUT] = asyncio.Event()
    async with house.client() as client:
        asking = asyncio.create_task(client.seat("b"))
        await until(lambda: house.swapper.begun)
        a, b = (await client.snapshot())["workloads"]
        assert a["doing"]["kind"] == "swap out"
        assert a["doing"]["makes_room_for"] == "b"
        assert a["why"] == "makes room for b"
        assert "under way" in a["cannot"]["park"]
        assert b["doing"] is None
        house.swapper.hold[Direction.OUT].set()
        await asking
        a, b = (await client.snapshot())["workloads"]
        assert (a["state"], b["state"], a["doing"]) == ("parked", "seated", None)


async def test_foreign_memory_is_nobody_of_ours(make_house: MakeHouse) -> None:
    house = await make_house(names="a", size=10, need=4)
    house.swapper.foreign[0] = 3
    await house.up()
    async with house.client() as client:
        (device,) = (await client.snapshot())["devices"]
        assert (device["held"], device["foreign_bytes"], device["free_bytes"]) == ({"a": 4}, 3, 3)


async def test_logs_by_the_socket(house: House) -> None:
    house.platform.write_log("a", "one\n")
    house.platform.write_log("a", "two\n")
    async with house.client() as client:

        async def read(name: str, **how: int) -> bytes:
            return b"".join([chunk async for chunk in client.logs(name, **how)])  # type: ignore[arg-type]

        assert await read("a") == b"one\ntwo\n"
        assert await read("a", tail=1) == b"two\n"
        with pytest.raises(NotFound, match="no workload nobody"):
            await read("nobody")


async def test_followed_logs_go_on_until_the_container_ends(house: House) -> None:
    house.platform.write_log("a", "one\n")
    async with house.client() as client, contextlib.aclosing(client.logs("a", follow=True)) as chunks:
        assert await anext(chunks) == b"one\n"
        house.platform.write_log("a", "two\n")
        assert await anext(chunks) == b"two\n"
        await house.platform.kill(await house.platform.inspect("a"))
        assert [chunk async for chunk in chunks] == []


async def test_events_that_were_missed_are_told_to_who_comes_back(house: House) -> None:
    async with house.client() as client:
        await client.park("a")
        seen = []
        async for event in client.events(after=0):
            seen.append(event)
            if event["kind"] == "state" and event["workload"] == "a" and event["state"] == "parked":
                break
        assert [event["seq"] for event in seen] == sorted({event["seq"] for event in seen})
        middle = seen[len(seen) // 2]["seq"]
        async for event in client.events(after=middle):
            assert event["seq"] == middle + 1
            break


async def test_a_restart_of_the_daemon_does_not_begin_ids_anew(house: House) -> None:
    async with house.client() as client:
        before = await anext(client.events(after=0))
        await house.down()
        await house.up()
        after = await anext(client.events(after=0))
        assert after["seq"] > before["seq"]


def test_the_note_of_what_is_not_there_says_what_comes_of_it() -> None:
    text = """
workloads:
  first: {platform: process, command: [x], port: 1}
  kept: {platform: process, command: [x], port: 2, start: false}
  made: {port: 3, image: i}
  strange: {port: 4}
"""
    core = Core(config.parse(text).workloads)

    def notes() -> dict[str, str]:
        return {name: row(record)["note"] for name, record in core.records.items()}

    assert set(notes().values()) == {"not looked at yet"}
    for name in core.records:
        core.handle(m.Observed(workload=name, epoch=0), 0.0)
    assert notes() == {
        "first": "nothing of it runs",
        "kept": "nothing of it runs",
        "made": "its container is not made yet",
        "strange": "there is no such container",
    }
    core.handle(m.Preload(), 0.0)
    assert notes()["first"] == "is about to be started"
    assert notes()["kept"] == "nothing of it runs"
