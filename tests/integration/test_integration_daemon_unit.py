"""The systemd unit: it is well formed, and the daemon works with exactly the capabilities that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from integration_daemon import PROMPTS, Daemon, expectations, loaded, nothing_is_left_of_it, settled, status_of
from integration_house import MIB, PLATFORMS, House
from integration_unit import Unit

from hotseat.daemon import stopping

UNIT = Unit("hotseat.service")
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def devices() -> tuple[int, ...]:
    return (64 * MIB,)


@pytest.mark.parametrize("kind", PLATFORMS)
async def test_these_capabilities_are_enough(house: House) -> None:
    guests = [await house.start(seed=seed, processes=2, threads=4, models=(f"m{seed}",)) for seed in (1, 2)]
    expected = await expectations(guests)
    await guests[1].park()
    held = sum((await guests[0].bytes()).values())
    daemon = Daemon(house=house, guests=guests, settings={"devices": {0: {"cap": held + held // 2}}})
    try:
        await daemon.up(prefix=UNIT.confined())
        assert daemon.process is not None
        assert int(status_of(daemon.process.pid)["CapEff"], 16).bit_count() == len(
            UNIT.settings["CapabilityBoundingSet"].split()
        )
        async with loaded(daemon, clients=2, expected=expected) as load:
            await load.more(8)
        await settled(daemon)
        async with daemon.client() as client:
            await client.park(guests[0].name)
        # Stopped and started again by hotseat itself.
        await house.platform.kill(await house.platform.inspect(guests[0].container.id))
        assert await daemon.ask(guests[0], PROMPTS[0]) == expected[guests[0].name, PROMPTS[0]]
        for guest in guests:
            guest.container = await house.platform.inspect(guest.name)
        await settled(daemon)
        await daemon.down()
        await nothing_is_left_of_it(daemon)
    finally:
        await daemon.aclose()


def test_every_line_of_the_unit_is_explained() -> None:
    text = OPERATIONS.read_text()
    told = set(re.findall(r"^\| `(\w+)=?[^|]*` \|", text, re.M))
    assert set(UNIT.settings) - told == set()
    for name in UNIT.settings["CapabilityBoundingSet"].split():
        assert f"`{name}`" in text


def test_what_the_document_installs_is_what_the_unit_runs() -> None:
    text = OPERATIONS.read_text()
    (place,) = re.findall(r"^python3 -m venv (\S+)$", text, re.M)
    assert f"{place}/bin/pip install hotseat-*.whl" in text
    assert {UNIT.settings[key].split()[0] for key in ("ExecStart", "ExecReload")} == {f"{place}/bin/hotseat"}


def test_a_stop_has_the_time_of_all_its_deadlines() -> None:
    swaps = stopping.SWAP_GRACE + stopping.LAST_GRACE + stopping.ANSWERS_GRACE
    longest = stopping.ANSWERS_GRACE + 2 * swaps + 2 * stopping.ANSWERS_GRACE
    (minutes,) = re.findall(r"^(\d+)min$", UNIT.settings["TimeoutStopSec"])
    assert f"all deadlines of a stop, {longest:g} s" in OPERATIONS.read_text()
    assert longest + 60 < int(minutes) * 60


def test_systemd_takes_it(tmp_path: Path) -> None:
    assert UNIT.settings["Type"] == "notify"
    assert UNIT.settings["KillMode"] == "process", "engines that hotseat started outlive it"
    assert UNIT.faults(tmp_path) == []
