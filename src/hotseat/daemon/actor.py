"""The one task that owns the state: takes messages, runs the core, has its effects done, wakes in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from hotseat.config import HostMemory, Workload
from hotseat.daemon import messages as m
from hotseat.daemon import seating
from hotseat.daemon.book import Answer, JobKind, Record, Ticket
from hotseat.daemon.core import Core
from hotseat.daemon.hands import Hands
from hotseat.daemon.learned import Learned
from hotseat.daemon.learned_store import LearnedStore
from hotseat.daemon.waits import Waits
from hotseat.errors import Failed, HotseatError, Unavailable
from hotseat.events import EventBus
from hotseat.linux.memory import available_bytes
from hotseat.store.port import Moved
from hotseat.swap.port import Observation
from hotseat.words import DeviceUse, SwapReport

_log = logging.getLogger(__name__)

LAG, LOOK_AGAIN = 1.5, 0.05
"""Seconds for which a device may go on showing memory that is free already (FACTS.md: up to one), and between two looks
at it meanwhile."""


class Actor:
    """`records` is for reading, from the same event loop; only this task writes."""

    def __init__(
        self,
        workloads: Mapping[str, Workload],
        *,
        hands: Hands,
        events: EventBus,
        caps: Mapping[int, int] | None = None,
        host: HostMemory | None = None,
        store: LearnedStore | None = None,
    ) -> None:
        """`store`: where what is learned is kept. None: it is forgotten at the end."""
        self._core = Core(workloads, caps=caps, host=host, learned=store.load() if store is not None else None)
        self._store = store
        self.clock = asyncio.get_running_loop().time
        """Seconds. Kept, because finding the loop asks the kernel for the process's id each time."""
        self.seek: Callable[[str], None] = lambda platform: None
        """Called when a container that was found by its label is gone from its platform."""
        self._timer_at = math.inf
        self._hands = hands
        self._events = events
        self._inbox: deque[m.Message] = deque()
        self._something = asyncio.Event()
        self._gauging = asyncio.Lock()
        self._jobs: set[asyncio.Task[None]] = set()
        """Swaps, starts, recoveries: awaited at the end, never dropped."""
        self._errands: set[asyncio.Task[None]] = set()
        """Probes and looks: may be cancelled."""

    @property
    def models(self) -> Mapping[str, Record]:
        """Who serves which model now."""
        return self._core.models

    @property
    def ahead(self) -> Mapping[str, int]:
        """Bytes by device UUID of parked workloads, ahead of their swaps in."""
        return {} if self._core.store is None else self._core.store.ahead

    @property
    def records(self) -> Mapping[str, Record]:
        return self._core.records

    @property
    def uses(self) -> Sequence[DeviceUse]:
        """The devices as they were last read, at most a second or two ago."""
        return self._core.uses

    @property
    def caps(self) -> Mapping[int, int]:
        """Bytes per capped device index."""
        return self._core.caps

    @property
    def closing(self) -> bool:
        return self._core.closing

    def outlook(self) -> Waits:
        """When a request that comes now would have its seat, and who holds it."""
        return self._core.outlook(self.clock())

    def send(self, message: m.Message) -> None:
        self._inbox.append(message)
        self._something.set()

    def admit(self, ticket: Ticket) -> bool:
        """Whether `ticket` has its seat now; no answer is called. False: send `Arrived`. See `Core.admit`."""
        return not self._inbox and seating.admit(self._core, ticket, ticket.arrived)

    def leave(self, ticket: Ticket) -> None:
        """What `Left` says, at once where no message is before it, and without a round where nobody needs one."""
        if self._inbox:
            self.send(m.Left(ticket=ticket))
            return
        core, now = self._core, self.clock()
        seating.leave(core, ticket, now)
        if core.wake_at < self._timer_at or core.due(now):
            self._something.set()

    async def ask(self, make: Callable[[Answer], m.Message]) -> Any:
        """Send the message that `make` makes of an answer, and wait for that."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(make(answer_of(future)))
        return await future

    async def run(self) -> None:
        """Until cancelled. An exception from here is a bug; the daemon ends with it rather than go on half right."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None
        try:
            while True:
                await self._something.wait()
                self._something.clear()
                while self._inbox:
                    self._core.handle(self._inbox.popleft(), loop.time())
                for effect in self._core.settle(loop.time()):
                    self._perform(effect)
                if self._core.due(loop.time()):
                    self._something.set()  # an answer had more to do
                if self._core.wake_at != self._timer_at or (timer is not None and loop.time() >= self._timer_at):
                    if timer is not None:
                        timer.cancel()
                    timer = None
                    self._timer_at = self._core.wake_at
                    if self._timer_at < math.inf:
                        timer = loop.call_at(self._timer_at, self._something.set)
        finally:
            if timer is not None:
                timer.cancel()
            for task in self._errands:
                task.cancel()
            await asyncio.gather(*self._errands, return_exceptions=True)

    async def recover(self, name: str) -> None:
        """End what a hotseat that died has begun with it. Before `run`. `HotseatError` if that cannot be."""
        await self._hands.recover(name)

    async def answers_done(self) -> None:
        """Until no request is in flight that can end. One that is frozen waits for a turn that will not come."""
        running = [record.name for record in self.records.values() if record.in_flight and not record.frozen]
        await asyncio.gather(*[self._drained(name)() for name in running])

    async def idle(self) -> None:
        """Until every message sent so far has been handled."""
        await self.ask(lambda answer: m.Sync(answer=answer))

    async def jobs_done(self) -> None:
        """Until no swap is under way."""
        while self._jobs:
            await asyncio.wait(self._jobs)
            await asyncio.sleep(0)

    def cancel_jobs(self) -> None:
        """Ask swaps to come to a stable end soon: before their commit they are undone."""
        for task in self._jobs:
            task.cancel()

    def _perform(self, effect: m.Effect) -> None:
        match effect:
            case m.Tell(answer=answer, value=value, error=error):
                answer(value, error)
            case m.Equip(specs=specs, caps=caps):
                self._hands.equip(specs, caps=caps)
            case m.Say(kind=kind, workload=workload, data=data):
                self._events.publish(kind, workload=workload, **data)
            case m.Launch(kind=kind, workload=name, whole=whole):
                self._spawn(self._jobs, self._job(kind, name, whole=whole))
            case m.Ahead(workload=name):
                self._spawn(self._errands, self._ahead(name))
            case m.NoneAhead():
                self._spawn(self._errands, self._hands.none_ahead())
            case m.Keep(learned=learned):
                self._keep(learned)
            case m.Probe(workload=name, number=number):
                self._spawn(self._errands, self._probe(name, number))
            case m.Look(workload=name):
                self._spawn(self._errands, self.look(name))
            case m.Seek(workload=name) if name in self.records:
                self.seek(self.records[name].spec.platform)

    def _keep(self, learned: Mapping[str, Learned]) -> None:
        if self._store is None:
            return
        try:
            self._store.save(learned)
        except HotseatError as error:
            _log.warning("what was learned cannot be written down: %s", error.message)

    def _spawn(self, into: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        into.add(task)
        task.add_done_callback(into.discard)

    async def _job(self, kind: JobKind, name: str, *, whole: bool) -> None:
        report: SwapReport | None = None
        moved: Moved | None = None
        failure: HotseatError | None = None
        seen: Observation | None = None

        def progress(phase: str, status: str) -> None:
            self.send(m.Progress(workload=name, phase=phase, status=status))

        def part(done: float) -> None:
            self.send(m.PartDone(workload=name, part=done))

        try:
            match kind:
                case JobKind.SWAP_OUT:
                    drained = self._drained(name)
                    report = await self._hands.swap_out(name, whole=whole, drained=drained, progress=progress)
                case JobKind.SWAP_IN:
                    report = await self._hands.swap_in(name, progress=progress)
                case JobKind.START:
                    report = await self._hands.start(name, progress=progress)
                case JobKind.STOP:
                    job = self.records[name].job
                    ending = None if job is None or job.lost else self._drained(name)
                    await self._hands.stop(name, drained=ending, progress=progress)
                case JobKind.RECOVER:
                    await self._hands.recover(name)
                case JobKind.STORE:
                    moved = await self._hands.store(name, progress=progress, part=part)
                case JobKind.FETCH:
                    moved = await self._hands.fetch(name, progress=progress, part=part)
        except HotseatError as error:
            failure = error
        except asyncio.CancelledError:
            failure = Failed(f"the {kind} of {name} was cancelled", hint="hotseat is shutting down")
        except Exception as error:
            failure = _bug(f"the {kind} of {name}", error)
        try:
            seen, _ = await asyncio.gather(self._hands.observe(name), self._gauge_after(name))
        except HotseatError as error:
            _log.warning("cannot look at %s: %s", name, error.message)
        except asyncio.CancelledError:
            pass  # shutting down: the next start looks
        except Exception as error:
            _bug(f"looking at {name} after its {kind}", error)  # what the job came to is known all the same
        self.send(m.JobEnded(workload=name, report=report, moved=moved, error=failure, observation=seen))
        self._spawn(self._errands, self._look_for_room())

    async def gauge(self) -> None:
        """Read the devices and the store's room and tell the core. `HotseatError` if the devices cannot be read."""
        async with self._gauging:  # an older reading never comes after a newer one
            uses: Sequence[DeviceUse] = ()
            trouble: HotseatError | None = None
            try:
                uses = await self._hands.devices()
            except HotseatError as error:
                trouble = error
            # After the devices: what comes ahead between the two must not look like a stranger's.
            self.send(m.HostMemory(available=available_bytes(), store=await self._hands.store_room()))
            if trouble is not None:
                raise trouble
            self.send(m.Devices(uses=uses))

    async def _gauge_after(self, name: str) -> None:
        """At the end of a job, before that is told: by older figures, what has left would look like a stranger's."""
        try:
            await self.gauge()
        except HotseatError as error:
            _log.warning("the devices cannot be read after a job of %s: %s", name, error.message)
        except Exception as error:
            _bug(f"reading the devices after a job of {name}", error)

    async def _look_for_room(self) -> None:
        """A device may be late to show what left: whoever lacks room does not wait for the next second's look."""
        until = self.clock() + LAG
        while self.clock() < until:
            await asyncio.sleep(LOOK_AGAIN)
            if all(record.blocked_since is None for record in self.records.values()):
                return
            with contextlib.suppress(HotseatError):
                await self.gauge()

    async def _ahead(self, name: str) -> None:
        """Whatever comes of it, its swap in does not need it."""
        try:
            await self._hands.ahead(name)
        except HotseatError as error:
            _log.debug("%s does not come in ahead: %s", name, error.message)
        except Exception as error:
            _bug(f"bringing {name} in ahead", error)

    def _drained(self, name: str) -> Callable[[], Coroutine[Any, Any, Any]]:
        return lambda: self.ask(lambda answer: m.Drained(workload=name, answer=answer))

    async def _probe(self, name: str, number: int) -> None:
        failure: HotseatError | None = None
        record = self.records.get(name)
        try:
            if record is None or record.observation is None:
                raise Unavailable(f"{name} was not looked at yet", hint="try again in a second", rule="not looked at")
            await self._hands.probe(name, record.observation.container)
        except HotseatError as error:
            failure = error
        except Exception as error:
            failure = _bug(f"the probe of {name}", error)
        self.send(m.Probed(workload=name, number=number, error=failure))

    async def look(self, name: str) -> None:
        """Observe one workload and tell the core."""
        record = self._core.records.get(name)
        if record is None:
            return
        epoch = record.epoch
        seen: Observation | None = None
        failure: HotseatError | None = None
        try:
            seen = await self._hands.observe(name)
        except HotseatError as error:
            failure = error
        except Exception as error:
            failure = _bug(f"looking at {name}", error)
        self.send(m.Observed(workload=name, epoch=epoch, observation=seen, error=failure))


def _bug(what: str, error: Exception) -> Failed:
    """Whatever it was, whoever waits is told: a workload without an end of its job would be locked for ever."""
    _log.error("%s", what, exc_info=error)
    return Failed(f"{what} failed: {error!r}", hint="this is a bug; hotseat's log has more")


def answer_of(future: asyncio.Future[Any]) -> Answer:
    """An answer that settles `future`; one that comes after its waiter has gone is dropped."""

    def answer(value: Any, error: HotseatError | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)

    return answer
