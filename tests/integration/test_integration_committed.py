"""What fails after the commit: a way back with the same tokens, or a quarantine with a reason that a person
understands. Either way the device's memory is accounted for and the workload beside it is untouched."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from dataclasses import dataclass

import pytest
from integration_house import CONTEXT, MIB, SOON, Answer, Guest, House, everywhere, in_containers

from hotseat.demo.spec import hold_command
from hotseat.emulator import FaultKind
from hotseat.errors import Failed, NoRoom, Quarantined, Refused, RolledBack
from hotseat.platforms.port import Status
from hotseat.swap.port import Deadlines
from hotseat.words import State

UNKNOWN = 999


@pytest.fixture
def deadlines() -> Deadlines:
    return Deadlines(lock=2.0, query=0.5, room=0.5, unlock=1.0, release=1.0, move_floor=1.5)


@dataclass(kw_only=True)
class Pair:
    """The one that is swapped, of two ranks, and the one beside it."""

    house: House
    guest: Guest
    other: Guest
    before: Answer
    beside: Answer
    held: int
    others: int

    async def other_untouched(self) -> None:
        assert await self.other.bytes() == {0: self.others}
        await self.other.unharmed(self.beside)

    async def lost(self, caught: pytest.ExceptionInfo[Quarantined], *words: str) -> None:
        """Quarantined, its reason told by whoever asks, its memory free; a cold start brings it back."""
        seen = await self.guest.seen()
        assert seen.state is State.QUARANTINED
        for word in words:
            assert word in caught.value.message
            assert word in seen.note
        assert "was killed to free its memory" in seen.note
        assert "still holds" not in seen.note
        assert await self.guest.status() is Status.EXITED
        assert self.house.used == (self.others, 0)
        await self.other_untouched()
        with pytest.raises(Refused) as refused:
            await self.guest.seat()
        assert refused.value.rule == "quarantined"
        self.house.node.clear_faults()
        self.guest.container = await self.guest.platform.start(await self.guest.platform.inspect(self.guest.name))
        await self.guest.answers()
        assert (await self.guest.ask()).text == self.before.text
        assert await self.guest.state() is State.SEATED
        await self.guest.park()
        await self.guest.seat()
        await self.guest.unharmed(self.before)

    async def back(self) -> None:
        """As if nothing had happened, now and at the next swap."""
        assert self.house.used == (self.held + self.others, 0)
        await self.guest.unharmed(self.before)
        await self.other_untouched()
        self.house.node.clear_faults()
        await self.guest.park()
        assert self.house.used == (self.others, 0)
        await self.guest.seat()
        await self.guest.unharmed(self.before)


@pytest.fixture
async def pair(house: House) -> Pair:
    guest, other = await asyncio.gather(house.start(seed=1, processes=2), house.start(seed=2))
    held, others = await guest.bytes(), await other.bytes()
    return Pair(
        house=house,
        guest=guest,
        other=other,
        before=await guest.ask(),
        beside=await other.ask(),
        held=held[0],
        others=others[0],
    )


class TestOut:
    @everywhere
    async def test_one_of_two_ranks_says_no(self, pair: Pair) -> None:
        pair.house.fault(FaultKind.RESULT, op="checkpoint", value=UNKNOWN, pid=(await pair.guest.cuda_pids())[-1])
        with pytest.raises(RolledBack) as caught:
            await pair.guest.park()
        assert "checkpoint" in caught.value.message
        await pair.back()

    @everywhere
    async def test_memory_that_is_kept_in_silence(self, pair: Pair) -> None:
        pair.house.fault(FaultKind.KEEP_MEMORY, times=2)
        with pytest.raises(RolledBack) as caught:
            await pair.guest.park()
        assert "still lists" in caught.value.message
        await pair.back()

    async def test_no_way_back_either(self, pair: Pair) -> None:
        """The one says no, and the other, which was checkpointed, finds its memory taken when it is to go back."""
        pair.house.fault(FaultKind.RESULT, op="checkpoint", value=UNKNOWN, pid=(await pair.guest.cuda_pids())[-1])
        pair.house.fault(FaultKind.OOM_RESTORE)
        with pytest.raises(Quarantined) as caught:
            await pair.guest.park()
        await pair.lost(caught, "checkpoint", "restore")

    async def test_a_hang(self, pair: Pair) -> None:
        pair.house.fault(FaultKind.HANG, op="checkpoint", pid=(await pair.guest.cuda_pids())[-1], times=None)
        with pytest.raises(Quarantined) as caught:
            await pair.guest.park()
        await pair.lost(caught, "checkpoint", "does not say")

    async def test_a_process_dies_half_way(self, pair: Pair) -> None:
        """A rank: what is left is off the device anyway, so it is parked, and the error tells of the loss."""
        victim = (await pair.guest.cuda_pids())[-1]
        pair.house.fault(FaultKind.DIE, op="checkpoint", value=50, pid=victim)
        with pytest.raises(Failed) as caught:
            await pair.guest.park()
        assert str(victim) in caught.value.message
        assert "ended" in caught.value.message
        assert pair.house.used == (pair.others, 0)
        seen = await pair.guest.seen()
        assert (seen.state, await pair.guest.status()) == (State.PARKED, Status.PAUSED)
        assert f"CUDA process {victim}" in seen.note
        await pair.guest.seat()
        assert not await asyncio.to_thread(pair.guest.pids) or victim not in pair.guest.pids()
        # The engine finds out that a rank of it is gone, says so and ends: nothing is hidden from it.
        await pair.guest.ends()
        assert await pair.guest.state() is State.STOPPED
        await pair.other_untouched()

    @in_containers
    async def test_the_worker_is_killed(self, pair: Pair) -> None:
        """The driver goes on with what it had begun, and so does the swap."""
        pair.house.fault(FaultKind.SLOW_COPY, value=6 * MIB, times=None)
        await pair.guest.park(progress=pair.house.kills_workers_in("checkpoint"))
        assert pair.house.used == (pair.others, 0)
        await pair.guest.seat()
        await pair.back()


class TestIn:
    @everywhere
    async def test_out_of_memory_is_final(self, pair: Pair) -> None:
        await pair.guest.park()
        pair.house.fault(FaultKind.OOM_RESTORE, pid=None)
        with pytest.raises(Quarantined) as caught:
            await pair.guest.seat()
        await pair.lost(caught, "restore", "memory")

    async def test_a_stranger_takes_the_memory_in_the_last_moment(self, pair: Pair) -> None:
        """No fault: between the reservation and the restore someone else's process fills the device."""
        await pair.guest.park()
        free = 64 * MIB - pair.others - CONTEXT - 2 * MIB
        hog: list[subprocess.Popen[bytes]] = []

        def take(phase: str, what: str) -> None:
            if (phase, what) == ("restore", "start") and not hog:
                environment = {**os.environ, **pair.house.node.environment()}
                hog.append(subprocess.Popen(hold_command(free), env=environment, stdout=subprocess.DEVNULL))
                end = time.monotonic() + SOON
                while pair.house.used[0] < free + CONTEXT + pair.others and time.monotonic() < end:
                    time.sleep(0.01)

        try:
            with pytest.raises(Quarantined) as caught:
                await pair.guest.seat(progress=take)
            assert hog[0].poll() is None
            assert pair.house.used == (pair.others + free + CONTEXT, 0)
        finally:
            hog[0].terminate()
            await asyncio.to_thread(hog[0].wait, SOON)
        await pair.lost(caught, "restore", "memory")

    @pytest.mark.parametrize("op", ["restore", "unlock"])
    async def test_an_error(self, pair: Pair, op: str) -> None:
        await pair.guest.park()
        pair.house.fault(FaultKind.RESULT, op=op, value=UNKNOWN, times=None)
        with pytest.raises(Quarantined) as caught:
            await pair.guest.seat()
        await pair.lost(caught, op, str(UNKNOWN))

    async def test_an_unlock_that_works_at_the_second_try(self, pair: Pair) -> None:
        await pair.guest.park()
        pair.house.fault(FaultKind.RESULT, op="unlock", value=UNKNOWN, times=1)
        await pair.guest.seat()
        await pair.back()

    @pytest.mark.parametrize("op", ["restore", "unlock"])
    async def test_a_hang(self, pair: Pair, op: str) -> None:
        await pair.guest.park()
        pair.house.fault(FaultKind.HANG, op=op, pid=None, times=None)
        with pytest.raises(Quarantined) as caught:
            await pair.guest.seat()
        await pair.lost(caught, op)

    async def test_a_process_dies_half_way(self, pair: Pair) -> None:
        victim = (await pair.guest.cuda_pids())[-1]
        await pair.guest.park()
        pair.house.fault(FaultKind.DIE, op="restore", value=50, pid=victim)
        with pytest.raises(Failed) as caught:
            await pair.guest.seat()
        assert str(victim) in caught.value.message
        await pair.guest.ends()
        assert await pair.guest.state() is State.STOPPED
        assert pair.house.used == (pair.others, 0)
        await pair.other_untouched()

    async def test_the_worker_is_killed(self, pair: Pair) -> None:
        await pair.guest.park()
        pair.house.fault(FaultKind.SLOW_COPY, value=6 * MIB, times=None)
        await pair.guest.seat(progress=pair.house.kills_workers_in("restore"))
        await pair.back()

    async def test_a_byte_that_comes_back_wrong_shows_in_the_tokens(self, pair: Pair) -> None:
        """The oracle of all these tests can fail."""
        await pair.guest.park()
        pair.house.fault(FaultKind.CORRUPT)
        await pair.guest.seat()
        assert (await pair.guest.ask()).text != pair.before.text
        await pair.other_untouched()


class TestRoom:
    @everywhere
    async def test_a_stranger_sits_there_and_leaves(self, pair: Pair) -> None:
        await pair.guest.park()
        async with pair.house.holding(40 * MIB) as stranger:
            with pytest.raises(NoRoom) as caught:
                await pair.guest.seat()
            assert str(stranger.pid) in caught.value.message
            assert caught.value.details["lacking"][0] > 0
            assert await pair.guest.status() is Status.PAUSED
            assert await pair.guest.state() is State.PARKED
        await pair.guest.seat()
        await pair.back()

    async def test_memory_that_is_released_late_is_waited_for(self, pair: Pair) -> None:
        pair.house.fault(FaultKind.LATE_RELEASE, value=400, times=None)
        out = await pair.guest.park()
        assert sum(phase.seconds for phase in out.phases if phase.part == "wait") > 0
        pair.house.node.clear_faults()
        await pair.guest.seat()
        await pair.back()
