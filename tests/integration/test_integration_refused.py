"""What fails before the commit: the workload runs on, its next answer is the same, and a second try works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from integration_house import CONTEXT, MIB, SOON, House, everywhere, until

from hotseat.demo import EngineSpec, image
from hotseat.demo.spec import hold_command
from hotseat.emulator import FaultKind
from hotseat.errors import Busy, NoRoom, Quarantined, Refused, RolledBack
from hotseat.linux import own_cgroup, proc
from hotseat.platforms.port import Status
from hotseat.swap.port import Deadlines
from hotseat.testing.served import free_port
from hotseat.words import State

SHORT = Deadlines(lock=0.5, freeze=1.0, query=1.0, room=0.3, unlock=1.0)


@pytest.fixture
def deadlines() -> Deadlines:
    return SHORT


@everywhere
async def test_a_lock_that_times_out(house: House) -> None:
    guest = await house.start(processes=2)
    before, held = await guest.ask(), await guest.bytes()
    house.fault(FaultKind.LOCK_TIMEOUT, pid=guest.pids()[-1], times=2)
    with pytest.raises(RolledBack) as caught:
        await guest.park()
    assert "lock" in caught.value.message
    assert await guest.bytes() == held
    await guest.unharmed(before)
    house.node.clear_faults()
    await guest.park()
    await guest.seat()
    await guest.unharmed(before)


async def test_a_lock_that_hangs_until_its_deadline(house: House) -> None:
    guest = await house.start(processes=2)
    before = await guest.ask()
    fault = house.fault(FaultKind.HANG, op="lock", pid=guest.pids()[-1], times=None)

    def freed(phase: str, what: str) -> None:
        if (phase, what) == ("lock", "undo"):  # its worker was killed; from here on the driver speaks again
            house.node.clear_fault(fault)

    with pytest.raises(RolledBack) as caught:
        await guest.park(progress=freed)
    assert "lock" in caught.value.message
    await guest.unharmed(before)


class TestSilence:
    @pytest.fixture
    def deadlines(self) -> Deadlines:
        return Deadlines(lock=0.3, query=0.5, unlock=0.3, release=0.3)

    async def test_a_driver_that_stays_silent_quarantines_without_a_kill_until_it_speaks(self, house: House) -> None:
        guest = await house.start(processes=2)
        before, held = await guest.ask(), await guest.bytes()
        fault = house.fault(FaultKind.HANG, op="lock", pid=guest.pids()[-1], times=None)
        with pytest.raises(Quarantined) as caught:
            await guest.park()
        assert "does not say" in caught.value.message
        assert await guest.status() is Status.RUNNING
        assert await guest.bytes() == held
        house.node.clear_fault(fault)
        assert (await guest.recover()).state is State.SEATED
        await guest.unharmed(before)


async def test_a_debugger_holds_it(house: House) -> None:
    guest = await house.start()
    before = await guest.ask()
    script = (
        "import ctypes, sys; p = ctypes.CDLL(None).ptrace; "
        f"assert p(0x4206, {guest.pids()[0]}, None, None) == 0; print('traced', flush=True); sys.stdin.read()"
    )
    async with another(script) as debugger:
        with pytest.raises((Refused, RolledBack)) as caught:
            await guest.park()
        assert str(debugger.pid) in caught.value.message
        await guest.unharmed(before)
    await guest.park()
    await guest.seat()
    await guest.unharmed(before)


@contextlib.asynccontextmanager
async def another(script: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process that says when it is ready and ends with its standard input."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SOON):
            assert await process.stdout.readline()
        yield process
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), SOON)


async def test_a_thread_in_uninterruptible_sleep(house: House, tmp_path: Path) -> None:
    """Who called vfork sleeps so until its child calls exec. This child opens a pipe that nobody writes to, and is
    taken out of the workload: a child inside would be held, and its parent with it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = f"import os; os.posix_spawn('/bin/true', ['true'], {{}}, file_actions=[(0, 0, {str(pipe)!r}, 0, 0)])"
    spec = EngineSpec(weights_bytes=4 * MIB, port=free_port())
    described = house.describe(spec)
    shell = f"{shlex.join([sys.executable, '-c', script])} & exec {shlex.join(described.command)}"
    guest = await house.launch(replace(described, command=("sh", "-c", shell)), spec=spec)
    await guest.answers()
    before = await guest.ask()

    def asleep() -> list[int]:
        return [pid for pid in guest.pids() if (found := proc.stat(pid)) is not None and found.state == "D"]

    await until(asleep)
    (sleeper,) = asleep()
    (child,) = proc.descendants(sleeper)[1:]
    elsewhere = own_cgroup.create(f"{guest.name}-elsewhere")
    assert elsewhere is not None
    elsewhere.add(child)
    with pytest.raises(RolledBack) as caught:
        await guest.park()
    assert str(sleeper) in caught.value.message
    assert "uninterruptible" in caught.value.message
    await guest.unharmed(before)
    pipe.write_bytes(b"")
    await until(lambda: not asleep())
    await until(lambda: not elsewhere.freezer.pids())
    elsewhere.remove()
    await guest.park()
    await guest.seat()
    await guest.unharmed(before)


