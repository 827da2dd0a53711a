"""A small world around the core: it has the true state of each workload, ends jobs well or badly, is looked at late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hotseat import config
from hotseat.config import HostMemory, Workload
from hotseat.daemon import messages as m
from hotseat.daemon.book import AWAY, ON_HOST, JobKind, Ticket
from hotseat.daemon.changing import Changes
from hotseat.daemon.core import Core
from hotseat.errors import Failed, HotseatError
from hotseat.platforms.port import Container, Status
from hotseat.store.port import Held, HeldState, Moved
from hotseat.swap.port import Observation
from hotseat.words import Device, DeviceUse, ProcessRef, State

SIZE = 10
NEED = {"a": 8, "b": 6, "c": 4, "d": 10}
HOLDING = (State.SEATED, State.PAUSED)
TEXT = """
defaults: {min_stay: 5s, linger: 1s, max_wait: 100s}
workloads:
  a: {port: 1}
  b: {port: 2, drain: 10s}
  c: {port: 3, start: false}
  d: {port: 4}
"""


@dataclass
class Real:
    """One workload as it truly is."""

    state: State
    incarnation: int = 1
    ended: bool = False
    """Quarantined, and its container has ended."""
    interposed: bool = False
    """The store moves its memory."""
    context: int = 0
    """Of what it takes of the device: what could stay there while it is parked."""
    stays: bool = False
    """Parked, and it does."""

    def holds(self, name: str) -> int:
        if self.state in AWAY:
            return self.context if self.stays else 0
        return NEED[name] if self.state in HOLDING else 0

    def seen(self, name: str) -> Observation:
        runs = self.state is not State.STOPPED and not (self.state is State.QUARANTINED and self.ended)
        pid = list(NEED).index(name) * 100 + self.incarnation
        return Observation(
            state=self.state,
            container=Container(
                platform="docker",
                id=f"id-{name}",
                name=name,
                image="",
                status=Status.RUNNING if runs else Status.EXITED,
                pid=pid if runs else None,
                started_at=float(self.incarnation),
            ),
            processes=(ProcessRef(pid, 1),) if runs else (),
            cuda={},
            gpu_bytes={0: self.holds(name)} if self.holds(name) else {},
            parked_gpu_bytes={0: NEED[name] - self.holds(name)} if self.state in AWAY else {},
            kept_gpu_bytes={0: self.context} if self.state in AWAY and self.stays else {},
            context_gpu_bytes={0: self.context} if self.context and self.state is State.SEATED else {},
            held=self._held(NEED[name] - self.context, ProcessRef(pid, 1)) if self.interposed and runs else {},
            note="its restore failed" if self.state is State.QUARANTINED else "",
        )

    def _held(self, nbytes: int, process: ProcessRef) -> dict[ProcessRef, Held]:
        away, stored = self.state in AWAY, self.state is State.STORED
        return {
            process: Held(
                state=HeldState.OUT if away else HeldState.RUNNING,
                blocks=1,
                bytes=nbytes,
                parked_bytes=nbytes if away and not stored else 0,
                stored=stored,
                disk_bytes=nbytes if stored else 0,
            )
        }


@dataclass
class Heard:
    """What one who waits was told."""

    values: list[Any] = field(default_factory=list)
    errors: list[HotseatError] = field(default_factory=list)

    def __call__(self, value: Any, error: HotseatError | None) -> None:
        if error is None:
            self.values.append(value)
        else:
            self.errors.append(error)

    @property
    def times(self) -> int:
        return len(self.values) + len(self.errors)


class World:
    """The core with everything that it talks to."""

    def __init__(
        self,
        text: str = TEXT,
        *,
        seated: str = "a",
        interposed: str = "",
        contexts: Mapping[str, int] | None = None,
        host: HostMemory | None = None,
    ) -> None:
        """`contexts`: of those whose contexts may stay on the device."""
        self.core = Core(config.parse(text).workloads, host=host)
        self.now = 1000.0
        self.real = {
            name: Real(
                State.SEATED if name in seated else State.PARKED,
                interposed=name in interposed,
                context=(contexts or {}).get(name, 0),
            )
            for name in NEED
        }
        self.foreign = 0
        """Device memory that strangers hold."""
        self.kept: list[str] = []
        """Of whom it was written down what was learned."""
        self.sought: list[str] = []
        """Whose containers discovery was asked about."""
        self.ahead: list[str] = []
        """Who was to come in ahead of its swap in; "nobody": those who had begun were not wanted any more."""
        self.jobs: dict[str, JobKind] = {}
        self.whole: dict[str, bool] = {}
        """Of each one's last job: nothing of it may stay on the device."""
        self.probes: dict[str, int] = {}
        self.equipped: Mapping[str, Workload] = {}
        self.late: list[m.Observed] = []
        """Looks that have begun and not been told yet."""
        self.tickets: dict[Ticket, Heard] = {}
        self.send(self.devices(), *(self.look(name) for name in self.core.records))

    def send(self, *messages: m.Message) -> None:
        for message in messages:
            self.core.handle(message, self.now)
        for effect in self.core.settle(self.now):
            match effect:
                case m.Tell(answer=answer, value=value, error=error):
                    self.check_grant(answer, error)
                    answer(value, error)
                case m.Launch(kind=kind, workload=name, whole=whole):
                    assert name not in self.jobs, f"two jobs of {name} at once"
                    self.jobs[name], self.whole[name] = kind, whole
                    self.check_host(kind, name)
                case m.Ahead(workload=name):
                    self.ahead.append(name)
                case m.NoneAhead():
                    self.ahead.append("nobody")
                case m.Keep(learned=learned):
                    self.kept += learned
                case m.Probe(workload=name, number=number):
                    self.probes[name] = number
                case m.Look(workload=name) if name in self.core.records:
                    self.late.append(self.look(name))
                case m.Seek(workload=name):
                    self.sought.append(name)
                case m.Equip(specs=specs):
                    self.equipped = specs

        assert self.equipped == {name: record.spec for name, record in self.core.records.items()}

    def check_host(self, kind: JobKind, name: str) -> None:
        room = self.core.host.room
        real = self.real[name]
        leaves = real.state is State.SEATED or (self.whole[name] and real.holds(name))
        if kind is JobKind.SWAP_OUT and leaves and room is not None:
            held = sum(record.host_bytes for record in self.core.records.values() if record.state in ON_HOST)
            more = self.core.records[name].host_bytes
            assert held <= room.budget or not more, "more would be parked than the host has room for"

    def check_grant(self, answer: Any, error: HotseatError | None) -> None:
        for ticket, heard in self.tickets.items():
            if heard is answer and error is None:
                record = self.core.records[ticket.workload]
                assert record.state is State.SEATED, "a seat was granted that nobody has"
                assert record.job is None, "a seat was granted that is being taken away"
                assert record.ready, "its engine was not asked"

    def look(self, name: str) -> m.Observed:
        return m.Observed(workload=name, epoch=self.core.records[name].epoch, observation=self.real[name].seen(name))

    def devices(self) -> m.Devices:
        held = {
            real.seen(name).processes[0].pid: real.holds(name) for name, real in self.real.items() if real.holds(name)
        }
        used = sum(held.values()) + self.foreign
        device = Device(index=0, uuid="u", name="n", total_bytes=SIZE)
        return m.Devices(
            uses=[DeviceUse(device=device, used_bytes=used, free_bytes=max(0, SIZE - used), processes=held)]
        )

    def configure(self, text: str, *, caps: dict[int, int] | None = None) -> Changes:
        heard = Heard()
        self.send(m.Configure(specs=config.parse(text).workloads, caps=caps or {}, answer=heard))
        (changes,) = heard.values
        assert isinstance(changes, Changes)
        return changes

    def told(self, ticket: Ticket) -> Any:
        """What one request was told last; None: nothing yet."""
        heard = self.tickets[ticket]
        return (heard.errors or heard.values or [None])[-1]

    def ask(self, name: str, *, priority: int = 0, short: bool = False) -> Ticket:
        """`short`: as the gateway does, which takes the short way where there is one."""
        heard = Heard()
        ticket = Ticket(workload=name, arrived=self.now, answer=heard, priority=priority)
        self.tickets[ticket] = heard
        if short and self.core.admit(ticket, self.now):
            self.check_grant(heard, None)
            heard(0.0, None)
        else:
            self.send(m.Arrived(ticket=ticket))
        return ticket

    def ask_for_probe(self, name: str) -> int:
        """Have a request come and go, so that its engine is asked; the number of that probe."""
        self.send(m.Left(ticket=self.ask(name)))
        return self.probes.pop(name)

    def end_job(self, name: str, error: HotseatError | None = None, becomes: State | None = None) -> None:
        kind = self.jobs.pop(name)
        real = self.real[name]
        if becomes is not None:
            real.state = becomes
        elif error is None:
            match kind:
                case JobKind.SWAP_OUT:
                    keep = self.core.records[name].spec.context == "keep" and not self.whole[name]
                    if real.state is State.SEATED:
                        real.state, real.stays = State.PARKED, keep and real.context > 0
                    real.stays &= keep
                case JobKind.SWAP_IN if real.state in AWAY:
                    real.state, real.stays = State.SEATED, False
                case JobKind.STORE if real.state is State.PARKED:
                    real.state = State.STORED
                case JobKind.FETCH if real.state is State.STORED:
                    real.state = State.PARKED
                case JobKind.STOP:
                    real.ended, real.stays = True, False
                    if real.state is not State.QUARANTINED:  # that outlives the container's end
                        real.state = State.STOPPED
                case JobKind.START:
                    if real.state in (State.STOPPED, State.QUARANTINED):
                        real.incarnation += 1
                    real.state, real.ended = State.SEATED, False
                case _:
                    pass
        held = sum(real.holds(name) for name, real in self.real.items())
        if kind is JobKind.START and error is None and held > SIZE:
            # Never seen, so nobody knew what it takes, and others hold the rest for good: the engine gives up.
            real.state, error = State.STOPPED, Failed("the engine ended: out of memory")
        if kind not in (JobKind.SWAP_OUT, JobKind.STOP) and error is None:
            assert held <= SIZE, "more is seated than fits"
        moved = Moved(total=NEED[name], copied=NEED[name], disk=1) if error is None else None
        self.send(self.devices(), m.JobEnded(workload=name, moved=moved, error=error, observation=real.seen(name)))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.send()

    def come_to_rest(self) -> None:
        """Everything goes well from here on, until nothing is left to happen."""
        for _ in range(500):
            for name in list(self.jobs):
                self.end_job(name)
            for name, number in list(self.probes.items()):
                del self.probes[name]
                self.send(m.Probed(workload=name, number=number))
            self.late.clear()
            self.send(self.devices(), *(self.look(name) for name in self.core.records))
            self.tick(1.0)
            for ticket, heard in self.tickets.items():
                if heard.values and not ticket.ended:
                    self.send(m.Left(ticket=ticket))
