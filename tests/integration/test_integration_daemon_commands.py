"""`hotseat reload` and `hotseat down` with a daemon as systemd would run it: exit codes, words, what is left behind."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from integration_daemon import PROMPTS, Daemon, expectations, nothing_is_left_of_it, settled
from integration_house import MIB, SOON, House

from hotseat.words import State


@pytest.fixture
def devices() -> tuple[int, ...]:
    return (64 * MIB,)


@pytest.fixture
async def staged(house: House) -> AsyncIterator[tuple[Daemon, Any, socket.socket]]:
    """A daemon with a service manager's socket; the first guest sits, the second is parked."""
    guests = [await house.start(seed=seed, threads=4, models=(f"m{seed}",)) for seed in (1, 2)]
    expected = await expectations(guests)
    await guests[1].park()
    daemon = Daemon(house=house, guests=guests)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(daemon.directory / "n"))
    manager.settimeout(SOON)
    house.environment = {**house.environment, "NOTIFY_SOCKET": str(daemon.directory / "n"), "WATCHDOG_USEC": "60000000"}
    await daemon.up()
    yield daemon, expected, manager
    await daemon.aclose()
    manager.close()


async def hotseat(daemon: Daemon, *arguments: str) -> tuple[int | None, str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "hotseat", *arguments),
        env=daemon.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(child.communicate(), SOON)
    return child.returncode, out.decode()


async def told(manager: socket.socket, text: str) -> str:
    """The next message to the service manager that has `text`."""
    while True:
        message = (await asyncio.to_thread(manager.recv, 4096)).decode()
        if text in message:
            return message


async def test_a_day_of_a_service(staged: Any) -> None:
    daemon, expected, manager = staged
    seated, parked = daemon.guests
    assert "serves 2 workloads" in await told(manager, "READY=1")
    assert await told(manager, "WATCHDOG=1")

    daemon.per = {seated.name: {"models": ["other"]}}
    daemon.write()
    code, said = await hotseat(daemon, "reload")
    assert code == 0, said
    assert f"{seated.name}: models" in said or "nothing changed" in said, "or the daemon found it by itself before"
    assert "MONOTONIC_USEC" in await told(manager, "RELOADING=1")
    await told(manager, "READY=1")

    whole = daemon.file.read_text()
    daemon.file.write_text(whole.replace("gateway:", "gatway:").replace("linger: 0", "linger: soon"))
    code, said = await hotseat(daemon, "reload")
    assert code == 2
    assert "did you mean `gateway`" in said
    assert "defaults.linger" in said
    code, said = await hotseat(daemon, "ps")
    assert "was not taken" in said

    daemon.file.write_text(whole.replace(f"port: {daemon.port}", "port: 1"))
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    await told(manager, "RELOADING=1")
    await told(manager, "READY=1")
    code, said = await hotseat(daemon, "ps")
    assert "gateway.port: changed in the file, counts after a restart" in said
    daemon.file.write_text(whole)

    code, said = await hotseat(daemon, "down", "--parked", "seat")
    assert code == 0, said
    assert f"{parked.name}: seated" in said
    await told(manager, "STOPPING=1")
    assert await asyncio.wait_for(daemon.process.wait(), SOON) == 0
    assert await parked.state() is State.SEATED
    await nothing_is_left_of_it(daemon)
    for guest in daemon.guests:
        assert (await guest.ask(PROMPTS[0], tokens=24)).text == expected[guest.name, PROMPTS[0]]
    code, said = await hotseat(daemon, "down")
    assert code == 3
    assert "no hotseat daemon listens" in said


async def test_a_stop_of_the_parked_and_an_upgrade(staged: Any) -> None:
    daemon, expected, _ = staged
    seated, parked = daemon.guests
    await daemon.down()
    assert [await guest.state() for guest in daemon.guests] == [State.SEATED, State.PARKED]
    without = await seated.ask(PROMPTS[0], tokens=24)
    assert without.text == expected[seated.name, PROMPTS[0]], "it serves without hotseat"
    await daemon.up()
    assert await daemon.ask(parked, PROMPTS[0]) == expected[parked.name, PROMPTS[0]]
    async with daemon.client() as client:
        await client.park(parked.name)
    await settled(daemon)
    code, said = await hotseat(daemon, "down", "--parked", "stop", "--json")
    assert (code, '"parked": []' in said) == (0, True), said
    assert await parked.state() is State.STOPPED
    assert await seated.state() is State.SEATED
