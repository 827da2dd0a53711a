"""Requests through a whole daemon: who gets the seat, and that no request is lost to it."""

import asyncio

import pytest
from daemon_house import House, MakeHouse, until

from hotseat.errors import Failed, HotseatError, NoRoom, RolledBack
from hotseat.words import Direction


async def test_a_request_for_the_parked_one_swaps_and_one_back_swaps_back(house: House) -> None:
    assert house.states() == {"a": "seated", "b": "parked"}
    async with house.ask("a") as response:
        assert (response.status, response.headers["x-hotseat-swapped"]) == (200, "0")
    async with house.ask("b-alias") as response:
        assert (response.status, response.headers["x-hotseat-swapped"]) == (200, "1")
        assert response.headers["x-hotseat-workload"] == "b"
    assert house.states() == {"a": "parked", "b": "seated"}
    assert await house.answer("a") == 200
    assert house.swapper.done == [
        *(("a", Direction.OUT), ("b", Direction.IN)),
        *(("b", Direction.OUT), ("a", Direction.IN)),
    ]


async def test_requests_for_one_model_share_one_swap(house: House) -> None:
    assert set(await asyncio.gather(*(house.answer("b") for _ in range(20)))) == {200}
    assert len(house.swapper.done) == 2


async def test_the_oldest_waits_least(make_house: MakeHouse) -> None:
    house = await make_house(names="abcd", parked="bcd")
    gate = house.swapper.hold[Direction.OUT] = asyncio.Event()
    await house.up()
    asking = []
    for model in "cbd":
        asking.append(asyncio.create_task(house.answer(model)))
        await until(lambda model=model: house.row(model)["waiting"])
    gate.set()
    assert await asyncio.gather(*asking) == [200] * 3
    assert [name for name, direction in house.swapper.done if direction is Direction.IN] == ["c", "b", "d"]


async def test_those_that_fit_sit_together(make_house: MakeHouse) -> None:
    house = await make_house(names="abc", need=3, parked="bc")
    await house.up()
    for model in "abc":
        assert await house.answer(model) == 200
    assert set(house.states().values()) == {"seated"}
    assert all(direction is Direction.IN for _, direction in house.swapper.done)


async def test_an_answer_is_frozen_in_the_middle_and_goes_on(make_house: MakeHouse) -> None:
    house = await make_house(parked="b", gateway="keepalive: 20ms", min_stay="0")
    await house.up()
    house.engines["a"].hold_after = 2
    async with house.ask("a", stream=True) as response:
        whole = await response.content.readuntil(b"\n\n")
        await house.engines["a"].reached_hold.wait()
        assert await house.answer("b") == 200
        # Frozen answers are demand: a gets its turn again by itself.
        house.engines["a"].go.set()
        whole += await response.read()
    events = [event for event in whole.split(b"\n\n") if event and not event.startswith(b":")]
    assert b"\n\n".join(events) + b"\n\n" == house.engines["a"].whole_stream
    await until(lambda: house.states() == {"a": "seated", "b": "parked"})


async def test_drain_lets_answers_end_and_new_requests_wait(make_house: MakeHouse) -> None:
    house = await make_house(parked="b", per={"a": "drain: 20s"}, min_stay="0")
    await house.up()
    house.engines["a"].hold_after = 2
    first = asyncio.create_task(house.answer("a"))
    await house.engines["a"].reached_hold.wait()
    other = asyncio.create_task(house.answer("b"))
    await until(lambda: house.states()["a"] == "swapping out")
    second = asyncio.create_task(house.answer("a"))
    await until(lambda: house.row("a")["waiting"] == 1)
    assert house.swapper.begun == []
    house.engines["a"].hold_after = None
    house.engines["a"].go.set()
    assert await asyncio.gather(first, other, second) == [200, 200, 200]
    assert house.swapper.done[:2] == [("a", Direction.OUT), ("b", Direction.IN)]


async def test_a_drain_ends_at_its_deadline(make_house: MakeHouse) -> None:
    house = await make_house(parked="b", per={"a": "drain: 50ms"}, min_stay="0")
    await house.up()
    house.engines["a"].hold_after = 2
    first = asyncio.create_task(house.answer("a"))
    await house.engines["a"].reached_hold.wait()
    assert await house.answer("b") == 200
    house.engines["a"].go.set()
    assert await first == 200


async def test_a_client_that_leaves_while_it_waits_leaves_nothing_behind(house: House) -> None:
    gate = house.swapper.hold[Direction.OUT] = asyncio.Event()
    leaver = asyncio.create_task(house.answer("b"))
    await until(lambda: house.row("b")["waiting"] == 1)
    leaver.cancel()
    await until(lambda: house.row("b")["waiting"] == 0)
    gate.set()
    assert await house.answer("a") == 200
    assert house.row("a")["in_flight"] == house.row("b")["in_flight"] == 0
    assert not house.engines["b"].asked


async def test_what_is_too_large_is_told_at_once(make_house: MakeHouse) -> None:
    house = await make_house(need={"a": 5, "b": 11}, parked="b")
    await house.up()
    async with house.ask("b") as response:
        assert response.status == 503
        assert "Retry-After" not in response.headers, "it will be as large then"
        assert "which offers" in (await response.json())["error"]["message"]
    assert house.states()["a"] == "seated"


