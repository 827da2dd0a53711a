"""Where to go from a swap that broke off: decided from what the world shows, by a pure function.

Used for a failure after the commit, for a roll back that did not work, and for a swap whose hotseat died. The table
in docs/how-a-swap-works.md is this module in words.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from hotseat.errors import DriverTimeout, PlatformFailed, ProcessGone, Refused, VerifyFailed, WorkerDied
from hotseat.platforms.port import Status
from hotseat.store.port import HeldState
from hotseat.swap.plan import Do
from hotseat.swap.port import Deadlines
from hotseat.words import Direction, ProcessRef, ProcessState, State


class Cause(enum.StrEnum):
    """Why a plan ended early."""

    SAID_NO = "said no"
    """A call returned an error, or a bug."""
    SILENT = "silent"
    """A call did not return in time."""
    LOST = "lost"
    """Whoever made the call is gone; the call may have gone through."""
    GONE = "gone"
    """A process of the workload ended."""
    DISAGREES = "disagrees"
    """The call succeeded, the world disagrees."""
    PLATFORM = "platform"
    REFUSED = "refused"
    """No room, or another rule: nothing was tried."""
    UNDO = "undo"
    """A roll back did not reach the state before."""
    CRASH = "crash"
    """hotseat died."""


def cause_of(error: BaseException) -> Cause:
    kinds: tuple[tuple[type[BaseException], Cause], ...] = (
        (WorkerDied, Cause.LOST),
        (DriverTimeout, Cause.SILENT),
        (ProcessGone, Cause.GONE),
        (VerifyFailed, Cause.DISAGREES),
        (PlatformFailed, Cause.PLATFORM),
        (Refused, Cause.REFUSED),
    )
    for kind, cause in kinds:
        if isinstance(error, kind):
            return cause
    return Cause.SAID_NO if isinstance(error, Exception) else Cause.LOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """What is known of a swap that broke off. `states` of a paused container are unknown, hence None."""

    direction: Direction
    step: Do | None
    cause: Cause
    committed: bool
    status: Status
    states: Mapping[ProcessRef, ProcessState | None]
    held: Mapping[ProcessRef, HeldState | None] = field(default_factory=dict)
    """Where the store has the blocks of its interposed processes."""
    stowed: Mapping[ProcessRef, HeldState | None] = field(default_factory=dict)
    """The same of those that went by custom storage."""
    off: frozenset[ProcessRef] = frozenset()
    """Those of `states` of whom nothing is on a device but a context that may stay there."""

    @property
    def parked_already(self) -> bool:
        """The platform holds it and it was off the GPU when it was paused: it is parked, whatever else went wrong."""
        if self.status is not Status.PAUSED:
            return False
        if not self.states:
            return True
        if self.direction is Direction.OUT:
            return self.committed and self.step in (Do.PAUSE, Do.LET_GO)
        return self.step in (None, Do.RESERVE, Do.HOLD, Do.UNPAUSE)


def patience(step: Do | None, cause: Cause, *, deadlines: Deadlines, nbytes: int) -> float:
    """Seconds to wait for the driver to say where a swap broke off. If its caller died (hotseat, or the worker), the
    driver goes on with the call and says nothing until that is done: it gets the time that the call had. Where a call
    ran into its deadline, the waiting is over."""
    if cause not in (Cause.CRASH, Cause.LOST):
        return 0.0
    if step in (Do.CHECKPOINT, Do.RESTORE):
        return deadlines.move(nbytes)
    return {Do.LOCK: deadlines.lock, Do.UNLOCK: deadlines.unlock}.get(step, 0.0) if step is not None else 0.0


def choose(broken: Broken, *, tried: frozenset[State] = frozenset()) -> State:
    """The stable state to make for: SEATED, PARKED, STOPPED, or QUARANTINED where nothing safe is left to try."""
    if broken.status not in (Status.RUNNING, Status.PAUSED):
        return State.STOPPED
    for goal in _wanted(broken):
        if goal not in tried:
            return goal
    return State.QUARANTINED


def _wanted(broken: Broken) -> tuple[State, ...]:
    if broken.parked_already:
        return (State.PARKED, State.SEATED)
    seen = set(broken.states.values())
    held = set(broken.held.values())
    if None in seen or ProcessState.FAILED in seen or HeldState.LOST in held | set(broken.stowed.values()):
        return ()
    if ProcessState.CHECKPOINTING in seen:
        return (State.PARKED,)  # only on: the store has its memory mapped, and the driver waits for it
    if ProcessState.RESTORING in seen:
        return (State.SEATED,)
    parked_all = bool(seen) and all(
        state is ProcessState.CHECKPOINTED or process in broken.off for process, state in broken.states.items()
    )
    if ProcessState.CHECKPOINTED not in seen and not parked_all:
        # Blocks that cannot be brought back now may be kept where they are, for a later try.
        return (State.SEATED, State.PARKED) if held - {HeldState.RUNNING} else (State.SEATED,)
    if broken.step is Do.RESTORE and broken.cause in (Cause.SAID_NO, Cause.SILENT):
        return ()  # a failed restore is final (FACTS.md): neither again nor back
    if broken.direction is Direction.OUT:
        if broken.cause is Cause.DISAGREES and broken.step in (Do.CHECKPOINT, Do.CONFIRM_RELEASE):
            return (State.SEATED,)
        if parked_all or broken.cause is Cause.CRASH:
            return (State.PARKED, State.SEATED)
        return (State.SEATED, State.PARKED)
    if parked_all and broken.cause in (Cause.CRASH, Cause.UNDO, Cause.REFUSED):
        return (State.PARKED,)
    return (State.SEATED, State.PARKED)
