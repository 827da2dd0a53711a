"""Starts, stops and restarts of the daemon: seated ones run on, parked ones stay parked, nobody waits in vain."""

import asyncio
import socket

import pytest
from daemon_house import MakeHouse, until

from hotseat.errors import Refused, UsageError
from hotseat.words import Direction


async def test_a_stop_leaves_who_sits_seated_and_who_is_parked_parked(make_house: MakeHouse) -> None:
    house = await make_house(parked="b")
    await house.up()
    left = await house.down()
    assert {row["name"]: row["state"] for row in left} == {"a": "seated", "b": "parked"}
    assert house.swapper.begun == []
    await house.up()
    assert house.states() == {"a": "seated", "b": "parked"}
    assert await house.answer("b") == 200


async def test_at_a_stop_answers_end_and_those_who_wait_are_told(make_house: MakeHouse) -> None:
    house = await make_house(parked="b")
    gate = house.swapper.hold[Direction.OUT] = asyncio.Event()
    house.engines["a"].hold_after = 2
    await house.up()
    answering = asyncio.create_task(house.answer("a"))
    await house.engines["a"].reached_hold.wait()
    waiting = asyncio.create_task(house.answer("b"))
    await until(lambda: house.row("b")["waiting"] == 1)
    stopping = asyncio.create_task(house.down())
    assert await waiting == 503
    assert not stopping.done()
    house.engines["a"].go.set()
    assert await answering == 200
    gate.set()
    await stopping


async def test_a_stop_waits_for_the_end_of_a_swap(make_house: MakeHouse) -> None:
    house = await make_house(parked="b")
    gate = house.swapper.hold[Direction.OUT] = asyncio.Event()
    await house.up()
    async with house.client() as client:
        parking = asyncio.create_task(client.park("a"))
        await until(lambda: house.states()["a"] == "swapping out")
        stopping = asyncio.create_task(house.down())
        await asyncio.sleep(0.05)
        assert not stopping.done()
        gate.set()
        left = await stopping
        await asyncio.gather(parking, return_exceptions=True)
    assert {row["name"]: row["state"] for row in left} == {"a": "parked", "b": "parked"}


async def test_a_second_signal_cancels_the_swap_which_rolls_back(make_house: MakeHouse) -> None:
    house = await make_house(parked="b")
    house.swapper.hold[Direction.OUT] = asyncio.Event()
    await house.up()
    async with house.client() as client:
        parking = asyncio.create_task(client.park("a"))
        await until(lambda: house.states()["a"] == "swapping out")
        house.order.hurry.set()
        left = await house.down()
        await asyncio.gather(parking, return_exceptions=True)
    assert {row["name"]: row["state"] for row in left}["a"] == "seated"


async def test_a_restart_finds_an_interrupted_state_of_the_world(make_house: MakeHouse) -> None:
    house = await make_house(names="abc", parked="b", stopped="c")
    house.platform.behind.pause("a")
    await house.up()
    assert house.states() == {"a": "paused", "b": "parked", "c": "stopped"}


async def test_one_daemon_a_state_directory_and_a_socket(make_house: MakeHouse) -> None:
    house = await make_house()
    await house.up()
    first = house.task
    with pytest.raises(Refused, match="another hotseat daemon"):
        await house.up()
    house.task = first
    house.text = house.text.replace("state: state", "state: elsewhere")
    with pytest.raises(Refused, match="listens at"):
        await house.up()
    house.task = first
    assert await house.answer("a") == 200


async def test_a_socket_that_a_dead_daemon_left_is_replaced(make_house: MakeHouse) -> None:
    house = await make_house()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(house.config.control))
    await house.up()
    async with house.client() as client:
        assert await client.alive()


async def test_a_gateway_port_that_is_taken_stops_the_start_and_cleans_up(make_house: MakeHouse) -> None:
    house = await make_house()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        house.text = house.text.replace("port: 0", f"port: {taken.getsockname()[1]}")
        with pytest.raises(UsageError, match="cannot listen"):
            await house.up()
    assert not house.config.control.exists()


async def test_processes_are_started_and_the_first_of_the_file_keeps_the_seat(make_house: MakeHouse) -> None:
    process = "platform: process, command: [serve, --me]"
    house = await make_house(per={"a": process, "b": process})
    await house.up()
    await until(lambda: house.states() == {"a": "seated", "b": "parked"})
    assert [name for name, _ in house.swapper.done] == ["b"]
    assert await house.answer("b") == 200
    await house.down()
    calls = len(house.processes.calls)
    await house.up()
    assert house.states() == {"a": "parked", "b": "seated"}
    assert [call for call, _ in house.processes.calls[calls:]] == [], "what runs is adopted, not started anew"


async def test_a_process_whose_command_changed_is_made_anew_once_it_has_ended(make_house: MakeHouse) -> None:
    house = await make_house(names="a", per={"a": "platform: process, command: [serve]"})
    await house.up()
    await until(lambda: house.states() == {"a": "seated"})
    await house.down()
    house.processes.behind.kill("a")
    house.text = house.text.replace("[serve]", "[serve, --better]")
    await house.up()
    await until(lambda: house.states() == {"a": "seated"})
    assert [call for call, _ in house.processes.calls if call in ("create", "remove")] == ["create", "remove", "create"]


async def test_a_cold_start_that_ends_says_its_last_words(make_house: MakeHouse) -> None:
    house = await make_house(names="a", stopped="a")
    await house.engines["a"].stop()
    await house.up()
    asking = asyncio.ensure_future(house.ask("a").__aenter__())
    await until(lambda: ("start", "a") in house.platform.calls)
    house.platform.write_log("a", "CUDA error: no kernel image\n")
    house.platform.behind.kill("a")
    response = await asking
    assert response.status == 502
    message = (await response.json())["error"]["message"]
    assert "no kernel image" in message
    assert "exit code 137" in message


async def test_a_known_need_lets_a_cold_start_share_the_device(make_house: MakeHouse) -> None:
    house = await make_house(need=4, stopped="b", per={"b": "gpu_memory: 4B"})
    await house.up()
    assert await house.answer("b") == 200
    assert house.states() == {"a": "seated", "b": "seated"}


async def test_a_bug_in_the_actor_ends_the_daemon_loudly(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await make_house()
    await house.up()

    def broken(*args: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("hotseat.daemon.core.Core.settle", broken)
    assert house.task is not None
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(house.task, 20)
