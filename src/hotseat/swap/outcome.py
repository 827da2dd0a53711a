"""Turns how a swap ended into the error that its caller sees. Pure."""

from __future__ import annotations

from hotseat.errors import HotseatError, ProcessGone, Quarantined, Refused, RolledBack
from hotseat.swap.executor import Cancelled, Ended
from hotseat.words import Direction, State


def words(error: BaseException | None) -> str:
    """What happened, for a sentence."""
    if error is None:
        return "unknown"
    if isinstance(error, HotseatError):
        return error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def rolled_back(name: str, *, direction: Direction, origin: State, ended: Ended) -> BaseException:
    """The workload is where it was before. A refusal stays a refusal, a bug stays a bug."""
    error = ended.error
    if isinstance(error, Cancelled):
        return error
    if isinstance(error, Refused) or (isinstance(error, Exception) and not isinstance(error, (HotseatError, OSError))):
        return error
    where = "runs on unharmed" if origin is State.SEATED else "stays parked"
    step = ended.step.name if ended.step else "?"
    out = RolledBack(
        f"swapping {name} {direction} failed at {step} ({words(error)}); it {where}",
        hint=getattr(error, "hint", "") or "try again; `hotseat doctor` examines the workload",
        step=step,
    )
    out.__cause__ = error
    return out


def rescued(name: str, *, direction: Direction, ended: Ended, goal: State, reason: str) -> BaseException:
    """It broke off past its commit, or could not be undone at once, and was then brought to `goal`."""
    step = ended.step.name if ended.step else "?"
    out: HotseatError
    if goal is State.STOPPED:
        out = ProcessGone(
            f"{name} ended in the middle of its swap {direction} (at {step})",
            hint="its own log says why; start it again for a cold start",
            step=step,
        )
    elif goal is State.QUARANTINED:
        out = Quarantined(
            f"{name} is quarantined: {reason}",
            hint="restart the container: a cold start ends the quarantine",
            step=step,
        )
    else:
        kind = ProcessGone if isinstance(ended.error, ProcessGone) else RolledBack
        where = "it was brought back and runs on" if goal is State.SEATED else "it is parked"
        out = kind(
            f"swapping {name} {direction} failed at {step} ({words(ended.error)}); {where}",
            hint=getattr(ended.error, "hint", "") or "try again; `hotseat doctor` examines the workload",
            step=step,
        )
    out.__cause__ = ended.error
    return out
