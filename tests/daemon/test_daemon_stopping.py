"""A graceful stop: its steps are told, and what is parked is left as the user says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from daemon_house import House, MakeHouse, until

from hotseat.cli.ending import step as words
from hotseat.errors import Failed, UsageError
from hotseat.words import Direction


async def end(house: House, parked: str | None = None) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The steps, and the states that are left."""
    async with house.client() as client:
        steps = [step async for step in client.stop(parked=parked)]
    assert house.task is not None
    left = await asyncio.wait_for(house.task, 20)
    return steps, {row["name"]: row["state"] for row in left}


async def test_parked_stays_parked_by_default_and_each_step_is_told(house: House) -> None:
    steps, left = await end(house)
    assert left == {"a": "seated", "b": "parked"}
    assert [step["step"] for step in steps] == ["no new requests", "answers ended", "ended"]
    assert steps[-1]["parked"] == ["b"]
    assert house.swapper.begun == []


async def test_seat_gives_back_what_fits_and_says_who_does_not(make_house: MakeHouse) -> None:
    house = await make_house(names="abcd", need={"a": 4, "b": 4, "c": 4, "d": 2}, parked="bcd")
    await house.up()
    steps, left = await end(house, parked="seat")
    assert left == {"a": "seated", "b": "seated", "c": "parked", "d": "seated"}
    assert {step["workload"]: step["step"] for step in steps if step["workload"]} == {
        "b": "seated",
        "c": "stays parked",
        "d": "seated",
    }
    assert steps[-1]["parked"] == ["c"]
    (told,) = [step for step in steps if step["step"] == "stays parked"]
    line = words(told)
    assert line.startswith("c: stays parked: others have the room")
    assert line.count("parked: ") == 1
    assert "hotseat seat NAME --no-daemon" in line


async def test_what_was_lost_on_its_way_to_a_seat_is_not_said_to_stay_parked(make_house: MakeHouse) -> None:
    house = await make_house(need=4, parked="b")
    await house.up()
    house.swapper.ruin["b"] = "its restore failed"
    steps, left = await end(house, parked="seat")
    assert left["b"] == "quarantined"
    assert [words(step) for step in steps if step["workload"] == "b"] == ["b: could not be seated: its restore failed"]


async def test_the_most_wanted_is_seated_first(make_house: MakeHouse) -> None:
    house = await make_house(names="abc", need={"a": 1, "b": 6, "c": 6}, parked="bc", per={"c": "priority: 5"})
    await house.up()
    _, left = await end(house, parked="seat")
    assert left == {"a": "seated", "b": "parked", "c": "seated"}


async def test_stop_ends_the_parked_and_leaves_the_seated(house: House) -> None:
    steps, left = await end(house, parked="stop")
    assert left == {"a": "seated", "b": "stopped"}
    assert steps[-1]["parked"] == []


async def test_what_cannot_be_done_leaves_it_parked_with_the_reason(make_house: MakeHouse) -> None:
    house = await make_house(need=4, parked="b")
    await house.up()
    house.swapper.fail["b", Direction.IN] = Failed("the driver says no", hint="see its log")
    steps, left = await end(house, parked="seat")
    assert left == {"a": "seated", "b": "parked"}
    (told,) = [step for step in steps if step["workload"] == "b"]
    assert told["error"]["message"] == "the driver says no"


async def test_on_stop_of_the_file_counts_also_after_a_reload(house: House) -> None:
    house.text = "on_stop: stop\n" + house.text
    house.file.write_text(house.text)
    async with house.client() as client:
        assert (await client.reload())["settings"] == ["on_stop"]
    left = await house.down()
    assert {row["name"]: row["state"] for row in left} == {"a": "seated", "b": "stopped"}


async def test_the_first_who_asks_says_how(house: House) -> None:
    gate = house.swapper.hold[Direction.OUT] = asyncio.Event()
    async with house.client() as client:
        parking = asyncio.create_task(client.park("a"))
        await until(lambda: house.states()["a"] == "swapping out")
        first = asyncio.create_task(end(house, parked="leave"))
        await until(house.order.stop.is_set)
        assert (await client._call("POST", "/v1/stop", {"parked": "stop"}))["parked"] == "leave"
        gate.set()
        await parking
    steps, left = await first
    assert left == {"a": "parked", "b": "parked"}
    assert steps[-1]["step"] == "ended"


async def test_what_is_no_way_to_leave_them_is_refused(house: House) -> None:
    async with house.client() as client:
        with pytest.raises(UsageError, match="leave"):
            await anext(client.stop(parked="burn"))
    assert await house.answer("a") == 200
