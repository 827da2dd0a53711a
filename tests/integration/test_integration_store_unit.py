"""The store's systemd unit: it is well formed, and a store works with exactly the rights that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from integration_daemon import status_of
from integration_house import MIB, SOON, House
from integration_store import running_store
from integration_unit import Unit

from hotseat import native
from hotseat.words import State

UNIT = Unit("hotseat-store.service")
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.mark.root
async def test_these_rights_are_enough(house: House, control: Path) -> None:
    async with running_store(house, control=control, prefix=UNIT.confined()) as client:
        seen = await client.status(deadline=SOON)
        for pid in (seen.keeper, seen.worker):
            assert int(status_of(pid)["CapEff"], 16).bit_count() == len(UNIT.capabilities)
        library = str(native.path("libhotseat-interposer.so"))
        agents = str(control.parent / "agents" / "store.sock")
        guest = await house.start(weights=12 * MIB, env={"LD_PRELOAD": library, "HOTSEAT_STORE": agents})
        before = await guest.ask()
        for _ in range(2):
            out = await guest.park()
            assert out.interposed
            assert (await client.status(deadline=SOON)).used > 0
            await guest.seat()
            assert (await guest.ask()).text == before.text
        assert (await guest.seen()).state is State.SEATED


def test_every_line_of_the_unit_is_explained() -> None:
    text = OPERATIONS.read_text().partition("### The store's unit")[2]
    told = set(re.findall(r"^\| `(\w+)=?[^|]*` \|", text.partition("\n## ")[0], re.M))
    assert told == set(UNIT.settings)


def test_what_the_document_installs_is_what_the_unit_runs() -> None:
    (place,) = re.findall(r"^python3 -m venv (\S+)$", OPERATIONS.read_text(), re.M)
    assert {UNIT.settings[key].split()[0] for key in ("ExecStart", "ExecStop")} == {f"{place}/bin/hotseat"}


def test_systemd_takes_it(tmp_path: Path) -> None:
    assert UNIT.settings["Type"] == "notify"
    assert UNIT.settings["RuntimeDirectoryPreserve"] == "yes", "containers have its directory mounted"
    assert Unit("hotseat.service").settings["RuntimeDirectoryPreserve"] == "yes", "it lies in the daemon's"
    assert UNIT.faults(tmp_path) == []