async def test_a_pinned_one_stays_and_the_error_names_it(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotseat.daemon.core.BLOCKED_GRACE", 0.05)
    house = await make_house(parked="b", per={"a": "pinned: true"})
    await house.up()
    async with house.ask("b") as response:
        assert response.status == 503
        assert "a (pinned)" in (await response.json())["error"]["message"]
    async with house.client() as client:
        await client.park("a")
    assert await house.answer("b") == 200, "a person may park it all the same"


async def test_who_waited_in_vain_is_told_in_the_headers_how_long_and_for_whom(make_house: MakeHouse) -> None:
    house = await make_house(parked="b", per={"b": "max_wait: 50ms"})
    house.swapper.hold[Direction.OUT] = asyncio.Event()
    await house.up()
    async with house.ask("b") as response:
        assert response.status == 503
        assert int(response.headers["x-hotseat-waited-ms"]) >= 50
        assert (response.headers["x-hotseat-workload"], response.headers["x-hotseat-state"]) == ("b", "parked")
        assert response.headers["x-hotseat-swapped"] == "0"
        assert "a is on its way out of device 0" in (await response.json())["error"]["message"]
    house.swapper.hold[Direction.OUT].set()


async def test_max_wait(make_house: MakeHouse) -> None:
    house = await make_house(parked="b", per={"b": "max_wait: 50ms"})
    gate = house.swapper.hold[Direction.OUT] = asyncio.Event()
    await house.up()
    async with house.ask("b") as response:
        assert response.status == 503
        assert (await response.json())["error"]["code"] == "unavailable"
    gate.set()


async def test_a_swap_out_that_rolls_back_costs_nobody_a_request(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotseat.scheduler.turns.KEEP_AFTER_FAILURE", 0.2)
    monkeypatch.setattr("hotseat.daemon.core.BLOCKED_GRACE", 0.05)
    house = await make_house(parked="b")
    await house.up()
    house.swapper.fail["a", Direction.OUT] = RolledBack("a runs on: its lock timed out")
    waiting = asyncio.create_task(house.answer("b"))
    await until(lambda: ("a", Direction.OUT) not in house.swapper.fail)
    assert await house.answer("a") == 200, "it keeps its seat until it is asked again"
    assert await waiting == 200


async def test_one_that_never_leaves_its_seat_costs_the_others_their_max_wait(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Always(dict[tuple[str, Direction], HotseatError]):
        def pop(self, key: tuple[str, Direction], default: object = None) -> HotseatError | None:  # type: ignore[override]
            return self.get(key)

    monkeypatch.setattr("hotseat.scheduler.turns.KEEP_AFTER_FAILURE", 0.05)
    monkeypatch.setattr("hotseat.daemon.core.BLOCKED_GRACE", 0.05)
    house = await make_house(parked="b", per={"b": "max_wait: 500ms"})
    await house.up()
    house.swapper.fail = Always({("a", Direction.OUT): RolledBack("a runs on: its lock timed out")})
    async with house.ask("b") as response:
        assert response.status == 503
        assert "its lock timed out" in (await response.json())["error"]["message"]
    assert house.states() == {"a": "seated", "b": "parked"}
    assert await house.answer("a") == 200


async def test_a_swap_in_without_room_is_tried_again(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotseat.daemon.observing.FIRST_BACKOFF", 0.02)
    house = await make_house(parked="ab")
    await house.up()
    house.swapper.fail["b", Direction.IN] = NoRoom("NVML lags")
    assert await house.answer("b") == 200


async def test_a_swap_in_that_fails_is_told_and_the_next_request_tries_again(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotseat.daemon.observing.FIRST_BACKOFF", 0.02)
    house = await make_house(parked="ab")
    await house.up()
    house.swapper.fail["b", Direction.IN] = RolledBack("b stays parked: frozen too late")
    async with house.ask("b") as response:
        assert response.status == 502
        assert "frozen too late" in (await response.json())["error"]["message"]
    assert await house.answer("b") == 200


async def test_a_quarantined_one_says_why_and_the_others_serve(house: House) -> None:
    house.swapper.ruin["b"] = "its restore ran out of memory"
    async with house.ask("b") as response:
        assert "ran out of memory" in (await response.json())["error"]["message"]
    async with house.ask("b") as response:
        assert response.status == 503
        assert (await response.json())["error"]["code"] == "quarantined"
        assert "ran out of memory" in (await response.json())["error"]["message"]
    assert await house.answer("a") == 200
    assert house.states() == {"a": "seated", "b": "quarantined"}


async def test_a_bug_in_a_swap_is_a_failure_not_the_end(house: House) -> None:
    house.swapper.fail["a", Direction.OUT] = ZeroDivisionError("bug")  # type: ignore[assignment]
    async with house.client() as client:
        with pytest.raises(Failed, match="bug"):
            await client.park("a")
    assert await house.answer("a") == 200


async def test_mixed_load_over_many_models_loses_nothing(make_house: MakeHouse) -> None:
    house = await make_house(names="abcdef", size=20, need=8, parked="cdef", min_stay="20ms")
    await house.up()
    models = [("abcdef" * 20)[(n * 7) % 120] for n in range(120)]

    async def client(part: list[str]) -> list[int]:
        return [await house.answer(model) for model in part]

    answers = await asyncio.gather(*(client(models[n::12]) for n in range(12)))
    assert {status for part in answers for status in part} == {200}
    assert sum(len(engine.asked) for engine in house.engines.values()) == 120
