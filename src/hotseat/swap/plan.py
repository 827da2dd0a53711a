"""A swap as data: ordered steps, each with its undo and its verification, and the mark of the commit.

Pure: no I/O, no clock, no ports. `executor` runs such a plan, `effects` gives each `Do` its meaning, and
docs/how-a-swap-works.md explains every row. The order inside the plans is FACTS.md's and must not change: lock all,
then freeze; checkpoint all; restore all, unlock all.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from hotseat.words import Direction, ProcessState, State


class Do(enum.StrEnum):
    """Everything that a step may do to the world. The driver's four act only on processes in the fitting state, so a
    plan may be run again after a part of it went through."""

    LOCK = "lock"
    UNLOCK = "unlock"
    FREEZE = "freeze"
    LET_GO = "let go"
    CATCH_UP = "catch up"
    CHECKPOINT = "checkpoint"
    CONFIRM_RELEASE = "confirm release"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    RESERVE = "reserve"
    GIVE_BACK = "give back"
    HOLD = "hold"
    SETTLE = "settle"
    RESTORE = "restore"
    TAKE = "take"
    GIVE = "give"
    ADMIT = "admit"
    DISMISS = "dismiss"
    WEIGH = "weigh"
    PROBE = "probe"
    LOOK = "look"
    CHECK_LOCKED = "check locked"
    CHECK_CHECKPOINTED = "check checkpointed"
    CHECK_RUNNING = "check running"
    CHECK_NONE_RUNNING = "check none running"
    CHECK_NONE_CHECKPOINTED = "check none checkpointed"
    CHECK_PAUSED = "check paused"
    CHECK_NO_CUDA = "check no cuda"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of a plan.

    `undo` must cope with an effect that went through in part or not at all. `part` is whose time the step mostly
    takes (`PhaseTime.part`). A cancellation may break an `interruptible` step off; all others run to their end.
    """

    name: str
    part: str
    effect: Do
    undo: Do | None = None
    verify: Do | None = None
    interruptible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`steps[:commit]` can be undone; from `steps[commit]` on there is no way back but the rescue plans."""

    direction: Direction
    origin: State
    """Where an undo leads back to: SEATED, PARKED, or QUARANTINED for one that runs with a silent engine."""
    goal: State
    steps: tuple[Step, ...]
    commit: int
    note: str = ""


LOCK = Step(name="lock", part="driver", effect=Do.LOCK, undo=Do.UNLOCK, verify=Do.CHECK_LOCKED)
FREEZE = Step(name="freeze", part="hotseat", effect=Do.FREEZE, undo=Do.LET_GO)
CATCH_UP = Step(name="catch up", part="hotseat", effect=Do.CATCH_UP)
CHECKPOINT = Step(name="checkpoint", part="driver", effect=Do.CHECKPOINT, verify=Do.CHECK_CHECKPOINTED)
CONFIRM = Step(name="confirm release", part="hotseat", effect=Do.CONFIRM_RELEASE)
PAUSE = Step(name="pause", part="platform", effect=Do.PAUSE)
LET_GO = Step(name="let go", part="hotseat", effect=Do.LET_GO)
# Only without our hold shows whether the platform's holds.
LET_GO_PAUSED = Step(name="let go", part="hotseat", effect=Do.LET_GO, verify=Do.CHECK_PAUSED)
RESERVE = Step(name="reserve", part="hotseat", effect=Do.RESERVE, undo=Do.GIVE_BACK, interruptible=True)
HOLD = Step(name="hold", part="hotseat", effect=Do.HOLD, undo=Do.LET_GO)
UNPAUSE = Step(name="unpause", part="platform", effect=Do.UNPAUSE, undo=Do.PAUSE)
SETTLE = Step(name="settle", part="hotseat", effect=Do.SETTLE, verify=Do.CHECK_CHECKPOINTED)
RESTORE = Step(name="restore", part="driver", effect=Do.RESTORE, verify=Do.CHECK_LOCKED)
UNLOCK = Step(name="unlock", part="driver", effect=Do.UNLOCK, verify=Do.CHECK_RUNNING)
WEIGH = Step(name="weigh", part="hotseat", effect=Do.WEIGH)
PROBE = Step(name="probe", part="engine", effect=Do.PROBE, interruptible=True)
LOOK = Step(name="look", part="driver", effect=Do.LOOK)
# Only for what the store holds. Taken while nothing is locked and given when all are unlocked, for both are the work of
# a thread in the process that calls the driver; CHECKPOINT and RESTORE move the blocks beside the driver's calls.
TAKE = Step(name="take", part="hotseat", effect=Do.TAKE, undo=Do.GIVE)
GIVE = Step(name="give", part="hotseat", effect=Do.GIVE)
# Only for what goes by custom storage: room in the arena first, for its checkpoint cannot be broken off.
ADMIT = Step(name="admit", part="hotseat", effect=Do.ADMIT, undo=Do.DISMISS)
DISMISS = Step(name="dismiss", part="hotseat", effect=Do.DISMISS)
# In a rescue the processes are in several states at once, and each step takes on those that it can move.
LOCK_THE_REST = replace(LOCK, undo=None, verify=Do.CHECK_NONE_RUNNING)
RESTORE_THE_REST = replace(RESTORE, verify=Do.CHECK_NONE_CHECKPOINTED)
TAKE_THE_REST = replace(TAKE, undo=None)

IRREVERSIBLE = {Do.CHECKPOINT: ProcessState.LOCKED, Do.RESTORE: ProcessState.CHECKPOINTED}
"""The first of these to begin is the commit, if it finds a process in the state that it moves on from."""

NO_CUDA = "no process of it uses CUDA: parked means paused here, and no GPU memory was freed"


def plan_out(*, uses_cuda: bool, interposed: bool = False, custom: bool = False) -> Plan:
    """seated -> parked. `interposed`: the store holds some of its CUDA processes, or all. `custom`: it moves some that
    have no interposer."""
    if not uses_cuda:
        step = Step(
            name="pause", part="platform", effect=Do.PAUSE, undo=Do.UNPAUSE, verify=Do.CHECK_NO_CUDA
        )  # verified while frozen: nothing can start to use CUDA after that
        return Plan(
            direction=Direction.OUT, origin=State.SEATED, goal=State.PARKED, steps=(step,), commit=1, note=NO_CUDA
        )
    first = (*((ADMIT,) if custom else ()), *((TAKE,) if interposed else ()), LOCK, FREEZE, CATCH_UP)
    return Plan(
        direction=Direction.OUT,
        origin=State.SEATED,
        goal=State.PARKED,
        steps=(*first, CHECKPOINT, CONFIRM, PAUSE, LET_GO_PAUSED),
        commit=len(first),
    )


def plan_pause_again() -> Plan:
    """For a parked workload that someone unpaused: nothing but the pause, and no undo, for it is parked either way."""
    return Plan(direction=Direction.OUT, origin=State.PARKED, goal=State.PARKED, steps=(PAUSE, LET_GO_PAUSED), commit=2)


def plan_give_up() -> Plan:
    """parked -> parked: contexts that stayed on the devices leave them."""
    return Plan(
        direction=Direction.OUT,
        origin=State.PARKED,
        goal=State.PARKED,
        steps=(HOLD, UNPAUSE, SETTLE, CHECKPOINT, CONFIRM, PAUSE, LET_GO_PAUSED),
        commit=3,
    )


def plan_in(*, uses_cuda: bool, probe: bool, interposed: bool = False) -> Plan:
    """parked -> seated. `interposed`: the store has memory of some of its CUDA processes, or of all."""
    last = (*((GIVE,) if interposed else ()), *((PROBE,) if probe else ()))
    if not uses_cuda:
        return Plan(direction=Direction.IN, origin=State.PARKED, goal=State.SEATED, steps=(UNPAUSE, *last), commit=1)
    return Plan(
        direction=Direction.IN,
        origin=State.PARKED,
        goal=State.SEATED,
        steps=(RESERVE, HOLD, UNPAUSE, SETTLE, RESTORE, UNLOCK, WEIGH, LET_GO, *last),
        commit=4,
    )


def plan_probe() -> Plan:
    """For a workload whose engine did not answer after an earlier swap in: ask it again, touch nothing."""
    return Plan(direction=Direction.IN, origin=State.QUARANTINED, goal=State.SEATED, steps=(PROBE,), commit=0)


def plan_rescue(
    *,
    direction: Direction,
    goal: State,
    paused: bool,
    parked_already: bool = False,
    interposed: bool = False,
    custom: bool = False,
) -> Plan:
    """From wherever a swap broke off to a stable state. Every step is past the commit: there is nothing to undo.

    `goal` is SEATED or PARKED; `parked_already`: every process was checkpointed before the platform paused it.
    """
    steps: tuple[Step, ...]
    begin = (UNPAUSE, LOOK) if paused else (LOOK,)
    if goal is State.SEATED:
        last = (*((GIVE,) if interposed else ()), *((DISMISS,) if custom else ()))
        steps = (*begin, RESERVE, RESTORE_THE_REST, UNLOCK, LET_GO, *last)
    elif parked_already:
        steps = (CONFIRM, PAUSE, LET_GO_PAUSED)
    else:
        steps = (
            *((UNPAUSE,) if paused else ()),
            LOOK,
            *((TAKE_THE_REST,) if interposed else ()),
            LOCK_THE_REST,
            FREEZE,
            CHECKPOINT,
            CONFIRM,
            PAUSE,
            LET_GO_PAUSED,
        )
    return Plan(direction=direction, origin=goal, goal=goal, steps=steps, commit=0)
