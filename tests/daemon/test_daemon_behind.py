"""What people and platforms do behind hotseat's back is noticed, shown right, and acted on."""

import asyncio

import pytest
from daemon_house import House, MakeHouse, until

from hotseat.errors import PlatformFailed
from hotseat.words import Direction


async def test_a_pause_by_somebody_else(house: House) -> None:
    house.platform.behind.pause("a")
    await until(lambda: house.states()["a"] == "paused")
    async with house.ask("a") as response:
        assert response.status == 503
        message = (await response.json())["error"]["message"]
    assert "paused outside hotseat" in message
    assert "docker unpause a" in message
    house.platform.behind.unpause("a")
    await until(lambda: house.states()["a"] == "seated")
    assert await house.answer("a") == 200


async def test_what_others_paused_is_no_victim_and_keeps_its_memory(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotseat.daemon.core.BLOCKED_GRACE", 0.05)
    house.platform.behind.pause("a")
    await until(lambda: house.states()["a"] == "paused")
    async with house.ask("b") as response:
        assert response.status == 503
        assert "a (paused)" in (await response.json())["error"]["message"]
    assert house.swapper.begun == []


async def test_a_kill_and_a_cold_start_on_demand(house: House) -> None:
    house.platform.behind.kill("a")
    await until(lambda: house.states()["a"] == "stopped")
    assert house.row("a")["pids"] == []
    async with house.ask("a") as response:
        assert (response.status, response.headers["x-hotseat-swapped"]) == (200, "1")
    assert house.states()["a"] == "seated"
    assert ("start", "a") in house.platform.calls


async def test_start_false_leaves_it_stopped(make_house: MakeHouse) -> None:
    house = await make_house(stopped="a", per={"a": "start: false"})
    await house.up()
    async with house.ask("a") as response:
        assert response.status == 503
        assert "is stopped" in (await response.json())["error"]["message"]
    assert ("start", "a") not in house.platform.calls


async def test_a_kill_while_parked_loses_what_was_parked_and_says_so(house: House) -> None:
    house.platform.behind.kill("b")
    await until(lambda: house.states()["b"] == "stopped")
    house.engines["b"].thaw()
    assert await house.answer("b") == 200
    assert house.swapper.done == [("a", Direction.OUT)], "its cold start got the device to itself"


async def test_a_restart_is_probed_before_requests_go_in(house: House) -> None:
    assert await house.answer("a") == 200
    probes = house.engines["a"].health_calls
    before = house.row("a")["pids"]
    house.platform.behind.kill("a")
    await house.platform.behind.start("a")
    await until(lambda: house.row("a")["pids"] not in ([], before))
    assert await house.answer("a") == 200
    assert house.engines["a"].health_calls > probes


async def test_an_engine_that_dies_in_its_container_is_probed_and_given_up(make_house: MakeHouse) -> None:
    house = await make_house(per={"a": "health_timeout: 100ms"})
    await house.up()
    assert await house.answer("a") == 200
    await house.engines["a"].stop()
    async with house.ask("a") as response:
        assert response.status == 502
        assert "does not answer" in (await response.json())["error"]["message"]
    await house.engines["a"].start()
    assert await house.answer("a") == 200


async def test_a_removed_container(house: House) -> None:
    container = await house.platform.inspect("a")
    await house.platform.remove(container)
    await until(lambda: "no such container" in house.row("a")["note"])
    async with house.ask("a") as response:
        assert response.status == 503
        assert "there is no docker container a" in (await response.json())["error"]["message"]
    assert await house.answer("b") == 200


async def test_the_platforms_daemon_going_away_changes_nothing_for_who_sits(house: House) -> None:
    house.platform.fault("inspect", PlatformFailed("docker is down"), times=1000)
    await until(lambda: "docker is down" in house.row("a")["note"])
    assert house.states()["a"] == "seated"
    assert await house.answer("a") == 200
    house.platform._faults.clear()
    await until(lambda: house.row("a")["note"] == "")


async def test_foreign_memory_is_respected(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotseat.daemon.core.BLOCKED_GRACE", 0.2)
    house.swapper.foreign[0] = 3
    async with house.client() as client:
        await client.park("a")
        await asyncio.sleep(1.1)  # the devices are read each second
        async with house.ask("b") as response:
            assert response.status == 503
            assert "foreign processes" in (await response.json())["error"]["message"]
        house.swapper.foreign.clear()
        await asyncio.sleep(1.1)
        assert await house.answer("b") == 200


async def test_an_unfinished_swap_of_a_hotseat_that_died_is_recovered(make_house: MakeHouse) -> None:
    house = await make_house(parked="b")
    house.swapper.unfinished["b"] = Direction.OUT
    await house.up()
    assert house.states() == {"a": "seated", "b": "parked"}
    house.swapper.unfinished["b"] = Direction.IN  # a command without the daemon died in the middle
    await until(lambda: "b" not in house.swapper.unfinished)
    await until(lambda: house.states()["b"] == "parked")


async def test_a_client_sees_the_end_when_its_engine_is_killed_in_mid_answer(house: House) -> None:
    house.engines["a"].hold_after = 2
    async with house.ask("a", stream=True) as response:
        await house.engines["a"].reached_hold.wait()
        house.platform.behind.kill("a")
        await house.engines["a"].die()
        body = await response.read()
    assert b'"code":"engine_failed"' in body
    await until(lambda: house.row("a")["in_flight"] == 0)
