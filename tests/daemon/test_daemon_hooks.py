"""Hooks around a swap: called in order and in their place, and whatever fails nobody is left asleep."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from daemon_house import House, MakeHouse, until

from hotseat import config
from hotseat.config import Workload
from hotseat.daemon.hooks import HookCalls
from hotseat.errors import EngineFailed, PlatformFailed, RolledBack
from hotseat.testing.engine import FakeEngine
from hotseat.words import Direction

SLEEP = "{path: '/sleep?level=1'}"
WAKE = "{path: /wake_up}"
HOOKS = f"hooks: {{before_park: [{SLEEP}], after_seat: [{WAKE}]}}"
NEVER = "{path: /sleep, timeout: 50ms}"


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    """a sits and sleeps before it is parked; b is parked. They do not fit together."""
    made = await make_house(parked="b", min_stay="0", per={"a": HOOKS})
    await made.up()
    return made


async def test_they_are_called_before_the_park_and_after_the_seat(house: House) -> None:
    a = house.engines["a"]
    assert await house.answer("b") == 200
    assert (a.hooks, a.asleep, a.running.is_set()) == (["/sleep?level=1"], True, False)
    assert await house.answer("a") == 200
    assert (a.hooks, a.asleep) == (["/sleep?level=1", "/wake_up"], False)
    assert house.engines["b"].hooks == [], "it has none"


async def test_a_hook_that_fails_leaves_it_running_as_if_nothing_had_happened(house: House) -> None:
    a = house.engines["a"]
    a.hook_status["/sleep"] = 500
    async with house.client() as client:
        with pytest.raises(RolledBack, match=r"hook POST /sleep\?level=1 of a answered 500: so said the engine"):
            await client.park("a")
    assert house.states() == {"a": "seated", "b": "parked"}
    assert house.swapper.begun == []
    assert (a.hooks, a.asleep) == (["/sleep?level=1", "/wake_up"], False), "it had obeyed, whatever it said"
    assert await house.answer("a") == 200


async def test_a_swap_that_fails_after_the_hook_wakes_it_again(house: House) -> None:
    house.swapper.fail["a", Direction.OUT] = RolledBack("a runs on: a thread would not stop")
    async with house.client() as client:
        with pytest.raises(RolledBack, match="would not stop"):
            await client.park("a")
    assert house.engines["a"].hooks == ["/sleep?level=1", "/wake_up"]
    assert await house.answer("a") == 200


async def test_what_could_not_be_woken_is_woken_before_it_is_asked_anything(house: House) -> None:
    a = house.engines["a"]
    a.hook_status["/wake_up"] = 503
    house.swapper.fail["a", Direction.OUT] = RolledBack("a runs on")
    async with house.client() as client:
        with pytest.raises(RolledBack):
            await client.park("a")
    a.asleep = True
    a.hook_status.clear()
    assert await house.answer("a") == 200
    assert (a.hooks[-1], a.asleep) == ("/wake_up", False)


async def test_hotseat_dies_between_the_sleep_and_the_park(house: House) -> None:
    a = house.engines["a"]
    await house.down()
    notes = HookCalls(house.config.state / "asleep")
    spec = house.config.workloads["a"]
    await notes.before_park("a", spec, a.url)
    await notes.aclose()
    assert a.asleep
    await house.up()
    assert await house.answer("a") == 200
    assert not a.asleep


async def test_a_failing_wake_is_a_failure_of_the_swap_in(house: House) -> None:
    a = house.engines["a"]
    async with house.client() as client:
        await client.park("a")
        a.hook_status["/wake_up"] = 500
        with pytest.raises(EngineFailed, match="hook POST /wake_up of a answered 500"):
            await client.seat("a")
        a.hook_status.clear()
    await until(lambda: house.states()["a"] == "seated")
    assert await house.answer("a") == 200


async def test_before_a_stop_too_and_a_cold_start_needs_no_wake(make_house: MakeHouse) -> None:
    house = await make_house(names="a", min_stay="0", per={"a": HOOKS + ", idle_timeout: 10ms, idle: stop"})
    await house.up()
    a = house.engines["a"]
    await until(lambda: house.states() == {"a": "stopped"})
    assert a.hooks == ["/sleep?level=1"]
    a.asleep = False  # its process ended and starts anew
    assert await house.answer("a") == 200
    assert "/wake_up" not in a.hooks


async def test_a_stop_that_fails_after_the_hook_wakes_it_again(make_house: MakeHouse) -> None:
    house = await make_house(names="a", min_stay="0", per={"a": HOOKS + ", idle_timeout: 10ms, idle: stop"})
    house.platform.fault("stop", PlatformFailed("docker did not stop it"))
    await house.up()
    await until(lambda: "/wake_up" in house.engines["a"].hooks)
    await until(lambda: house.states() == {"a": "stopped"})
    assert house.engines["a"].hooks == ["/sleep?level=1", "/wake_up", "/sleep?level=1"], "asked again two seconds later"


# -- the calls themselves


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    async with FakeEngine().serving() as engine:
        yield engine


@pytest.fixture
async def calls(tmp_path: Path) -> AsyncIterator[HookCalls]:
    async with contextlib.AsyncExitStack() as stack:
        made = HookCalls(tmp_path / "asleep")
        stack.push_async_callback(made.aclose)
        yield made


def spec(before: str = "", after: str = WAKE) -> Workload:
    text = f"workloads: {{w: {{port: 1, hooks: {{before_park: [{before}], after_seat: [{after}]}}}}}}"
    return config.parse(text).workloads["w"]


async def test_in_order_until_one_fails_and_then_undone(calls: HookCalls, engine: FakeEngine) -> None:
    engine.hook_status["/wake_up"] = 404
    with pytest.raises(RolledBack, match="/wake_up of w answered 404"):
        await calls.before_park("w", spec(f"{SLEEP}, {WAKE}, {SLEEP}", f"{WAKE}"), engine.url)
    assert engine.hooks == ["/sleep?level=1", "/wake_up", "/wake_up"]
    assert calls.pending("w"), "it could not be woken either"
    engine.hook_status.clear()
    await calls.undo("w", spec(), engine.url)
    assert not calls.pending("w")
    await calls.undo("w", spec(), engine.url)
    assert engine.hooks[3:] == ["/wake_up"], "once is enough"


async def test_what_may_fail_is_passed_over(calls: HookCalls, engine: FakeEngine) -> None:
    engine.hook_status["/sleep"] = 500
    await calls.before_park("w", spec("{path: /sleep, on_error: ignore}, " + WAKE), engine.url)
    assert engine.hooks == ["/sleep", "/wake_up"]


@pytest.mark.parametrize("how", ["frozen", "refuses"])
async def test_an_engine_that_does_not_answer(calls: HookCalls, engine: FakeEngine, how: str) -> None:
    if how == "frozen":
        engine.freeze()
    else:
        await engine.stop()
    with pytest.raises(RolledBack, match=r"within 0.05 s" if how == "frozen" else "failed: "):
        await calls.before_park("w", spec(NEVER, "{path: /wake_up, timeout: 50ms}"), engine.url)


async def test_method_body_and_headers(calls: HookCalls, engine: FakeEngine) -> None:
    hook = "{path: '/v1/x?y=z', body: '{\"a\": 1}', headers: {X-Key: k}}"
    await calls.before_park("w", spec(hook), engine.url)
    (asked,) = engine.asked
    headers = {name.lower(): value for name, value in asked.headers}
    assert (asked.path, asked.body) == ("/v1/x?y=z", b'{"a": 1}')
    assert (headers["content-type"], headers["x-key"]) == ("application/json", "k")


async def test_without_hooks_nothing_is_noted(calls: HookCalls, engine: FakeEngine) -> None:
    await calls.before_park("w", spec("", ""), engine.url)
    assert not calls.pending("w")
