"""Someone unpauses, stops, kills or restarts behind hotseat's back: it is seen as it is, and every way out works."""

from __future__ import annotations

import os
import signal

import pytest
from integration_house import Guest, House, everywhere, in_containers

from hotseat.errors import Refused, RolledBack
from hotseat.platforms.port import Status
from hotseat.swap.port import Deadlines
from hotseat.words import State


async def person(house: House, verb: str, guest: Guest) -> None:
    """docker, podman, or what a shell can do to a bare process tree."""
    if house.engine is not None:
        await house.person(verb, *(("--time=1",) if verb in ("stop", "restart") else ()), guest.name)
        return
    container = await guest.platform.inspect(guest.name)
    if verb == "kill":
        os.kill(guest.pids()[0], signal.SIGKILL)
        await guest.ends()
    elif verb == "restart":
        await guest.platform.stop(container, grace=1)
        await guest.platform.start(await guest.platform.inspect(guest.name))
    else:
        await {"pause": guest.platform.pause, "unpause": guest.platform.unpause, "stop": guest.platform.kill}[verb](
            container
        )


@everywhere
@pytest.mark.parametrize("verb", ["park", "seat"])
async def test_unpaused_while_parked(house: House, verb: str) -> None:
    guest = await house.start(processes=2)
    before = await guest.ask()
    await guest.park()
    await person(house, "unpause", guest)
    seen = await guest.seen()
    assert (seen.state, await guest.status(), house.used) == (State.PARKED, Status.RUNNING, (0, 0))
    assert "behind hotseat's back" in seen.note
    if verb == "park":
        await guest.park()
        assert (await guest.state(), await guest.status()) == (State.PARKED, Status.PAUSED)
    await guest.seat()
    await guest.unharmed(before)


@everywhere
async def test_killed_while_parked_then_started(house: House) -> None:
    guest, other = await house.start(seed=1, processes=2), await house.start(seed=2)
    before, beside = await guest.ask(), await other.ask()
    await guest.park()
    await person(house, "kill", guest)
    await guest.ends()
    seen = await guest.seen()
    assert seen.state is State.STOPPED
    assert "lost" in seen.note
    with pytest.raises(Refused) as caught:
        await guest.seat()
    assert caught.value.rule == "not running"
    guest.container = await guest.platform.start(await guest.platform.inspect(guest.name))
    await guest.answers()
    assert await guest.state() is State.SEATED
    assert (await guest.ask()).text == before.text
    await guest.park()
    await guest.seat()
    await guest.unharmed(before)
    await other.unharmed(beside)


@everywhere
async def test_restarted_while_parked(house: House) -> None:
    guest = await house.start()
    before = await guest.ask()
    await guest.park()
    if house.kind == "podman":  # podman does not stop what is paused
        await person(house, "unpause", guest)
    await person(house, "restart", guest)
    guest.container = await guest.platform.inspect(guest.name)
    await guest.answers()
    assert await guest.state() is State.SEATED
    assert (await guest.ask()).text == before.text
    await guest.park()
    await guest.seat()
    await guest.unharmed(before)


@everywhere
async def test_paused_while_seated(house: House) -> None:
    guest = await house.start()
    before, held = await guest.ask(), await guest.bytes()
    await person(house, "pause", guest)
    assert await guest.state() is State.PAUSED
    for swap in (guest.park, guest.seat):
        with pytest.raises(Refused) as caught:
            await swap()
        assert caught.value.rule == "paused"
        assert ("unpause" if house.engine is not None else "kill -CONT") in caught.value.hint
    assert await guest.bytes() == held
    await person(house, "unpause", guest)
    await guest.unharmed(before)


@everywhere
async def test_one_rank_killed_while_parked(house: House) -> None:
    guest, other = await house.start(seed=1, processes=2), await house.start(seed=2)
    beside = await other.ask()
    await guest.ask()
    victim = max(await guest.cuda_pids())
    await guest.park()
    others = house.used
    os.kill(victim, signal.SIGKILL)
    try:
        await guest.seat()
    except RolledBack as error:
        # Frozen by cgroup v1 a process dies only at the thaw: the swap in finds out, and nothing is lost by it.
        died_late = error
    else:
        died_late = None
    if died_late is not None:
        assert f"CUDA process {victim} ended" in died_late.message
        seen = await guest.seen()
        assert (seen.state, await guest.status(), house.used) == (State.PARKED, Status.PAUSED, others)
        assert f"CUDA process {victim} was killed" in seen.note
        await guest.seat()
    await guest.ends()  # the engine finds out that a rank of it is gone and says so
    assert (await guest.state(), house.used) == (State.STOPPED, others)
    await other.unharmed(beside)


class TestInTheMiddle:
    @pytest.fixture
    def deadlines(self) -> Deadlines:
        return Deadlines(move_floor=1.0)

    @in_containers
    async def test_paused_by_someone_before_the_checkpoint(self, house: House) -> None:
        """Frozen, the driver's threads in it cannot do what they are asked. It is given up in time, and thawed."""
        guest = await house.start(processes=2)
        before = await guest.ask()

        def meddle(phase: str, what: str) -> None:
            if (phase, what) == ("catch up", "done") and house.engine is not None:
                house.engine.run("pause", guest.name)

        with pytest.raises(RolledBack) as caught:
            await guest.park(progress=meddle)
        assert "checkpoint" in caught.value.message
        await guest.unharmed(before)
        await guest.park()
        await guest.seat()
        await guest.unharmed(before)
