"""After the commit: what is safe is retried, what was moved is brought back, the rest is quarantined with a reason."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from swap_checks import stable, untouched
from swap_strikes import HotseatDied, Strike, What
from swap_world import MIB, World

from hotseat.errors import Failed, NoRoom, ProcessGone, Quarantined, Refused, RolledBack
from hotseat.platforms.port import Status
from hotseat.swap.plan import Do
from hotseat.swap.policy import Policy
from hotseat.swap.port import Deadlines
from hotseat.swap.records import Record
from hotseat.swap.rescue import Broken, Cause, choose, patience
from hotseat.swap.room import Room
from hotseat.testing.gpu import Effect, Fault
from hotseat.words import Direction, ProcessRef, ProcessState, State

pytestmark = pytest.mark.looptime
TWO = ({0: 300 * MIB}, {0: 100 * MIB, 1: 200 * MIB})


def second(world: World) -> int:
    """Pid of the second CUDA process of "a"."""
    return list(world.boxes["a"].secrets)[1].pid


async def test_one_of_two_that_cannot_be_checkpointed_brings_both_back(world: World):
    workload = world.container("a", *TWO)
    world.gpu.faults = [Fault(op="checkpoint", effect=Effect.RESULT, pid=second(world))]
    with pytest.raises(RolledBack, match="brought back and runs on"):
        await world.swapper().swap_out(workload)
    assert world.runs("a")
    assert (await stable(world, "a")).state is State.SEATED


async def test_no_way_back_and_no_way_on_is_a_quarantine_that_frees_the_device(world: World):
    workload = world.container("a", *TWO)
    pid = second(world)
    world.gpu.faults = [Fault(op="checkpoint", effect=Effect.RESULT, pid=pid, times=None)]
    world.strikes = [Strike(call="restore", what=What.FAIL)]
    with pytest.raises(Quarantined, match=r"checkpoint failed: .*; then restore failed: .* was killed to free"):
        await world.swapper().swap_out(workload)
    assert world.boxes["a"].container.status is Status.EXITED
    assert world.gpu.free(0) == 1000 * MIB
    seen = await stable(world, "a")
    assert seen.state is State.QUARANTINED
    assert "killed to free" in seen.note


async def test_a_restore_that_failed_is_final_and_no_second_one_is_tried(world: World):
    workload = world.container("a", *TWO)
    await world.swapper().swap_out(workload)
    world.gpu.calls.clear()
    world.gpu.faults = [Fault(op="restore", effect=Effect.RESULT, pid=second(world), result=2)]
    with pytest.raises(Quarantined, match="restore failed"):
        await world.swapper().swap_in(workload)
    assert [op for op, _ in world.gpu.calls].count("restore") == 1
    with pytest.raises(Refused, match="quarantined") as refused:
        await world.swapper().swap_in(workload)
    assert refused.value.rule == "quarantined"


async def test_without_the_policy_a_quarantined_container_is_left_for_a_person(world: World):
    workload = world.container("a", *TWO)
    await world.swapper().swap_out(workload)
    world.gpu.faults = [Fault(op="restore", effect=Effect.RESULT, pid=second(world))]
    with pytest.raises(Quarantined, match="it still holds 300 MiB of device 0"):
        await world.swapper(policy=Policy(free_on_quarantine=False)).swap_in(workload)
    assert world.boxes["a"].container.status is Status.RUNNING


async def test_it_is_said_before_it_is_killed(world: World):
    workload = world.container("a", *TWO)
    await world.swapper().swap_out(workload)
    notes: list[str] = []
    kill = world.platform.kill

    async def watched(container):
        record = world.journal.read(container.key)
        assert record is not None
        assert record.state is State.QUARANTINED
        notes.append(record.note)
        await kill(container)

    world.platform.kill = watched  # type: ignore[method-assign]
    world.gpu.faults = [Fault(op="restore", effect=Effect.RESULT)]
    with pytest.raises(Quarantined):
        await world.swapper().swap_in(workload)
    assert "is killed to free its memory" in notes[0]


async def test_an_unlock_that_says_no_is_tried_once_more(world: World):
    workload = world.container("a", *TWO)
    await world.swapper().swap_out(workload)
    world.gpu.faults = [Fault(op="unlock", effect=Effect.RESULT, pid=second(world))]
    report = await world.swapper().swap_in(workload)
    assert [phase.name for phase in report.phases].count("unlock") == 2
    assert world.runs("a")


async def test_a_restore_whose_worker_died_when_all_was_done_goes_on(world: World):
    workload = world.container("a", *TWO)
    await world.swapper().swap_out(workload)
    world.gpu.faults = [Fault(op="restore", effect=Effect.WORKER_DIES_AFTER)]
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_a_checkpoint_that_says_yes_and_frees_nothing_is_found_out(world: World):
    workload = world.container("a", *TWO)
    world.gpu.faults = [Fault(op="checkpoint", effect=Effect.KEEP_MEMORY, pid=second(world))]
    with pytest.raises(RolledBack, match="still lists its processes with 100 MiB") as rolled:
        await world.swapper().swap_out(workload)
    assert rolled.value.hint
    assert world.runs("a")


async def test_a_workload_that_dies_in_the_middle_is_stopped_not_quarantined(world: World):
    workload = world.container("a", {0: 300 * MIB})
    await world.swapper().swap_out(workload)
    box = world.boxes["a"]

    class Dying(Fault):
        def strikes(self, op: str, pid: int) -> bool:
            if op == "restore":
                world.exit(box)
            return False

    world.gpu.faults = [Dying(op="restore", effect=Effect.DIE)]
    with pytest.raises(ProcessGone, match="ended in the middle"):
        await world.swapper().swap_in(workload)
    assert (await stable(world, "a")).state is State.STOPPED


async def test_a_pause_that_fails_once_is_tried_again(world: World):
    workload = world.container("a", *TWO)
    world.strikes = [Strike(call="pause", what=What.FAIL)]
    await world.swapper().swap_out(workload)
    assert world.is_parked("a")


async def test_a_pause_that_never_works_brings_it_back(world: World):
    workload = world.container("a", *TWO)
    world.strikes = [Strike(call="pause", what=What.FAIL, times=9)]
    with pytest.raises(RolledBack, match="runs on"):
        await world.swapper().swap_out(workload)
    assert world.runs("a")


async def test_no_room_to_go_back_and_still_nothing_is_restored_without_a_reservation(world: World):
    workload = world.container("a", *TWO)
    taken = world.container("thief")
    world.strikes = [Strike(call="pause", what=What.FAIL, times=2)]
    pause = world.platform.pause

    async def thieving(container):
        if world.gpu.free(0) == 1000 * MIB:
            world.spawn(world.boxes["thief"], {0: 900 * MIB})
        await pause(container)

    world.platform.pause = thieving  # type: ignore[method-assign]
    with pytest.raises(Failed):
        await world.swapper().swap_out(workload)
    assert not any(process.lost for process in world.gpu.processes.values())
    assert "restore" not in world.calls
    assert untouched(world, taken.name)


async def test_an_engine_that_does_not_answer_is_quarantined_but_never_killed_for_it(world: World):
    workload = world.container("a", *TWO)
    swapper = world.swapper()
    await swapper.swap_out(workload)

    async def silent() -> None:
        raise Failed("no answer within 30 s")

    async def answers() -> None:
        pass

    with pytest.raises(Quarantined, match="its engine does not answer: no answer within 30 s"):
        await swapper.swap_in(workload, probe=silent)
    assert world.runs("a")
    assert (await swapper.observe(workload)).state is State.QUARANTINED
    with pytest.raises(Refused):
        await swapper.swap_out(workload)
    with pytest.raises(Quarantined):
        await swapper.swap_in(workload, probe=silent)
    report = await swapper.swap_in(workload, probe=answers)
    assert {phase.name for phase in report.phases} == {"find", "probe", "overhead"}
    assert (await stable(world, "a")).state is State.SEATED


async def test_after_a_second_try_the_engine_is_still_asked(world: World):
    workload = world.container("a", *TWO)
    await world.swapper().swap_out(workload)
    asked: list[bool] = []

    async def probe() -> None:
        asked.append(world.runs("a"))

    world.gpu.faults = [Fault(op="unlock", effect=Effect.RESULT)]
    await world.swapper().swap_in(workload, probe=probe)
    assert asked == [True]


async def test_one_process_that_ends_in_the_middle_is_told(world: World):
    workload = world.container("a", *TWO)
    await world.swapper().swap_out(workload)
    world.gpu.faults = [Fault(op="restore", effect=Effect.DIE, pid=second(world))]
    with pytest.raises(ProcessGone, match="runs on"):
        await world.swapper().swap_in(workload)
    assert (await stable(world, "a")).state is State.SEATED


async def test_a_quarantine_for_a_silent_driver_is_lifted_when_it_speaks_again(world: World):
    workload = world.container("a", *TWO)
    world.gpu.faults = [
        Fault(op="lock", effect=Effect.HANG_AFTER, pid=second(world)),
        Fault(op="state", effect=Effect.HANG, skip=2, times=40),
    ]
    with pytest.raises(Quarantined, match="the driver does not say in which state"):
        await world.swapper().swap_out(workload)
    world.gpu.faults = []
    assert (await world.swapper().observe(workload)).state is State.QUARANTINED
    assert (await world.swapper().recover(workload)).state is State.SEATED
    assert world.runs("a")


async def test_a_swap_out_that_cannot_be_undone_is_quarantined_but_not_killed(world: World):
    workload = world.container("a", *TWO)
    world.strikes = [Strike(call="seize", what=What.FAIL, times=9), Strike(call="unlock", what=What.FAIL, times=9)]
    with pytest.raises(Quarantined, match="freeze failed"):
        await world.swapper().swap_out(workload)
    assert world.boxes["a"].container.status is Status.RUNNING
    assert world.states("a") == {ProcessState.LOCKED}


async def test_room_is_never_stolen_from_another_swap_in(world: World):
    """Two hotseat processes want the same free memory: one waits and is refused, none runs out."""
    swapper = world.swapper()
    first = world.container("a", {0: 600 * MIB})
    await swapper.swap_out(first)
    other = world.container("b", {0: 600 * MIB})
    await swapper.swap_out(other)
    world.container("c", {0: 100 * MIB})
    came = await asyncio.gather(world.swapper().swap_in(first), world.swapper().swap_in(other), return_exceptions=True)
    refused = [one for one in came if isinstance(one, NoRoom)]
    assert len(refused) == 1
    assert "600 MiB needed" in refused[0].message
    assert {world.runs("a"), world.runs("b")} == {True, False}
    assert untouched(world, "c")
    await stable(world, "a")
    await stable(world, "b")


@pytest.mark.parametrize("step", ["lock", "checkpoint", "confirm release", "restore", "unlock"])
async def test_a_half_swapped_container_that_someone_paused_is_unpaused_to_be_recovered(world: World, step: str):
    workload = world.container("a", *TWO)
    out = step in ("lock", "checkpoint", "confirm release")
    if not out:
        await world.swapper().swap_out(workload)

    def die(phase: str, what: str) -> None:
        if (phase, what) == (step, "done"):
            raise HotseatDied

    swapper = world.swapper()
    with pytest.raises(HotseatDied):
        await (swapper.swap_out(workload, progress=die) if out else swapper.swap_in(workload, progress=die))
    world.hotseat_dies()
    world.set_status(world.boxes["a"], Status.PAUSED)
    assert "broken off" in (await world.swapper().observe(workload)).note
    await world.swapper().recover(workload)
    seen = await stable(world, "a")
    assert seen.state is (State.PARKED if step in ("checkpoint", "confirm release") else State.SEATED)


@pytest.mark.parametrize("direction", ["out", "in"])
async def test_a_journal_that_fails_after_the_commit_does_not_stop_the_way_to_a_stable_end(
    world: World, monkeypatch: pytest.MonkeyPatch, direction: str
):
    workload = world.container("a", *TWO)
    if direction == "in":
        await world.swapper().swap_out(workload)
    write, committed = world.journal.write, False

    def full(record: Record) -> None:
        nonlocal committed
        if record.swapping and committed:
            raise Failed("no space left on device")
        committed = record.committed
        write(record)

    monkeypatch.setattr(world.journal, "write", full)
    swapper = world.swapper()
    await (swapper.swap_out(workload) if direction == "out" else swapper.swap_in(workload))
    assert world.is_parked("a") if direction == "out" else world.runs("a")


async def test_the_last_line_of_defence_against_a_restore_without_a_reservation(world: World):
    workload = world.container("a", *TWO)
    await world.swapper().swap_out(workload)
    reserve = Room.reserve
    try:
        Room.reserve = lambda self, scene, processes: asyncio.sleep(0)  # type: ignore[assignment,method-assign]
        with pytest.raises(RolledBack, match=r"are reserved: a bug\); it is parked"):
            await world.swapper().swap_in(workload)
    finally:
        Room.reserve = reserve  # type: ignore[method-assign]
    assert world.is_parked("a")
    assert "restore" not in world.calls


P, Q = ProcessRef(1, 1), ProcessRef(2, 1)
RUNNING, LOCKED, CHECKPOINTED, FAILED, *_ = ProcessState
OUT, IN = Direction.OUT, Direction.IN
SEATED, PARKED, LOST = State.SEATED, State.PARKED, State.QUARANTINED


@pytest.mark.parametrize(
    ("direction", "step", "cause", "states", "goals"),
    [
        (OUT, Do.CHECKPOINT, Cause.SAID_NO, (CHECKPOINTED, LOCKED), [SEATED, PARKED, LOST]),
        (OUT, Do.CHECKPOINT, Cause.SILENT, (CHECKPOINTED, CHECKPOINTED), [PARKED, SEATED, LOST]),
        (OUT, Do.CHECKPOINT, Cause.CRASH, (CHECKPOINTED, LOCKED), [PARKED, SEATED, LOST]),
        (OUT, Do.CONFIRM_RELEASE, Cause.DISAGREES, (CHECKPOINTED, CHECKPOINTED), [SEATED, LOST]),
        (OUT, Do.LET_GO, Cause.DISAGREES, (CHECKPOINTED, CHECKPOINTED), [PARKED, SEATED, LOST]),
        (OUT, Do.LOCK, Cause.UNDO, (LOCKED, RUNNING), [SEATED, LOST]),
        (OUT, Do.CHECKPOINT, Cause.SILENT, (None, LOCKED), [LOST]),
        (OUT, Do.CHECKPOINT, Cause.SAID_NO, (FAILED, LOCKED), [LOST]),
        (IN, Do.RESTORE, Cause.SAID_NO, (LOCKED, CHECKPOINTED), [LOST]),
        (IN, Do.RESTORE, Cause.SILENT, (LOCKED, CHECKPOINTED), [LOST]),
        (IN, Do.RESTORE, Cause.SILENT, (LOCKED, LOCKED), [SEATED, LOST]),
        (IN, Do.RESTORE, Cause.LOST, (LOCKED, CHECKPOINTED), [SEATED, PARKED, LOST]),
        (IN, Do.RESTORE, Cause.CRASH, (LOCKED, CHECKPOINTED), [SEATED, PARKED, LOST]),
        (IN, Do.RESTORE, Cause.CRASH, (CHECKPOINTED, CHECKPOINTED), [PARKED, LOST]),
        (IN, Do.RESTORE, Cause.REFUSED, (CHECKPOINTED, CHECKPOINTED), [PARKED, LOST]),
        (IN, Do.UNLOCK, Cause.SAID_NO, (LOCKED, RUNNING), [SEATED, LOST]),
    ],
)
async def test_where_a_broken_swap_makes_for(direction, step, cause, states, goals):
    broken = Broken(
        direction=direction,
        step=step,
        cause=cause,
        committed=True,
        status=Status.RUNNING,
        states=dict(zip((P, Q), states, strict=True)),
    )
    tried: list[State] = []
    while (goal := choose(broken, tried=frozenset(tried))) is not LOST:
        tried.append(goal)
    assert [*tried, LOST] == goals
    assert choose(replace(broken, status=Status.EXITED)) is State.STOPPED


@pytest.mark.parametrize("cause", list(Cause))
@pytest.mark.parametrize("step", [None, *Do])
def test_only_a_call_whose_caller_died_gets_the_time_that_it_had(step: Do | None, cause: Cause):
    deadlines = Deadlines(lock=7.0, unlock=8.0, move_floor=9.0, move_bytes_per_second=1e6)
    calls = {Do.LOCK: 7.0, Do.UNLOCK: 8.0, Do.CHECKPOINT: 12.0, Do.RESTORE: 12.0}
    due = calls.get(step, 0.0) if step is not None and cause in (Cause.CRASH, Cause.LOST) else 0.0
    assert patience(step, cause, deadlines=deadlines, nbytes=3_000_000) == due
