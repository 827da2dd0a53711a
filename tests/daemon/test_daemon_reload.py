"""The file again while everybody is served: nothing is dropped, what cannot change is said, mistakes change nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from daemon_house import House, MakeHouse, until

from hotseat import config
from hotseat.config import Config
from hotseat.daemon.reload import NEEDS_RESTART, _differences
from hotseat.errors import ConfigError, NotFound, UsageError
from hotseat.platforms.port import Status
from hotseat.testing.engine import FakeEngine
from hotseat.words import Direction


async def rewrite(house: House, *pairs: tuple[str, str]) -> dict[str, Any]:
    for old, new in pairs:
        assert old in house.text
        house.text = house.text.replace(old, new)
    house.file.write_text(house.text)
    async with house.client() as client:
        return await client.reload()


def workload_line(house: House, name: str) -> str:
    return next(line for line in house.text.splitlines() if line.startswith(f"  {name}:"))


async def test_a_workload_comes_and_is_served_and_goes(make_house: MakeHouse) -> None:
    house = await make_house(names="ab", need=4)
    line = workload_line(house, "b")
    house.text = house.text.replace(line, "")
    await house.up()
    assert await house.answer("b") == 404
    done = await rewrite(house, ("workloads:\n", f"workloads:\n{line}\n"))
    assert done["added"] == ["b"]
    assert await house.answer("b") == 200
    assert await house.answer("b-alias") == 200
    done = await rewrite(house, (line, ""))
    assert done["removed"] == ["b"]
    assert await house.answer("b") == 404
    assert set(house.states()) == {"a"}
    assert (await house.platform.inspect("b")).status in (Status.RUNNING, Status.PAUSED), "its container is left"


async def test_models_and_urls_count_at_once(make_house: MakeHouse) -> None:
    house = await make_house(names="a")
    await house.up()
    other = FakeEngine(model="renamed")
    await other.start()
    try:
        done = await rewrite(house, ("models: [a, a-alias]", "models: [renamed]"), (house.engines["a"].url, other.url))
        assert done["changed"] == {"a": ["models", "url"]}
        assert await house.answer("a") == 404
        assert await house.answer("renamed") == 200
    finally:
        await other.stop()


async def test_no_request_is_dropped_that_waits_or_is_answered(house: House) -> None:
    gate = house.swapper.hold[Direction.OUT] = asyncio.Event()
    house.engines["a"].hold_after = 2
    answering = asyncio.create_task(house.answer("a"))
    await house.engines["a"].reached_hold.wait()
    waiting = asyncio.create_task(house.answer("b"))
    await until(lambda: house.row("b")["waiting"] == 1)
    for stay in ("11s", "12s", "0s"):
        house.text = house.text.replace(house.text.split("min_stay: ")[1].split(",")[0], stay)
        await rewrite(house)
    house.engines["a"].go.set()
    gate.set()
    assert await answering == 200
    assert await waiting == 200


async def test_one_that_goes_ends_its_answer_first_and_its_job(house: House) -> None:
    house.engines["a"].hold_after = 2
    answering = asyncio.create_task(house.answer("a"))
    await house.engines["a"].reached_hold.wait()
    await rewrite(house, (workload_line(house, "a"), ""))
    assert await house.answer("a") == 404
    assert "removed" in house.row("a")["note"]
    house.engines["a"].go.set()
    assert await answering == 200
    await until(lambda: set(house.states()) == {"b"})


async def test_those_that_wait_for_one_that_goes_are_told(house: House) -> None:
    house.swapper.hold[Direction.OUT] = asyncio.Event()
    house.engines["a"].hold_after = 2
    answering = asyncio.create_task(house.answer("a"))
    await house.engines["a"].reached_hold.wait()
    waiting = asyncio.create_task(house.answer("b"))
    await until(lambda: house.row("b")["waiting"] == 1)
    await rewrite(house, (workload_line(house, "b"), ""))
    assert await waiting == 404
    house.engines["a"].go.set()
    assert await answering == 200
    house.swapper.hold[Direction.OUT].set()


async def test_what_needs_a_restart_is_said_and_shown_and_forgotten_when_taken_back(house: House) -> None:
    done = await rewrite(house, ("port: 0", "port: 4711"), ("state: state", "state: elsewhere"))
    assert done["needs_restart"] == ["state", "gateway.port"]
    async with house.client() as client:
        (note,) = (await client.health())["notes"]
        assert "gateway.port" in note
        assert "restart" in note
        assert await house.answer("a") == 200
        done = await rewrite(house, ("port: 4711", "port: 0"), ("state: elsewhere", "state: state"))
        assert done["needs_restart"] == []
        assert (await client.health())["notes"] == []


async def test_a_broken_file_changes_nothing_and_says_every_mistake(house: House) -> None:
    async with house.client() as client:
        with pytest.raises(ConfigError) as caught:
            await rewrite(house, ("linger: 0", "linger: soon"), ("control: c.sock", "kontrol: c.sock"))
        assert len(caught.value.details["mistakes"]) == 2
        assert "did you mean `control`" in caught.value.message
        (note,) = (await client.health())["notes"]
        assert "hotseat.yaml:" in note
        assert "1 more" in note
        assert await house.answer("a") == 200
        house.file.unlink()
        with pytest.raises(NotFound):
            await client.reload()
        await rewrite(house, ("linger: soon", "linger: 0"), ("kontrol: c.sock", "control: c.sock"))
        assert (await client.health())["notes"] == []


async def test_limits_of_the_gateway_count_for_the_next_request(house: House) -> None:
    await rewrite(house, ("keepalive: 5s", "keepalive: 5s, max_body: 40B, max_upload: 40B"))
    async with house.ask("a", padding="x" * 200) as response:
        assert response.status == 413


async def test_keys_count_for_the_next_request(house: House) -> None:
    key = "sk-hotseat-test-key"
    digest = hashlib.sha256(key.encode()).hexdigest()
    await rewrite(house, ("workloads:", f'keys: {{me: {{hash: "sha256:{digest}"}}}}\nworkloads:'))
    assert await house.answer("a") == 401
    assert house.http is not None
    house.http.headers["Authorization"] = f"Bearer {key}"
    assert await house.answer("a") == 200


async def test_a_gateway_that_others_reach_is_not_opened_before_its_address_is_closed(make_house: MakeHouse) -> None:
    digest = hashlib.sha256(b"k").hexdigest()
    keys = f'keys: {{me: {{hash: "sha256:{digest}"}}}}\n'
    house = await make_house(gateway="host: 0.0.0.0")
    house.text = keys + house.text
    await house.up()
    assert await house.answer("a") == 401
    done = await rewrite(house, (keys, ""), ("host: 0.0.0.0", "host: 127.0.0.1"))
    assert done["needs_restart"] == ["gateway.host", "keys"]
    assert await house.answer("a") == 401


async def test_caps_count_for_the_next_decision(house: House) -> None:
    await rewrite(house, ("workloads:", "devices: {0: {cap: 5B}}\nworkloads:"))
    assert await house.answer("b") == 503


def in_place(file: Path, text: str) -> None:
    file.write_text(text)


def renamed(file: Path, text: str) -> None:
    other = file.with_name("new.yaml")
    other.write_text(text)
    other.rename(file)


def as_config_maps_do(file: Path, text: str) -> None:
    """The file is a link to ..data/hotseat.yaml, and ..data a link to a directory, which is swapped."""
    version = file.with_name(f"..{abs(hash(text))}")
    version.mkdir()
    (version / "hotseat.yaml").write_text(text)
    link = file.with_name("..data.new")
    link.symlink_to(version.name)
    os.rename(link, file.with_name("..data"))
    if not file.is_symlink():
        file.unlink()
        file.symlink_to("..data/hotseat.yaml")


@pytest.mark.parametrize("write", [in_place, renamed, as_config_maps_do])
async def test_a_change_of_the_file_is_found(make_house: MakeHouse, write: Any) -> None:
    house = await make_house(names="ab", need=4)
    await house.up()
    for name in ("first", "second"):
        house.text = config_with(house, name)
        write(house.file, house.text)
        await until(lambda name=name: name in house.states())
        assert await house.answer(name) == 200


def config_with(house: House, name: str) -> str:
    """The same file, whose second workload is called `name`."""
    line = f"  {name}: {{url: '{house.engines['b'].url}', container: b}}"
    head = [text for text in house.text.splitlines() if not text.startswith(("  first:", "  second:", "  b:"))]
    return "\n".join([*head, line])


async def test_a_signal_takes_the_file_at_once_and_a_broken_one_is_only_told(house: House) -> None:
    async with house.client() as client:
        seen: list[dict[str, Any]] = []

        async def follow() -> None:
            async for event in client.events(after=0):  # none is missed before it listens
                seen.append(event)

        following = asyncio.create_task(follow())
        house.file.write_text("gateway: {prt: 1}")
        house.again.set()
        await until(lambda: any(event.get("change") == "not taken" for event in seen))
        house.file.write_text(house.text)
        house.again.set()
        await until(lambda: any(event.get("change") == "reloaded" for event in seen))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_a_daemon_without_a_file_says_so(make_house: MakeHouse) -> None:
    house = await make_house()
    house.from_file = False
    await house.up()
    async with house.client() as client:
        with pytest.raises(UsageError, match="without a file"):
            await client.reload()


def test_every_setting_that_differs_is_named() -> None:
    """So that a setting that is added later is either taken or said to need a restart, never passed over."""
    base = config.parse("workloads: {a: {port: 1}}")
    for name in Config.model_fields:
        if name in ("workloads", "defaults"):
            continue
        if name == "gateway":
            for field in type(base.gateway).model_fields:
                changed = base.model_copy(update={"gateway": base.gateway.model_copy(update={field: object()})})
                assert _differences(base, changed) == [f"gateway.{field}"]
        else:
            assert _differences(base, base.model_copy(update={name: object()})) == [name]
    known = {*Config.model_fields, *(f"gateway.{field}" for field in type(base.gateway).model_fields)}
    assert set(NEEDS_RESTART) <= known
