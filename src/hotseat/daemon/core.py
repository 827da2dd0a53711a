"""The actor's mind: messages in, effects out. Synchronous, no I/O, no clock, so tests need neither sleeps nor mocks.

`handle` takes one message. `settle`, called after each batch of them, gives the seats that can be given, tells those
who wait in vain, and asks the scheduler. Whatever makes a record seated or not goes through here, one message at a
time: no request is ever granted a seat that is being taken away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hotseat.config import Workload
from hotseat.daemon import changing, commands, observing, parting, verdicts
from hotseat.daemon import messages as m
from hotseat.daemon.book import Answer, Job, JobKind, Record, Ticket, Wish
from hotseat.errors import HotseatError, Unavailable
from hotseat.scheduler import Decision, DeviceRoom, Snapshot, decide
from hotseat.words import DeviceUse, State

BLOCKED_GRACE = 5.0
"""Seconds that a request waits for memory that nobody may be asked for, until it is told so. NVML lags a second."""


class Core:
    def __init__(self, workloads: Mapping[str, Workload], *, caps: Mapping[int, int] | None = None) -> None:
        self.records = {name: Record(name=name, spec=spec) for name, spec in workloads.items()}
        self.models: dict[str, Record] = {}
        """Who serves which model; made anew whenever the workloads change."""
        self.first_epoch = 0
        """Of new records: greater than that of any who bore the same name before."""
        self.closing = False
        self.wake_at = math.inf
        """When `settle` wants to be called again, if nothing happens before."""
        self.uses: Sequence[DeviceUse] = ()
        self.caps = dict(caps or {})
        """Bytes per capped device index."""
        self._effects: list[m.Effect] = []
        changing.publish(self)

    def handle(self, message: m.Message, now: float) -> None:
        if changing.nobody(self, message):
            return
        match message:
            case m.Configure():
                changing.configure(self, message)
            case m.Arrived(ticket=ticket):
                record = self.records[ticket.workload]
                record.waiting[ticket] = None
                record.held = False
            case m.Left(ticket=ticket):
                self._left(ticket, now)
            case m.EngineDown(workload=name):
                self.records[name].ready = False
                self.do(m.Look(workload=name))
            case m.Park(workload=name, answer=answer):
                commands.park(self, self.records[name], answer, now)
            case m.Seat(workload=name, answer=answer, commanded=commanded):
                wish = Wish(since=now, answer=answer, commanded=commanded)
                commands.seat(self, self.records[name], wish, now)
            case m.Stop(workload=name, answer=answer):
                commands.stop(self, self.records[name], answer, now)
            case m.Swap(workload=name, out=out, answer=answer):
                commands.swap(self, self.records[name], self.records[out], answer, now)
            case m.Drained(workload=name, answer=answer):
                self.records[name].drained.append(answer)
            case m.Progress(workload=name, phase=phase, status=status):
                job = self.records[name].job
                if job is not None:
                    job.step = f"at {phase}" if status == "start" else "undoing" if status == "undo" else job.step
            case m.Observed():
                observing.observed(self, self.records[message.workload], message, now)
            case m.JobEnded():
                observing.job_ended(self, self.records[message.workload], message, now)
            case m.Probed(workload=name, number=number, error=error):
                self._probed(self.records[name], number, error)
            case m.Devices(uses=uses):
                self.uses = uses
            case m.Sync(answer=answer):
                self.tell(answer, None)
            case m.Preload():
                commands.preload(self, now)
            case m.Part(how=how, answer=answer):
                parting.part(self, how, answer, now)
            case m.Closing():
                self.closing = True

    def settle(self, now: float) -> list[m.Effect]:
        """Everything that follows from the state at `now`; takes the effects gathered since the last call."""
        self.wake_at = math.inf
        for record in self.records.values():
            if record.drained and not record.in_flight:
                for answer in record.drained:
                    self.tell(answer, None)
                record.drained.clear()
            if (error := verdicts.hopeless(record, closing=self.closing)) is not None:
                self.turn_away(record, error)
            self._expire(record, now)
            self._answer_wishes(record)
        changing.settle(self)
        if not self.closing:
            self._schedule(now)
        for record in self.records.values():  # after it was decided who leaves: those seats are not given any more
            self._grant(record, now)
        effects, self._effects = self._effects, []
        return effects

    # -- for `commands` and `observing`

    def do(self, effect: m.Effect) -> None:
        self._effects.append(effect)

    def tell(self, answer: Answer, value: object, error: HotseatError | None = None) -> None:
        self.do(m.Tell(answer=answer, value=value, error=error))

    def set_state(self, record: Record, state: State, note: str) -> None:
        if (record.state, record.note) != (state, note):
            record.state, record.note = state, note
            self.do(m.Say(kind="state", workload=record.name, data={"state": state.value, "note": note}))

    def launch(self, record: Record, kind: JobKind, now: float, *, makes_room_for: str | None = None) -> Job:
        record.job = Job(kind=kind, begun=now, makes_room_for=makes_room_for)
        record.epoch += 1
        record.probing = 0
        why = f"makes room for {makes_room_for}" if makes_room_for else ""
        if kind is JobKind.SWAP_OUT:
            self.set_state(record, State.SWAPPING_OUT, why)
        elif kind is JobKind.STOP:
            self.set_state(record, State.SWAPPING_OUT, f"is stopped: {why}" if why else "is stopped")
        elif kind is not JobKind.RECOVER:
            self.set_state(record, State.SWAPPING_IN, "cold start" if kind is JobKind.START else why)
        for ticket in record.waiting:
            ticket.swapped = True
        self.do(m.Launch(kind=kind, workload=record.name))
        return record.job

    def turn_away(self, record: Record, error: HotseatError) -> None:
        """Everybody who waits for it is told why not."""
        error.details.setdefault("retry_after", self.expected_wait(record))
        for ticket in record.waiting:
            self.tell(ticket.answer, None, error)
        record.waiting.clear()
        for wish in record.wishes:
            self.tell(wish.answer, None, error)
        record.wishes.clear()

    def expected_wait(self, record: Record) -> float:
        """Seconds of the last swap or start of this workload and of the longest swap out of another; 5 if unknown."""
        way_in = JobKind.START if record.state is State.STOPPED else JobKind.SWAP_IN
        out = max((other.seconds.get(JobKind.SWAP_OUT, 0.0) for other in self.records.values()), default=0.0)
        return record.seconds.get(way_in, 0.0) + out or 5.0

    # -- its own

    def _left(self, ticket: Ticket, now: float) -> None:
        ticket.ended = True
        record = self.records.get(ticket.workload)
        if record is None:
            return
        record.waiting.pop(ticket, None)
        if ticket in record.in_flight:
            del record.in_flight[ticket]
            record.last_used = now

    def _grant(self, record: Record, now: float) -> None:
        if record.state is not State.SEATED or record.job is not None or record.successor is not None:
            return
        if record.ready:
            for ticket in record.waiting:
                record.in_flight[ticket] = None
                self.tell(ticket.answer, now - ticket.arrived)
            record.waiting.clear()
        elif record.waiting and not record.probing:
            record.probing = record.epoch = record.epoch + 1
            self.do(m.Probe(workload=record.name, number=record.probing))

    def _answer_wishes(self, record: Record) -> None:
        """A person who wanted it seated has what he wanted, also if the next one wants its seat in the same moment."""
        if record.state is State.SEATED and record.job is None and record.successor is None:
            for wish in record.wishes:
                self.tell(wish.answer, wish.reports)
            record.wishes.clear()

    def _probed(self, record: Record, number: int, error: HotseatError | None) -> None:
        if record.probing != number:
            return
        record.probing = 0
        if error is None:
            record.ready = True
        else:
            self.turn_away(record, error)

    def _expire(self, record: Record, now: float) -> None:
        limit = record.spec.max_wait
        late = [ticket for ticket in record.waiting if ticket.arrived + limit <= now]
        for ticket in late:
            del record.waiting[ticket]
            error = Unavailable(
                f"{record.name} could not be seated within {limit:g} s: it is {record.state}"
                + (f" ({record.trouble or record.note})" if record.trouble or record.note else ""),
                hint="try again, or raise max_wait",
                rule="max_wait",
                retry_after=self.expected_wait(record),
            )
            self.tell(ticket.answer, None, error)
        for ticket in record.waiting:
            self.wake_at = min(self.wake_at, ticket.arrived + limit)
            break

    def _schedule(self, now: float) -> None:
        decision = decide(now, self.snapshot())
        if decision.wake_at is not None:
            self.wake_at = min(self.wake_at, decision.wake_at)
        self._tell_blocked(decision, now)
        for action in decision.actions:
            record = self.records[action.workload]
            if record.job is None:
                self.launch(record, JobKind(action.kind), now, makes_room_for=action.makes_room_for)

    def _tell_blocked(self, decision: Decision, now: float) -> None:
        for record in self.records.values():
            blocked = decision.blocked.get(record.name)
            if blocked is None:
                record.blocked_since = None
                continue
            if record.blocked_since is None:
                record.blocked_since = now
            if blocked.forever or now - record.blocked_since >= BLOCKED_GRACE:
                self.turn_away(record, verdicts.no_room(record, blocked.reason))
                record.blocked_since = None
            else:
                self.wake_at = min(self.wake_at, record.blocked_since + BLOCKED_GRACE)

    def snapshot(self) -> Snapshot:
        ours = frozenset(pid for record in self.records.values() for pid in record.pids)
        rooms = tuple(
            DeviceRoom(
                index=use.device.index,
                size=min(use.device.total_bytes, self.caps.get(use.device.index, use.device.total_bytes)),
                foreign=max(0, use.used_bytes - sum(n for pid, n in use.processes.items() if pid in ours)),
            )
            for use in self.uses
        )
        return Snapshot(devices=rooms, workloads=tuple(r.view() for r in self.records.values() if r.looked))
