"""What the world shows, taken into the records: looks at it, and ends of jobs. Part of the core: no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotseat.daemon import healing
from hotseat.daemon.book import AWAY, DRAIN, RETURN, Job, JobKind, Record
from hotseat.daemon.messages import JobEnded, Look, Observed, Say, Seek
from hotseat.errors import Busy, HotseatError, NoRoom, NotFound
from hotseat.scheduler import keep_for
from hotseat.swap.port import Observation
from hotseat.words import State, SwapReport

if TYPE_CHECKING:
    from hotseat.daemon.core import Core

_OUTCOMES = {
    JobKind.SWAP_OUT: (State.PARKED, State.SEATED),
    JobKind.SWAP_IN: (State.SEATED, State.PARKED),
    JobKind.START: (State.SEATED, State.STOPPED),
    JobKind.STOP: (State.STOPPED, State.PARKED),
    JobKind.RECOVER: (State.STOPPED, State.STOPPED),
    JobKind.STORE: (State.STORED, State.PARKED),
    JobKind.FETCH: (State.PARKED, State.STORED),
}
_MOVING = (State.SWAPPING_IN, State.SWAPPING_OUT)
DONE = {JobKind.SWAP_OUT: "parked", JobKind.STOP: "stopped", JobKind.STORE: "stored"}
RECOVER_EVERY = 5.0
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 60.0
GIVE_UP_AFTER = 3
"""Failed ways in, in a row, after which those who wait are told."""
SEEK_WITHIN = 5.0
"""Seconds that requests for a container that is gone wait for what discovery finds in its place."""
KEEP_UNSTORABLE = 60.0
"""Seconds for which one that could not be written to disk is not tried again, but another, or a stop."""
KEEP_UNPARKABLE = 300.0
"""Seconds for which one that host memory was too small for is not tried again, but stopped if it can be started."""


def observed(core: Core, record: Record, message: Observed, now: float) -> None:
    if message.observation is not None:
        # Also during a job: whose memory is whose on a device must be known at all times.
        record.pids = frozenset(process.pid for process in message.observation.processes)
    if record.job is not None or message.epoch != record.epoch:
        return
    news, record.looked = record.exists or not record.looked, True
    if message.error is not None:
        core.set_state(record, record.state, f"cannot be looked at: {message.error.message}")
    elif message.observation is None:
        record.observation = None
        record.pids = frozenset()
        if news and record.spec.identity is not None:
            record.sought_until = now + SEEK_WITHIN
            core.do(Seek(workload=record.name))
        _enter(core, record, State.STOPPED, _absent(record), now)
    else:
        _take(core, record, message.observation, now)
        if record.state in _MOVING and now >= record.not_before:
            # Another hotseat swaps it, or died while it did. Recovery tells the two apart and ends the second.
            record.not_before = now + RECOVER_EVERY
            core.launch(record, JobKind.RECOVER, now)


def _absent(record: Record) -> str:
    if record.spec.platform == "process":
        return "nothing of it runs"
    return "its container is not made yet" if record.spec.made_here else "there is no such container"


def job_ended(core: Core, record: Record, message: JobEnded, now: float) -> None:
    job = record.job
    assert job is not None, record.name
    record.job = None
    record.looked, record.preload_due = True, False
    record.epoch += 1
    if message.error is None:
        nothing_to_do = message.report is not None and not message.report.phases
        if not nothing_to_do and not job.gives_up:
            phases = message.report.phases if message.report is not None else ()
            drained = sum(phase.seconds for phase in phases if phase.name == DRAIN)
            kind = RETURN if job.kind is JobKind.SWAP_IN and job.stored else job.kind.value
            record.learned.took(kind, now - job.begun - drained)
            if drained:
                record.learned.took(DRAIN, drained)
        record.failures, record.trouble = 0, ""
        if job.kind in (JobKind.SWAP_OUT, JobKind.STOP):
            record.kept = 0
        healing.went_well(record, job.kind)
        core.keep(record)
    if message.observation is not None:
        record.pids = frozenset(process.pid for process in message.observation.processes)
        _take(core, record, message.observation, now)
    else:
        # Nothing is known: take it for what a success would have made of it, and look again at once.
        done, undone = _OUTCOMES[job.kind]
        _enter(core, record, done if message.error is None else undone, "not looked at yet", now)
        core.do(Look(workload=record.name))
    if record.state is State.SEATED and message.error is None and job.kind in (JobKind.SWAP_IN, JobKind.START):
        record.ready = True
        record.seated_since = now
        for ticket in record.waiting:
            ticket.swapped = True
    if job.lost and message.error is None:
        healing.wish_it_back(record, now)
    if job.kind is JobKind.STORE and message.error is None:
        held = record.observation.held.values() if record.observation is not None else ()
        told = {"seconds": now - job.begun, "disk_bytes": sum(one.disk_bytes for one in held)}
        core.do(Say(kind="store", workload=record.name, data=told))
    if job.kind is JobKind.FETCH and message.error is None:
        told = {"seconds": now - job.begun, "disk_bytes": message.moved.disk if message.moved is not None else 0}
        core.do(Say(kind="fetch", workload=record.name, data=told))
    _account(core, record, job, message.report)
    if message.error is not None:
        _failed(core, record, job, message.error, now)
    value = message.moved if job.kind in (JobKind.STORE, JobKind.FETCH) else message.report
    for answer in job.answers:
        core.tell(answer, value, message.error)


def _account(core: Core, record: Record, job: Job, report: SwapReport | None) -> None:
    if report is None:
        return
    if job.kind is JobKind.START:
        core.do(Say(kind="start", workload=record.name, data=_told(report)))
    target = core.records.get(job.makes_room_for or "")
    for wish in [*record.wishes, *(target.wishes if target is not None else ())]:
        wish.reports.append(report)


def _told(report: SwapReport) -> dict[str, Any]:
    """As the swapper tells of its swaps."""
    return {
        "seconds": report.seconds,
        "gpu_bytes": dict(report.gpu_bytes),
        "started_at": report.started_at,
        "phases": [{"name": phase.name, "part": phase.part, "seconds": phase.seconds} for phase in report.phases],
    }


def _failed(core: Core, record: Record, job: Job, error: HotseatError, now: float) -> None:
    core.do(Say(kind="note", workload=record.name, data={"error": error.as_dict(), "job": job.kind.value}))
    if job.kind in (JobKind.SWAP_OUT, JobKind.STOP):
        record.kept += 1
        record.keep_until = now + keep_for(record.kept)
        record.held = record.held and record.state in AWAY
        if job.kind is JobKind.STOP:
            record.not_before = max(record.not_before, record.keep_until)
        # A store's arena that is short has room again once another leaves it.
        if isinstance(error, NoRoom) and error.rule == "host memory" and "missing" not in error.details:
            if job.whole and (job.gives_up or record.may_keep):
                record.no_whole_until = now + KEEP_UNPARKABLE
            else:
                record.no_park_until = now + KEEP_UNPARKABLE
        target = core.records.get(job.makes_room_for or "")
        if target is not None:
            target.trouble = f"{record.name} could not be {DONE[job.kind]}: {error.message}"
    elif job.kind is JobKind.STORE:
        record.no_store_until = now + KEEP_UNSTORABLE
        target = core.records.get(job.makes_room_for or "")
        if target is not None:
            target.trouble = f"{record.name} could not be {DONE[job.kind]}: {error.message}"
    elif job.kind not in (JobKind.RECOVER, JobKind.FETCH):  # on disk it can be seated as before
        if job.kind is JobKind.SWAP_IN and record.state is State.STOPPED and record.can_start:
            return  # it died while it was parked, and nobody had seen it yet: who waits gets a cold start
        record.failures += 1
        record.not_before = now + min(FIRST_BACKOFF * 2 ** (record.failures - 1), LONGEST_BACKOFF)
        # Room that was there a moment ago may come back by itself, and a container that was found by its label may have
        # been made anew; anything else will be the same next time.
        passing = isinstance(error, NoRoom | Busy) or (isinstance(error, NotFound) and record.spec.identity is not None)
        if record.failures >= GIVE_UP_AFTER or not passing:
            record.failures = 0
            record.preload, record.warm_until = False, 0.0
            core.turn_away(record, error, now)
        else:
            record.trouble = error.message


def _take(core: Core, record: Record, seen: Observation, now: float) -> None:
    before = record.observation
    record.observation = seen
    record.sought_until = None
    restarted = before is None or _incarnation(before) != _incarnation(seen)
    if restarted:
        record.ready = False
        record.keep_until = record.not_before = record.no_store_until = 0.0
        record.no_park_until = record.no_whole_until = 0.0
        record.kept = 0
        record.stayed = {}
    if seen.kept_gpu_bytes:
        record.stayed = seen.kept_gpu_bytes
    if seen.state is State.SEATED and seen.gpu_bytes:
        record.learned.holds(seen.container.key, seen.gpu_bytes, anew=restarted and before is not None)
    elif record.learned.container not in ("", seen.container.key):
        record.learned.memory = None
    _enter(core, record, seen.state, seen.note, now, restarted=restarted)


def _enter(core: Core, record: Record, state: State, note: str, now: float, *, restarted: bool = False) -> None:
    if state is State.SEATED:
        if record.state is not State.SEATED or restarted:
            record.ready = False
            record.seated_since = now
        record.frozen_since = None
        record.held = record.preload = False
    else:
        record.ready = False
        if record.frozen_since is None:
            record.frozen_since = now
            if record.state is State.SEATED:
                # It left its seat behind our back: whoever parked it meant it.
                record.held = True
    core.set_state(record, state, note)


def _incarnation(seen: Observation) -> tuple[Any, ...]:
    return (seen.container.key, seen.container.started_at)