@everywhere
async def test_a_cuda_process_that_appears_while_it_is_locked(house: House, tmp_path: Path) -> None:
    spec = EngineSpec(weights_bytes=4 * MIB, port=free_port())
    described = house.describe(spec)
    sign = tmp_path / "sign"
    if house.engine is None:
        hold = shlex.join(hold_command(4 * MIB, devices=(1,)))
        shell = f"(until test -e {sign}; do sleep 0.02; done; exec {hold}) & exec {shlex.join(described.command)}"
        described = replace(described, command=("sh", "-c", shell))
    guest = await house.launch(described, spec=spec)
    await guest.answers()
    before = await guest.ask()
    came = []

    def newcomer(phase: str, what: str) -> None:
        """It stands still with the swap until the newcomer has its memory: found and not yet locked is the other."""
        if (phase, what) == ("lock", "start") and not came:
            came.append(True)
            sign.touch()
            if house.engine is not None:
                hold = hold_command(4 * MIB, devices=(1,), program=image.PROGRAM)
                house.engine.run("exec", "--detach", guest.name, *hold)
            end = time.monotonic() + SOON
            while house.used[1] < 4 * MIB + CONTEXT and time.monotonic() < end:
                time.sleep(0.01)

    out = await guest.park(progress=newcomer)
    assert (out.cuda_processes, house.used) == (2, (0, 0))
    await guest.seat()
    assert house.used[1] == 4 * MIB + CONTEXT
    await guest.unharmed(before)


class TestMemory:
    @pytest.fixture
    def preallocate(self) -> bool:
        return True

    @everywhere
    async def test_a_limit_too_small_names_the_bytes_that_lack(self, house: House) -> None:
        guest = await house.start(weights=24 * MIB, memory_limit=64 * MIB)
        before, held = await guest.ask(), await guest.bytes()
        with pytest.raises(NoRoom) as caught:
            await guest.park()
        details = caught.value.details
        assert caught.value.rule == "host memory"
        assert details["needed"] >= sum(held.values())
        assert details["lacking"] == details["needed"] - details["available"] > 0
        assert str(details["lacking"]) in caught.value.message
        assert await guest.bytes() == held
        await guest.unharmed(before)
        if house.engine is not None:  # the way out that the hint names
            assert "--memory" in caught.value.hint
            limit = str(256 * MIB)
            if house.kind == "docker":
                await house.person("update", "--memory", limit, "--memory-swap", limit, guest.name)
                await guest.park()
                await guest.seat()
                await guest.unharmed(before)


async def test_one_swap_at_a_time_across_processes(house: House) -> None:
    guest = await house.start()
    before = await guest.ask()
    house.fault(FaultKind.SLOW_COPY, value=4 * MIB, times=None)
    begun = asyncio.Event()
    parking = asyncio.create_task(
        guest.park(progress=lambda phase, what: begun.set() if phase == "checkpoint" else None)
    )
    await begun.wait()
    command = await house.command("seat", guest.name, "--no-daemon")
    out, _ = await asyncio.wait_for(command.communicate(), SOON)
    assert command.returncode == 4, out
    assert b"another swap" in out
    with pytest.raises(Busy):
        await guest.seat()
    await parking
    house.node.clear_faults()
    await guest.seat()
    await guest.unharmed(before)
