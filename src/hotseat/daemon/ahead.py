"""Who comes in ahead of its swap in: one that is parked, while the last of those who make its room goes out.

Part of the core: synchronous, no I/O.

Not before the last: one that still runs may want the memory that others have left. And not beside a cold start, which
has no reservation of the memory that it takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotseat.daemon import picture
from hotseat.daemon.book import AWAY, Job, JobKind, Record
from hotseat.daemon.messages import Ahead, NoneAhead
from hotseat.swap.plan import CHECKPOINT
from hotseat.words import State

if TYPE_CHECKING:
    from hotseat.daemon.core import Core


def beside(core: Core, job: Job, phase: str, status: str, now: float) -> None:
    """A swap out has told where it is."""
    if job.kind is not JobKind.SWAP_OUT or (phase, status) != (CHECKPOINT.name, "start"):
        return
    job.leaves = True
    target = core.records.get(job.makes_room_for or "")
    if target is not None and not core.closing and _comes(core, target, job, now):
        target.coming = True
        core.do(Ahead(workload=target.name))


def settle(core: Core, now: float) -> None:
    """Who began to come and is not wanted any more gives the memory back at once: one that sits may want it."""
    for record in core.records.values():
        if record.coming and record.job is None:
            if record.state is State.SEATED:
                record.coming = False
            elif not picture.wants(record.view(now), now) and not _room_is_made(core, record):
                record.coming = False
                core.do(NoneAhead())


def _room_is_made(core: Core, target: Record) -> bool:
    return any(one.job is not None and one.job.makes_room_for == target.name for one in core.records.values())


def _comes(core: Core, target: Record, job: Job, now: float) -> bool:
    wanted = bool(job.answers) or picture.wants(target.view(now), now)
    if not wanted or target.job is not None or target.state not in AWAY:
        return False
    devices = {index for index, nbytes in (target.need or {}).items() if nbytes}
    return not any(_stays(one, target) or _may_take(one, devices) for one in core.records.values())


def _stays(record: Record, target: Record) -> bool:
    """It is to make room for `target`, and runs still."""
    job = record.job
    going = job is not None and job.makes_room_for == target.name and job.kind in (JobKind.SWAP_OUT, JobKind.STOP)
    return going and job is not None and not job.leaves


def _may_take(record: Record, devices: set[int]) -> bool:
    """By a cold start under way."""
    if record.job is None or record.job.kind is not JobKind.START:
        return False
    return record.need is None or any(nbytes and index in devices for index, nbytes in record.need.items())
