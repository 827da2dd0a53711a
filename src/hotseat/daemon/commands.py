"""What a person asks for: park, seat, swap. Part of the core: synchronous, no I/O."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hotseat.config.units import format_size
from hotseat.daemon import picture
from hotseat.daemon.book import AWAY, ON_HOST, Answer, JobKind, Record, Wish
from hotseat.daemon.messages import Prewarm, Say
from hotseat.errors import Busy, HotseatError, NoRoom, Refused, Unavailable
from hotseat.scheduler.host import HostLedger, wholly
from hotseat.words import Direction, State, SwapReport

if TYPE_CHECKING:
    from hotseat.daemon.core import Core


def park(core: Core, record: Record, answer: Answer, now: float, *, whole: bool = False) -> None:
    """Answer with [SwapReport]. It stays parked until a new request or a `seat`, also with answers frozen in it.
    `whole`: no context of it stays on a device, also none that has."""
    if (error := closing(core)) is not None:
        core.tell(answer, None, error)
        return
    if record.job is None and (full := _host_is_full(core, record, whole=whole)) is not None:
        core.tell(answer, None, full)
        return
    if record.park_answers:
        record.park_answers.append(answer)
        record.park_whole |= whole
        return
    if whole and _leaves_its_context(record):
        record.park_answers, record.park_whole = [answer], True
        return
    if record.job is None and (going := _to_disk(core, record, now, whole=whole)):
        names = tuple(other.name for other in going)
        for other in going:
            core.launch(other, JobKind.STORE, now, makes_room_for=record.name)
        record.park_after, record.park_answers, record.park_whole = names, [answer], whole
        core.set_state(record, record.state, f"is parked once {', '.join(names)} went to disk")
        return
    _park_now(core, record, answer, now, whole=whole)


def _leaves_its_context(record: Record) -> bool:
    """A swap out is under way that does, where it has one that may stay."""
    job = record.job
    return job is not None and job.kind is JobKind.SWAP_OUT and not job.whole and record.may_keep


def park_when_room(core: Core, record: Record, now: float) -> None:
    """Those that were to go to disk for it have, or could not: the store itself knows whether it has the room."""
    others = (core.records.get(name) for name in record.park_after)
    if any(other is not None and other.job is not None and other.job.kind is JobKind.STORE for other in others):
        return
    whole = record.park_whole
    if whole and _leaves_its_context(record):
        return
    answers, record.park_answers, record.park_after, record.park_whole = record.park_answers, [], (), False
    full = _host_is_full(core, record, whole=whole) if record.job is None else None
    for answer in answers:
        if (error := closing(core) or full) is not None:
            core.tell(answer, None, error)
        else:
            _park_now(core, record, answer, now, whole=whole)


def _park_now(core: Core, record: Record, answer: Answer, now: float, *, whole: bool) -> None:
    record.held = True
    job = record.job
    if job is None:
        job = core.launch(record, JobKind.SWAP_OUT, now, whole=whole)
    elif job.kind is not JobKind.SWAP_OUT:
        record.held = False
        core.tell(answer, None, busy(record))
        return
    job.answers.append(lambda value, error: answer(None if value is None else [value], error))


def stop(core: Core, record: Record, answer: Answer, now: float) -> None:
    """Answer with None once it has ended. Allowed while closing: a stop of the daemon may stop what is parked."""
    if record.job is None and record.state is State.STOPPED:
        core.tell(answer, None)
        return
    if record.job is None:
        core.launch(record, JobKind.STOP, now)
    job = record.job
    assert job is not None, record.name
    if job.kind is not JobKind.STOP:
        core.tell(answer, None, busy(record))
        return
    record.held = True
    job.answers.append(answer)


def seat(core: Core, record: Record, wish: Wish, now: float) -> None:
    """Answer with the reports of all swaps made for it, its own last."""
    core.touch()
    if (error := closing(core)) is not None:
        core.tell(wish.answer, None, error)
        return
    record.held = False
    if record.successor is not None:
        record.wishes.append(wish)
    elif record.job is None and record.state is State.SEATED:
        core.tell(wish.answer, [_done_already(record)])
    elif record.job is None and record.state not in (*AWAY, State.STOPPED):
        # Not the scheduler's business (quarantined, paused, another hotseat's swap): the swapper knows what to say.
        job = core.launch(record, JobKind.SWAP_IN, now)
        job.answers.append(lambda value, error: wish.answer(None if value is None else [value], error))
    else:
        record.not_before = 0.0
        record.wishes.append(wish)


def swap(core: Core, going_in: Record, going_out: Record, answer: Answer, now: float) -> None:
    """Park one, seat the other. If the other cannot sit, the first gets its seat back."""
    possible = going_in.state in AWAY or (going_in.state is State.STOPPED and going_in.can_start)
    if going_in is going_out:
        core.tell(answer, None, Refused(f"{going_in.name} cannot replace itself", rule="two workloads"))
    elif going_in.job is not None:
        core.tell(answer, None, busy(going_in))
    elif not possible:
        refusal = Refused(
            f"{going_in.name} is {going_in.state}, not parked",
            rule="only a parked workload can be seated",
            hint=f"to free the GPU only: hotseat park {going_out.name}",
        )
        core.tell(answer, None, refusal)
    else:

        def parked(value: list[SwapReport] | None, error: HotseatError | None) -> None:
            if value is None:
                answer(None, error)
            else:
                wish = Wish(since=now, answer=seated, reports=list(value))
                seat(core, going_in, wish, now)

        def seated(value: list[SwapReport] | None, error: HotseatError | None) -> None:
            if error is not None:
                error = copy.copy(error)  # others who wait are told the same one
                error.message += f"; {going_out.name} gets its seat back"
                seat(core, going_out, Wish(since=now, answer=_nobody), now)
            answer(value, error)

        park(core, going_out, parked, now)
        job = going_out.job
        if job is not None and job.kind is JobKind.SWAP_OUT and job.makes_room_for is None:
            job.makes_room_for = going_in.name


def prewarm(core: Core, record: Record, message: Prewarm, now: float) -> None:
    """A hint, not a command: it waits for a seat that nobody with demand needs, gives it up at once, and expires."""
    if (error := closing(core)) is not None:
        core.tell(message.answer, None, error)
        return
    record.warm_until = now + message.seconds if message.seconds > 0 else 0.0
    told = {"workload": record.name, "state": record.state.value, "seconds": message.seconds}
    core.tell(message.answer, told)
    core.do(Say(kind="prewarm", workload=record.name, data={"seconds": message.seconds}))


def preload(core: Core, now: float) -> None:
    """At the start: who has `preload` sits while there is room; processes that say nothing of it and do not run are
    started, one after another. Of whom nothing was seen yet, the first look decides."""
    for place, record in enumerate(reversed(core.records.values())):
        if record.looked:
            warm(record, now + place * 1e-6)
        else:
            record.preload_due = True


def warm(record: Record, since: float) -> None:
    """What `preload` says of one that was looked at."""
    record.preload_due = False
    cold = record.state is State.STOPPED and record.can_start
    if record.spec.preload and (cold or record.state in AWAY):
        record.preload = True
    elif cold and record.spec.platform == "process" and record.spec.preload is None:
        record.wishes.append(Wish(since=since, answer=_nobody, commanded=False))


def _nobody(value: object, error: HotseatError | None) -> None:
    """The answer that no one waits for."""


def _host_is_full(core: Core, record: Record, *, whole: bool) -> NoRoom | None:
    room = core.host.room
    if room is None:
        return None
    takes = record.on_host(whole=whole) - (record.host_bytes if record.state in ON_HOST else 0)
    free = room.budget - sum(other.host_bytes for other in core.records.values() if other.state in ON_HOST)
    if takes <= max(0, free):
        return None
    return NoRoom(
        f"parking {record.name}{' wholly' if whole else ''} takes {format_size(takes)} of host memory, "
        f"{format_size(max(0, free))} are left for parked workloads",
        rule="host memory",
        hint="seat or stop another that is parked, or raise `host_memory` in hotseat.yaml",
    )


def _to_disk(core: Core, record: Record, now: float, *, whole: bool) -> Sequence[Record]:
    """Parked ones that go to disk so that the store's arena has room for this one. Nobody where that is not needed, or
    not enough: for a person's word nobody is stopped."""
    snapshot = picture.snapshot(core, now)
    view = next((view for view in snapshot.workloads if view.name == record.name), None)
    if view is None or view.state is not State.SEATED or snapshot.arena is None:
        return ()
    plan = HostLedger(snapshot, now).plan([wholly(view) if whole else view])
    if plan is None or plan.stop or plan.first:
        return ()
    return [core.records[other.name] for other in plan.store]


def closing(core: Core) -> Unavailable | None:
    return Unavailable("hotseat is shutting down", rule="shutting down") if core.closing else None


def busy(record: Record) -> Busy:
    doing = record.job.kind.value if record.job else "swap"
    return Busy(
        f"a {doing} of {record.name} is under way", rule="one swap at a time", hint="try again when it has ended"
    )


def _done_already(record: Record) -> SwapReport:
    seen = record.observation
    return SwapReport(
        workload=record.name,
        direction=Direction.IN,
        phases=(),
        gpu_bytes={},
        processes=len(seen.processes) if seen else 0,
        cuda_processes=len(seen.cuda) if seen else 0,
        threads=0,
        started_at=time.time(),
    )
