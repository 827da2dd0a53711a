"""Settings of a workload and of the host, through a whole daemon over doubles: gateway, core, hands and platform."""

from __future__ import annotations

import asyncio

import pytest
from daemon_house import House, MakeHouse, until

from hotseat.errors import NotFound, UsageError
from hotseat.platforms.port import Status
from hotseat.words import Direction


async def test_an_idle_workload_is_stopped_and_started_again_by_a_request(make_house: MakeHouse) -> None:
    house = await make_house(names="a", per={"a": "idle_timeout: 300ms, idle: stop, stop_grace: 1s"})
    await house.up()
    assert await house.answer("a") == 200
    await until(lambda: house.states() == {"a": "stopped"})
    assert (await house.platform.inspect("a")).status is Status.EXITED
    assert await house.answer("a") == 200


async def test_a_host_without_room_stops_instead_of_parking(make_house: MakeHouse) -> None:
    house = await make_house(parked="b", min_stay="100ms")
    house.text = house.text.replace("workloads:", "host_memory: {parked: 10, reserve: 0}\nworkloads:", 1)
    await house.up()
    assert await house.answer("b") == 200
    assert house.states() == {"a": "stopped", "b": "seated"}
    assert ("a", Direction.OUT) not in house.swapper.begun, "8 of a beside 8 of b are more than 10"
    assert await house.answer("a") == 200
    await until(lambda: house.states() == {"a": "seated", "b": "parked"})


async def test_a_stop_waits_for_answers_and_cuts_none(make_house: MakeHouse) -> None:
    house = await make_house(parked="b", min_stay="100ms")
    house.text = house.text.replace("workloads:", "host_memory: {parked: 10, reserve: 0}\nworkloads:", 1)
    await house.up()
    house.engines["a"].hold_after = 1
    long = asyncio.create_task(house.answer("a"))
    await house.engines["a"].reached_hold.wait()
    other = asyncio.create_task(house.answer("b"))
    await until(lambda: house.states()["a"] == "swapping out")
    assert (await house.platform.inspect("a")).status is Status.RUNNING
    house.engines["a"].go.set()
    assert await long == 200
    assert await other == 200


async def test_a_full_queue_is_answered_429_with_a_time(make_house: MakeHouse) -> None:
    house = await make_house(parked="b", per={"b": "max_queue: 1"})
    house.swapper.hold[Direction.IN] = asyncio.Event()
    await house.up()
    first = asyncio.create_task(house.answer("b"))
    await until(lambda: house.row("b")["waiting"] == 1)
    async with house.ask("b") as response:
        assert response.status == 429
        assert int(response.headers["Retry-After"]) >= 1
    house.swapper.hold[Direction.IN].set()
    assert await first == 200


async def test_a_quarantined_workload_is_restarted(make_house: MakeHouse) -> None:
    house = await make_house(parked="b", min_stay="100ms", per={"b": "on_quarantine: restart, stop_grace: 1s"})
    house.swapper.ruin["b"] = "its restore failed"
    await house.up()
    async with house.ask("b") as response:
        assert response.status in (500, 502, 503), "whoever waited for that swap is told what it did"
    house.engines["b"].thaw()  # a new process, which nobody froze
    await until(lambda: house.states()["b"] == "seated")
    assert await house.answer("b") == 200
    assert (await house.platform.inspect("b")).status is Status.RUNNING


async def test_prewarm_through_the_control_api(house: House) -> None:
    async with house.client() as client:
        assert await client.prewarm("b", seconds=60) == {"workload": "b", "state": "parked", "seconds": 60}
        await until(lambda: house.states() == {"a": "parked", "b": "seated"})
        assert await house.answer("a") == 200
        await until(lambda: house.states() == {"a": "seated", "b": "parked"})
        with pytest.raises(NotFound):
            await client.prewarm("nobody", seconds=60)
        with pytest.raises(UsageError, match="seconds"):
            await client.prewarm("b", seconds=-1)


async def test_a_preloaded_workload_is_started_with_the_daemon(make_house: MakeHouse) -> None:
    house = await make_house(names="a", stopped="a", per={"a": "preload: true"})
    await house.up()
    await until(lambda: house.states() == {"a": "seated"})
