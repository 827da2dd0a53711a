"""The actor's mind: messages in, effects out. Synchronous, no I/O, no clock, so tests need neither sleeps nor mocks.

`handle` takes one message. `settle`, called after each batch of them, gives the seats that can be given, tells those
who wait in vain, and asks the scheduler; where no message changed what that depends on, and no time has come, it does
nothing. Whatever makes a record seated or not goes through here, one message at a time: no request is ever granted a
seat that is being taken away.

What it does with requests is in `seating`, with commands in `commands`, with what the world shows in `observing`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hotseat.config import HostMemory, Workload
from hotseat.daemon import (
    ahead,
    changing,
    commands,
    healing,
    observing,
    parting,
    picture,
    seating,
    storing,
    verdicts,
    waits,
)
from hotseat.daemon import messages as m
from hotseat.daemon.book import AWAY, Answer, Job, JobKind, Record, Ticket, Wish
from hotseat.daemon.hostroom import HostBudget
from hotseat.daemon.learned import Learned
from hotseat.errors import HotseatError
from hotseat.scheduler import Decision, decide
from hotseat.swap.port import StoreRoom
from hotseat.words import DeviceUse, State

BLOCKED_GRACE = 5.0
"""Seconds that a request waits for memory that nobody may be asked for, until it is told so. NVML lags a second."""

SAME_MOMENT = 0.05
"""Seconds for which expected waits are not made anew while nothing happens."""

KEEP_EVERY = 60.0
"""Seconds between two times that everything learned is written down, rates above all."""


class Core:
    def __init__(
        self,
        workloads: Mapping[str, Workload],
        *,
        caps: Mapping[int, int] | None = None,
        host: HostMemory | None = None,
        learned: Mapping[str, Learned] | None = None,
    ) -> None:
        self._known = dict(learned or {})
        """What was learned of workloads by their names, also of those that are not in the configuration now."""
        self.records = {name: self.new_record(name, spec) for name, spec in workloads.items()}
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
        host = host or HostMemory()
        self.host = HostBudget(parked=host.parked, reserve=host.reserve)
        self.store: StoreRoom | None = None
        self._effects: list[m.Effect] = []
        self.dirty = True
        """Something changed that a round could make a difference to."""
        self.demand = False
        """Somebody waited for a seat at the end of the last round."""
        self._kept_at = -math.inf
        self._rounds = 0
        self._outlook: tuple[int, float, waits.Waits] | None = None
        changing.publish(self)

    def handle(self, message: m.Message, now: float) -> None:
        if changing.nobody(self, message):
            return
        match message:
            case m.Arrived(ticket=ticket):
                seating.arrived(self, ticket, now)
                return
            case m.Left(ticket=ticket):
                seating.leave(self, ticket, now)
                return
            case m.Progress(workload=name, phase=phase, status=status):
                job = self.records[name].job
                if job is not None:
                    job.step = f"at {phase}" if status == "start" else "undoing" if status == "undo" else job.step
                    ahead.beside(self, job, phase, status, now)
                return
            case m.PartDone(workload=name, part=part):
                if (job := self.records[name].job) is not None:
                    job.step = f"{part * 100:.0f} %"
                return
            case m.Observed(workload=name):
                record = self.records[name]
                before = picture.shape(record)
                observing.observed(self, record, message, now)
                if record.preload_due and record.looked and message.error is None:
                    commands.warm(record, now)
                self.dirty |= picture.shape(record) != before
                return
            case m.Devices(uses=uses):
                self.dirty |= self.uses != uses
                self.uses = uses
                self._keep_all(now)
                return
            case m.HostMemory(available=available, store=store):
                self.dirty |= self.demand and self.store != store
                self.store = store
                self._measured(available)
                return
            case m.Sync(answer=answer):
                self.tell(answer, None)
                return
            case m.Configure():
                changing.configure(self, message)
            case m.EngineDown(workload=name):
                self.records[name].ready = False
                self.do(m.Look(workload=name))
            case m.Park(workload=name, whole=whole, answer=answer):
                commands.park(self, self.records[name], answer, now, whole=whole)
            case m.Seat(workload=name, answer=answer, commanded=commanded):
                wish = Wish(since=now, answer=answer, commanded=commanded)
                commands.seat(self, self.records[name], wish, now)
            case m.Stop(workload=name, answer=answer):
                commands.stop(self, self.records[name], answer, now)
            case m.Swap(workload=name, out=out, answer=answer):
                commands.swap(self, self.records[name], self.records[out], answer, now)
            case m.Spill(workload=name, answer=answer):
                storing.begin(self, self.records[name], JobKind.STORE, answer, now)
            case m.Fetch(workload=name, answer=answer):
                storing.begin(self, self.records[name], JobKind.FETCH, answer, now)
            case m.Prewarm(workload=name):
                commands.prewarm(self, self.records[name], message, now)
            case m.Drained(workload=name, answer=answer):
                self.records[name].drained.append(answer)
            case m.JobEnded():
                observing.job_ended(self, self.records[message.workload], message, now)
            case m.Probed(workload=name, number=number, error=error):
                seating.probed(self, self.records[name], number, error, now)
            case m.Preload():
                commands.preload(self, now)
            case m.Part(how=how, answer=answer):
                parting.part(self, how, answer, now)
            case m.Closing():
                self.closing = True
                self._keep_all(now, at_once=True)
        self.dirty = True

    def admit(self, ticket: Ticket, now: float) -> bool:
        """See `seating`: the short way, between two batches of messages."""
        return seating.admit(self, ticket, now)

    def leave(self, ticket: Ticket, now: float) -> None:
        """The request has ended, or its client has gone: what `Left` says, at once."""
        seating.leave(self, ticket, now)

    def due(self, now: float) -> bool:
        """Whether `settle` has anything to do."""
        return self.dirty or now >= self.wake_at or bool(self._effects)

    def settle(self, now: float) -> list[m.Effect]:
        """Everything that follows from the state at `now`; takes the effects gathered since the last call."""
        if self.dirty or now >= self.wake_at:
            self.dirty = False
            self._round(now)
        effects, self._effects = self._effects, []
        return effects

    def _round(self, now: float) -> None:
        self.wake_at = math.inf
        self._rounds += 1
        for record in self.records.values():
            if record.drained and not record.in_flight:
                for answer in record.drained:
                    self.tell(answer, None)
                record.drained.clear()
                if record.job is not None:
                    record.job.moves_since = now
            if record.sought_until is not None:
                if now < record.sought_until:
                    self.wake(record.sought_until)
                else:
                    record.sought_until = None
            if (error := verdicts.hopeless(record, closing=self.closing)) is not None:
                self.turn_away(record, error, now)
            if record.park_answers:
                commands.park_when_room(self, record, now)
            healing.heal(self, record, now)
            seating.expire(self, record, now)
            seating.answer_wishes(self, record)
        changing.settle(self)
        if not self.closing:
            self._schedule(now)
        ahead.settle(self, now)
        for record in self.records.values():  # after it was decided who leaves: those seats are not given any more
            seating.grant(self, record, now)

    # -- for `commands`, `observing`, `changing` and `healing`

    def new_record(self, name: str, spec: Workload, *, epoch: int = 0, unknown: bool = False) -> Record:
        """With what is known of that name from before; `unknown`: it is another workload that bears it now."""
        if unknown:
            self._known[name] = Learned()
        return Record(name=name, spec=spec, epoch=epoch, learned=self._known.setdefault(name, Learned()))

    def touch(self) -> None:
        """Something changed beside a message: an answer had more to do."""
        self.dirty = True

    def wake(self, at: float) -> None:
        self.wake_at = min(self.wake_at, at)

    def keep(self, record: Record) -> None:
        """Have what was learned of it written down."""
        self.do(m.Keep(learned={record.name: record.learned}))

    def do(self, effect: m.Effect) -> None:
        self._effects.append(effect)

    def tell(self, answer: Answer, value: object, error: HotseatError | None = None) -> None:
        self.do(m.Tell(answer=answer, value=value, error=error))

    def set_state(self, record: Record, state: State, note: str) -> None:
        if (record.state, record.note) != (state, note):
            record.state, record.note = state, note
            self.do(m.Say(kind="state", workload=record.name, data={"state": state.value, "note": note}))

    def launch(
        self,
        record: Record,
        kind: JobKind,
        now: float,
        *,
        makes_room_for: str | None = None,
        why: str = "",
        whole: bool = False,
    ) -> Job:
        record.job = Job(
            kind=kind,
            begun=now,
            moves_since=now,
            makes_room_for=makes_room_for,
            stored=record.state is State.STORED,
            whole=whole,
            gives_up=kind is JobKind.SWAP_OUT and record.state in AWAY,
        )
        record.epoch += 1
        record.probing = 0
        why = f"makes room for {makes_room_for}" if makes_room_for else why
        self.touch()
        target = self.records.get(makes_room_for or "")
        if target is not None and target.demand is not None:
            record.warm_until = 0.0  # a hint is given up at once when demand needs the seat
        if kind is JobKind.SWAP_OUT:
            why = f"its context leaves: {why}" if record.job.gives_up and why else why
            self.set_state(record, State.SWAPPING_OUT, why)
        elif kind is JobKind.STOP:
            self.set_state(record, State.SWAPPING_OUT, f"is stopped: {why}" if why else "is stopped")
        elif kind is JobKind.STORE:
            self.set_state(record, record.state, f"goes to disk: {why}" if why else "goes to disk")
        elif kind is JobKind.FETCH:
            self.set_state(record, record.state, f"comes into host memory: {why}" if why else "comes into host memory")
        elif kind is not JobKind.RECOVER:
            self.set_state(record, State.SWAPPING_IN, "cold start" if kind is JobKind.START else why)
        for ticket in record.waiting:
            ticket.swapped = True
        self.do(m.Launch(kind=kind, workload=record.name, whole=whole))
        return record.job

    def turn_away(self, record: Record, error: HotseatError, now: float) -> None:
        """Everybody who waits for it is told why not."""
        if record.waiting and (seconds := self.outlook(now).look(record).retry_after) is not None:
            error.details.setdefault("retry_after", seconds)
        for ticket in record.waiting.take_all():
            self.tell(ticket.answer, None, error)
        for wish in record.wishes:
            self.tell(wish.answer, None, error)
        record.wishes.clear()

    def outlook(self, now: float) -> waits.Waits:
        """Made once for all that are told of it in one moment: a full queue may refuse thousands."""
        made = self._outlook
        if made is None or self.dirty or made[0] != self._rounds or not 0 <= now - made[1] < SAME_MOMENT:
            snapshot = picture.snapshot(self, now)
            made = self._outlook = (self._rounds, now, waits.Waits(self.records.values(), snapshot, now))
        return made[2]

    def expected_wait(self, record: Record, now: float) -> float | None:
        return self.outlook(now).of(record)

    # -- its own

    def _measured(self, available: int) -> None:
        parked = moving = 0
        for record in self.records.values():
            if record.state in AWAY:
                parked += record.host_bytes
            elif record.job is not None:
                moving += record.host_bytes
        before = self.host.room
        self.host.measured(available=available, parked=parked, moving=moving)
        # Every second it is a little more or less: only somebody who waits can want to know.
        self.dirty |= self.demand and before != self.host.room

    def _keep_all(self, now: float, *, at_once: bool = False) -> None:
        if at_once or now - self._kept_at >= KEEP_EVERY:
            self._kept_at = now
            self.do(m.Keep(learned={record.name: record.learned for record in self.records.values()}))

    def _schedule(self, now: float) -> None:
        snapshot = picture.snapshot(self, now)
        self.demand = any(picture.wants(view, now) for view in snapshot.workloads)
        decision = decide(now, snapshot)
        self.demand |= decision.crowded
        if decision.wake_at is not None:
            self.wake(decision.wake_at)
        self._tell_blocked(decision, now)
        for action in decision.actions:
            record = self.records[action.workload]
            if record.job is None:
                room_for = action.makes_room_for
                kind, whole = JobKind(action.kind), action.whole
                self.launch(record, kind, now, makes_room_for=room_for, why=action.why, whole=whole)

    def _tell_blocked(self, decision: Decision, now: float) -> None:
        for record in self.records.values():
            blocked = decision.blocked.get(record.name)
            if blocked is None:
                record.blocked_since = None
                continue
            if record.blocked_since is None:
                record.blocked_since = now
            until = max(record.blocked_since, blocked.again_at or 0.0) + BLOCKED_GRACE
            if blocked.forever or now >= until:
                self.turn_away(record, verdicts.no_room(record, blocked.reason), now)
                record.blocked_since = None
            else:
                self.wake(until)
