"""The systemd unit: it is well formed, and the daemon works with exactly the capabilities that it names."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from integration_daemon import PROMPTS, Daemon, expectations, loaded, nothing_is_left_of_it, settled, status_of
from integration_house import MIB, PLATFORMS, House

from hotseat.daemon import stopping

UNIT = Path(__file__).parents[2] / "packaging" / "systemd" / "hotseat.service"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def devices() -> tuple[int, ...]:
    return (64 * MIB,)


def settings() -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text())
    return dict(parser["Service"])


def confined() -> list[str]:
    """A command prefix that gives what the unit gives, and nothing else."""
    wanted = settings()
    capabilities = [name.removeprefix("CAP_").lower() for name in wanted["CapabilityBoundingSet"].split()]
    assert wanted["NoNewPrivileges"] == "yes"
    bounding = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    program = shutil.which("setpriv")
    assert program is not None, "setpriv comes with util-linux"
    return [program, f"--bounding-set={bounding}", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]


@pytest.mark.parametrize("kind", PLATFORMS)
async def test_these_capabilities_are_enough(house: House) -> None:
    guests = [await house.start(seed=seed, processes=2, threads=4, models=(f"m{seed}",)) for seed in (1, 2)]
    expected = await expectations(guests)
    await guests[1].park()
    held = sum((await guests[0].bytes()).values())
    daemon = Daemon(house=house, guests=guests, settings={"devices": {0: {"cap": held + held // 2}}})
    try:
        await daemon.up(prefix=confined())
        assert daemon.process is not None
        assert int(status_of(daemon.process.pid)["CapEff"], 16).bit_count() == len(
            settings()["CapabilityBoundingSet"].split()
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
    assert set(settings()) - told == set()
    for name in settings()["CapabilityBoundingSet"].split():
        assert f"`{name}`" in text


def test_what_the_document_installs_is_what_the_unit_runs() -> None:
    text = OPERATIONS.read_text()
    (place,) = re.findall(r"^python3 -m venv (\S+)$", text, re.M)
    assert f"{place}/bin/pip install hotseat-*.whl" in text
    assert {settings()[key].split()[0] for key in ("ExecStart", "ExecReload")} == {f"{place}/bin/hotseat"}


def test_a_stop_has_the_time_of_all_its_deadlines() -> None:
    swaps = stopping.SWAP_GRACE + stopping.LAST_GRACE + stopping.ANSWERS_GRACE
    longest = stopping.ANSWERS_GRACE + 2 * swaps + 2 * stopping.ANSWERS_GRACE
    (minutes,) = re.findall(r"^(\d+)min$", settings()["TimeoutStopSec"])
    assert f"all deadlines of a stop, {longest:g} s" in OPERATIONS.read_text()
    assert longest + 60 < int(minutes) * 60


def test_systemd_takes_it(tmp_path: Path) -> None:
    wanted = settings()
    assert wanted["Type"] == "notify"
    assert wanted["KillMode"] == "process", "engines that hotseat started outlive it"
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    program = tmp_path / "hotseat"
    program.write_text("#!/bin/true\n")
    program.chmod(0o755)
    unit = tmp_path / "hotseat.service"
    unit.write_text(UNIT.read_text().replace(settings()["ExecStart"].split()[0], str(program)))
    command = [analyze, "verify", "--man=no", str(unit)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    said = [line for line in done.stderr.splitlines() if "hotseat" in line]
    assert (done.returncode, said) == (0, [])
