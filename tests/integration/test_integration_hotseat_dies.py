"""hotseat is killed at any moment of a swap; the next command for the workload brings it to a stable state, and its
next answer is the one that it gave before."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

import pytest
from integration_house import MIB, PLATFORMS, SOON, Guest, House, in_containers, until

from hotseat.emulator import FaultKind
from hotseat.platforms.port import Status
from hotseat.swap import plan
from hotseat.swap.port import Deadlines
from hotseat.words import State

OUT = [step.name for step in plan.plan_out(uses_cuda=True).steps]
IN = [step.name for step in plan.plan_in(uses_cuda=True, probe=False).steps]

SWAP = """
import asyncio, os, signal, sys
from pathlib import Path
from hotseat.daemon.wiring import build

_, state, name, direction, last = sys.argv

def die(phase, what):
    if (phase, what) == (last, "start"):
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with build(state=Path(state)) as runtime:
        swap = runtime.swapper.swap_out if direction == "out" else runtime.swapper.swap_in
        await swap(await runtime.find_workload(name), progress=die)

asyncio.run(main())
"""


async def die_in(house: House, guest: Guest, direction: str, phase: str) -> None:
    """Another hotseat begins the swap and is killed as soon as `phase` has begun: it is in the journal, not done."""
    state = str(house.directory / "state")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SWAP, state, f"{house.kind}:{guest.name}", direction, phase, env=dict(house.environment)
    )
    try:
        assert await asyncio.wait_for(child.wait(), SOON) == -signal.SIGKILL, f"it was never in {phase}"
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


@pytest.mark.parametrize("phase", OUT)
async def test_killed_on_the_way_out(house: House, phase: str) -> None:
    guest = await house.start(processes=2, threads=4)
    before, held = await guest.ask(), await guest.bytes()
    await die_in(house, guest, "out", phase)
    assert "broken off" in (await guest.seen()).note
    found = await guest.recover()
    if OUT.index(phase) <= OUT.index("checkpoint"):
        assert found.state is State.SEATED
        assert await guest.bytes() == held
        await guest.unharmed(before)
        await guest.park()
    assert await guest.state() is State.PARKED
    assert await guest.status() is Status.PAUSED
    assert house.used == (0, 0)
    await guest.seat()
    await guest.unharmed(before)


@pytest.mark.parametrize("phase", IN)
async def test_killed_on_the_way_in(house: House, phase: str) -> None:
    guest = await house.start(processes=2, threads=4)
    before, held = await guest.ask(), await guest.bytes()
    await guest.park()
    await die_in(house, guest, "in", phase)
    found = await guest.recover()
    if IN.index(phase) <= IN.index("restore"):
        assert (found.state, await guest.status(), house.used) == (State.PARKED, Status.PAUSED, (0, 0))
        await guest.seat()
    assert await guest.bytes() == held
    await guest.unharmed(before)
    assert house.swapper.reserved() == {}


@in_containers
async def test_killed_before_pause_and_before_unpause(house: House) -> None:
    guest = await house.start(processes=2)
    before = await guest.ask()
    await die_in(house, guest, "out", "pause")
    await guest.park()
    assert (await guest.state(), await guest.status(), house.used) == (State.PARKED, Status.PAUSED, (0, 0))
    await die_in(house, guest, "in", "unpause")
    await guest.seat()
    await guest.unharmed(before)


async def kill_in(house: House, guest: Guest, verb: str, phase: str) -> None:
    """`hotseat park` or `seat`, killed in the middle of a phase that takes long."""
    command = await house.command(verb, guest.name, "--no-daemon")
    journal = house.runtime.journal
    assert journal is not None

    def there() -> bool:
        record = journal.read(guest.container.key)
        return record is not None and record.swapping and record.step == phase

    try:
        await until(lambda: there() or command.returncode is not None)
        assert command.returncode is None, await command.stdout.read()
        await asyncio.sleep(0.3)
    finally:
        with contextlib.suppress(ProcessLookupError):
            command.kill()
        await command.wait()


def everywhere_with(*verbs: str) -> pytest.MarkDecorator:
    """Each platform with the command that comes after the one that was killed."""
    pairs = zip(PLATFORMS, verbs, strict=True)
    return pytest.mark.parametrize(
        ("kind", "next_verb"), [pytest.param(*kind.values, verb, marks=kind.marks) for kind, verb in pairs]
    )


async def run(house: House, *arguments: str) -> None:
    command = await house.command(*arguments, "--no-daemon")
    out, _ = await asyncio.wait_for(command.communicate(), SOON)
    assert command.returncode == 0, out.decode()


@everywhere_with("park", "seat", "park")
async def test_the_command_is_killed_in_the_middle_of_a_checkpoint(house: House, next_verb: str) -> None:
    """The driver goes on with the copy for seconds after its caller is dead. The next command waits for that."""
    guest, other = await asyncio.gather(house.start(seed=1, processes=2), house.start(seed=2))
    before, beside = await guest.ask(), await other.ask()
    house.fault(FaultKind.SLOW_COPY, value=3 * MIB, times=2)
    await kill_in(house, guest, "park", "checkpoint")
    await run(house, next_verb, guest.name)
    if next_verb == "park":
        assert (await guest.state(), await guest.bytes()) == (State.PARKED, {})
        await guest.seat()
    await guest.unharmed(before)
    await other.unharmed(beside)


@everywhere_with("seat", "park", "seat")
async def test_the_command_is_killed_in_the_middle_of_a_restore(house: House, next_verb: str) -> None:
    guest, other = await asyncio.gather(house.start(seed=1, processes=2), house.start(seed=2))
    before, beside = await guest.ask(), await other.ask()
    await guest.park()
    house.fault(FaultKind.SLOW_COPY, value=3 * MIB, times=2)
    await kill_in(house, guest, "seat", "restore")
    await run(house, next_verb, guest.name)
    if next_verb == "park":
        assert (await guest.state(), await guest.bytes()) == (State.PARKED, {})
        await guest.seat()
    await guest.unharmed(before)
    await other.unharmed(beside)


@pytest.mark.parametrize(
    ("verb", "phase", "fault", "op", "value"),
    [
        ("park", "lock", FaultKind.HANG, "lock", 0),
        ("park", "confirm release", FaultKind.LATE_RELEASE, "", 2000),
        ("seat", "unlock", FaultKind.HANG, "unlock", 0),
    ],
)
async def test_the_command_is_killed_while_it_waits(house: House, verb, phase, fault, op, value) -> None:
    guest = await house.start(processes=2)
    before = await guest.ask()
    if verb == "seat":
        await guest.park()
    house.fault(fault, op=op, value=value, times=None)
    await kill_in(house, guest, verb, phase)
    house.node.clear_faults()
    await run(house, "park", guest.name)
    assert (await guest.state(), house.used) == (State.PARKED, (0, 0))
    await run(house, "seat", guest.name)
    await guest.unharmed(before)


async def test_interrupted_by_a_person_it_ends_well_before_the_command_does(house: House) -> None:
    guest = await house.start(processes=2)
    before = await guest.ask()
    house.fault(FaultKind.SLOW_COPY, value=6 * MIB, times=2)
    command = await house.command("park", guest.name, "--no-daemon")
    journal = house.runtime.journal
    assert journal is not None
    await until(lambda: (record := journal.read(guest.container.key)) is not None and record.step == "checkpoint")
    command.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(command.wait(), SOON) != 0
    assert await guest.state() is State.PARKED  # past its commit it goes on to a stable end
    await guest.seat()
    await guest.unharmed(before)


class TestPatience:
    """While the driver copies it says nothing. Silence is no reason to give up what it is about to finish."""

    @pytest.fixture
    def deadlines(self) -> Deadlines:
        return Deadlines(query=0.3)

    @pytest.mark.parametrize(
        ("verb", "phase", "goal"), [("park", "checkpoint", State.PARKED), ("seat", "restore", State.SEATED)]
    )
    async def test_a_copy_that_outlives_hotseat_and_every_question(
        self, house: House, verb: str, phase: str, goal: State
    ) -> None:
        guest = await house.start(processes=2)
        before = await guest.ask()
        if verb == "seat":
            await guest.park()
        house.fault(FaultKind.SLOW_COPY, value=2 * MIB, times=2)
        await kill_in(house, guest, verb, phase)
        assert (await guest.recover()).state is goal
        await guest.seat()
        await guest.unharmed(before)

    @pytest.mark.parametrize("phase", ["checkpoint", "restore"])
    async def test_a_copy_that_outlives_its_worker_and_every_question(self, house: House, phase: str) -> None:
        guest = await house.start(processes=2)
        before = await guest.ask()
        if phase == "restore":
            await guest.park()
        house.fault(FaultKind.SLOW_COPY, value=2 * MIB, times=2)
        await (guest.park if phase == "checkpoint" else guest.seat)(progress=house.kills_workers_in(phase))
        await guest.seat()
        await guest.unharmed(before)
