"""What state a workload is in, from what the world shows and what the journal says. Pure.

The world wins: the journal only explains it. A record of an earlier incarnation (the container was restarted) or of a
parked container that has ended says nothing any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from hotseat.platforms.port import Container, Status
from hotseat.swap.records import Record, contexts
from hotseat.words import ProcessRef, ProcessState, State

LIVING = (Status.RUNNING, Status.PAUSED)
SLACK = 64 << 20
"""Bytes by which a context that stays may be listed with more than it was; blocks that came back are clearly more."""
CLOCK_STEP = 1e-3
"""Seconds by which a start time read twice may differ (platforms print it with different digits)."""


class Verdict(NamedTuple):
    state: State
    note: str = ""


def void(container: Container, record: Record) -> bool:
    """Whether the record speaks of something that is gone. A quarantine outlives its container's end, so that the
    reason can be read, and ends with the next start."""
    if abs(container.started_at - record.started_at) > CLOCK_STEP:
        return True
    return container.status not in LIVING and record.state is not State.QUARANTINED


def classify(
    *,
    container: Container,
    record: Record | None,
    processes: Collection[ProcessRef],
    states: Mapping[ProcessRef, ProcessState | None],
    gpu_bytes: Mapping[int, int],
    owner_alive: bool = False,
) -> Verdict:
    """`states`: of its CUDA processes, None where one did not say (all are silent while paused). `gpu_bytes`: what the
    devices list for its processes. `owner_alive`: the hotseat process of an unfinished swap runs still."""
    if record is not None and void(container, record):
        was, record = record, None
        if container.status not in LIVING:
            return Verdict(State.STOPPED, f"it was {was.state} when it ended; what was parked is lost")
    if record is None:
        return _unknown(container, states)
    if record.state is State.QUARANTINED:
        return Verdict(State.QUARANTINED, record.note)
    if record.swapping:
        if owner_alive:
            return Verdict(record.state, f"at {record.step}" if record.step else "")
        return Verdict(record.state, f"broken off at {record.step or 'its begin'}; the next command for it recovers it")
    return _parked(container, record, processes, states, gpu_bytes)


def kept(record: Record, processes: Collection[ProcessRef]) -> dict[int, int]:
    """Bytes per device of the contexts of those that live which stay while it is parked."""
    return contexts([one for one in record.holdings if one.kept and one.process in set(processes)])


def _unknown(container: Container, states: Mapping[ProcessRef, ProcessState | None]) -> Verdict:
    if container.status is Status.PAUSED:
        return Verdict(State.PAUSED, f"paused by {container.platform} without hotseat; it keeps its GPU memory")
    if container.status is not Status.RUNNING:
        return Verdict(State.STOPPED, "" if container.exit_code in (None, 0) else f"exit code {container.exit_code}")
    seen = set(states.values())
    if ProcessState.FAILED in seen:
        return Verdict(State.QUARANTINED, "the driver calls one of its CUDA processes FAILED; only a restart helps")
    if seen == {ProcessState.CHECKPOINTED}:
        return Verdict(State.PARKED, "checkpointed by someone else; its CPU threads run")
    if seen - {ProcessState.RUNNING, None}:
        return Verdict(State.SEATED, "some of its CUDA processes are locked or checkpointed by someone else")
    return Verdict(State.SEATED)


def _parked(
    container: Container,
    record: Record,
    processes: Collection[ProcessRef],
    states: Mapping[ProcessRef, ProcessState | None],
    gpu_bytes: Mapping[int, int],
) -> Verdict:
    living = record.processes & set(processes)
    stays = kept(record, processes)
    dead = sorted(process.pid for process in record.processes - living)
    loss = f"CUDA process {', '.join(map(str, dead))} was killed while parked" if dead else ""
    if container.status is Status.PAUSED:
        if any(nbytes > stays[index] + SLACK if index in stays else nbytes for index, nbytes in gpu_bytes.items()):
            return Verdict(State.PAUSED, "someone else brought it back and paused it; it holds GPU memory")
        return Verdict(State.PARKED, "; ".join(part for part in (record.note, loss) if part))
    locked = {holding.process for holding in record.holdings if holding.kept}
    seen = {
        ProcessState.CHECKPOINTED if process in locked and states.get(process) is ProcessState.LOCKED else state
        for process in {*states, *living}  # known to be there, yet not found: silent
        for state in (states.get(process),)
    }
    if ProcessState.FAILED in seen:
        return Verdict(State.QUARANTINED, "the driver calls one of its CUDA processes FAILED; only a restart helps")
    if seen & {ProcessState.CHECKPOINTING, ProcessState.RESTORING}:
        return Verdict(State.QUARANTINED, "its memory was mapped in another process that ended; only a restart helps")
    if not seen and record.holdings:
        return Verdict(State.SEATED, f"{loss}; it runs without them")
    if ProcessState.CHECKPOINTED in seen or None in seen:
        note = "unpaused behind hotseat's back: its CPU threads run, its GPU calls wait; park it again, or seat it"
        return Verdict(State.PARKED, "; ".join(part for part in (note, loss) if part))
    if ProcessState.LOCKED in seen:
        return Verdict(State.PARKED, "someone else restored it without unlocking it; seat it to finish that")
    return Verdict(State.SEATED, "brought back behind hotseat's back")
