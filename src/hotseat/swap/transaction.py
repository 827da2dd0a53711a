"""One swap from its plan to a stable end: run it; if it breaks off, decide where to go from what the world shows."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

from hotseat.config.units import format_size
from hotseat.errors import HotseatError, NotFound, PlatformFailed, Quarantined, Unavailable
from hotseat.events import EventBus
from hotseat.gpu.port import CheckpointDriver, DeviceTruth
from hotseat.linux.port import ThreadFreezer
from hotseat.platforms.port import Container, Status
from hotseat.store.port import HeldState, Store
from hotseat.swap import truth
from hotseat.swap.classify import CLOCK_STEP, LIVING
from hotseat.swap.custom import Preloads
from hotseat.swap.effects import Effects
from hotseat.swap.executor import Cancelled, End, Ended, Executor
from hotseat.swap.journal import Journal
from hotseat.swap.lending import silent
from hotseat.swap.meter import Meter
from hotseat.swap.outcome import rescued, rolled_back, words
from hotseat.swap.plan import IRREVERSIBLE, NO_CUDA, PROBE, Do, Plan, Step, plan_rescue
from hotseat.swap.port import Progress
from hotseat.swap.records import SILENT_ENGINE, Record
from hotseat.swap.rescue import Broken, Cause, cause_of, choose, patience
from hotseat.swap.reservations import Reservations
from hotseat.swap.room import Room
from hotseat.swap.scene import Scene
from hotseat.words import Direction, ProcessState, State, SwapReport

LOST_BLOCKS = "the store has lost memory of it"
SILENT_DRIVER = "the driver does not say in which state its processes are"


class Transaction:
    """For one workload, under its guard."""

    def __init__(
        self,
        *,
        scene: Scene,
        driver: CheckpointDriver,
        devices: DeviceTruth,
        freezer: ThreadFreezer,
        store: Store | None,
        journal: Journal,
        reservations: Reservations,
        events: EventBus,
        meter: Meter,
        progress: Progress | None,
        cancelled: asyncio.Event,
        preloads: Preloads,
    ) -> None:
        self._scene = scene
        self._devices = devices
        self._journal = journal
        self._reservations = reservations
        self._events = events
        self._meter = meter
        self._progress = progress
        self._name = scene.workload.name
        self._key = scene.workload.container.key
        self._begun = time.time()
        self._committed = False
        self._stable = False
        room = Room(reservations=reservations, devices=devices, store=store, meter=meter)
        self._effects = Effects(
            scene=scene,
            driver=driver,
            devices=devices,
            freezer=freezer,
            store=store,
            room=room,
            meter=meter,
            preloads=preloads,
        )
        self._executor = Executor(
            performer=self._effects, note=self._note, meter=meter, tell=self._tell, cancelled=cancelled
        )
        # A rescue is the way to the stable end that a cancellation waits for: nothing cancels it.
        self._rescuer = Executor(performer=self._effects, note=self._note, meter=meter, tell=self._tell)

    async def run(self, plan: Plan) -> SwapReport:
        """To `plan.goal`, or raise what docs/how-a-swap-works.md says."""
        self._publish(self._swapping)
        try:
            ended = await self._executor.run(plan)
            if ended.end is not End.DONE:
                error = await self._end_unhappily(plan, ended)
                if error is None and PROBE in plan.steps:
                    plan = replace(plan, steps=(PROBE,), commit=0)
                    ended = await self._executor.run(plan)
                    error = await self._end_unhappily(plan, ended) if ended.end is not End.DONE else None
                if error is not None:
                    raise error
            self._settle(plan.goal)
            return self._report()
        finally:
            await self._leave()

    async def recover(self, record: Record) -> State:
        """Bring a swap that a dead hotseat left unfinished to a stable state. Raises only if its platform or its store
        is silent."""
        self._scene.uses = ()  # what the devices showed before that swap is not known
        self._committed = record.committed
        step = Do(record.step) if record.step else None
        why = record.note if record.state is State.QUARANTINED else "hotseat died in the middle of a swap"
        ended = Ended(end=End.BROKEN, error=None)
        try:
            goal, reason = await self._rescue(ended, step=step, cause=Cause.CRASH, why=why)
            self._scene.notes.append(
                f"hotseat died in its swap {self._scene.direction} at {record.step or 'its begin'}"
            )
            await self._arrive(goal, reason)
        finally:
            await self._leave()
        return goal

    async def condemn(self, reason: str) -> BaseException:
        """For a parked workload that can never be seated again."""
        self._committed = True
        try:
            reason = await self._quarantine_and_free(reason)
        finally:
            await self._leave()
        return Quarantined(
            f"{self._name} is quarantined: {reason}",
            hint="restart the container: a cold start ends the quarantine",
        )

    async def _leave(self) -> None:
        """No thread stays held by us. Without a stable end (the platform is silent, or a bug) the journal says that
        nobody works on it, so that the next command recovers it."""
        await self._effects.abandon()
        if not self._stable and (record := self._journal.read(self._key)) is not None and record.swapping:
            with suppress(HotseatError):
                self._journal.write(replace(record, owner=""))

    # -- the unhappy ends

    async def _end_unhappily(self, plan: Plan, ended: Ended) -> BaseException | None:
        """Make for a stable state; the error that the caller is to see, None if a rescue reached the goal after all."""
        scene = self._scene
        if ended.step is not None and ended.step.effect is Do.PROBE:
            if isinstance(ended.error, Cancelled) and plan.origin is not State.QUARANTINED:
                self._settle(State.SEATED)  # it runs; only nobody waits for its engine any more
                return ended.error
            reason = f"it was swapped in and runs, but its engine does not answer: {words(ended.error)}"
            self._quarantine(reason, step=SILENT_ENGINE)
            return rescued(self._name, direction=scene.direction, ended=ended, goal=State.QUARANTINED, reason=reason)
        cause = cause_of(ended.error) if ended.error is not None else Cause.CRASH
        if ended.end is End.UNDONE:
            if await self._is_back(plan.origin):
                self._settle(plan.origin)
                return rolled_back(self._name, direction=scene.direction, origin=plan.origin, ended=ended)
            cause = Cause.UNDO
        try:
            goal, reason = await self._rescue(ended, step=ended.step.effect if ended.step else None, cause=cause)
        except (PlatformFailed, Unavailable) as error:
            return error
        stays = goal is State.PARKED and not scene.keep and any(scene.kept.values())  # and was to leave
        if goal is plan.goal and cause is not Cause.GONE and not stays:
            self._events.publish("note", workload=self._name, note=f"{reason}; it worked at the second try")
            return None
        reason = await self._arrive(goal, reason)
        return rescued(self._name, direction=scene.direction, ended=ended, goal=goal, reason=reason)

    async def _is_back(self, origin: State) -> bool:
        """Whether the undos really brought it to where it was. Reads the world; the undos' own word is not enough."""
        with suppress(HotseatError):
            container = await self._inspect()
            if container is None or container.status not in LIVING:
                return False
            if container.status is Status.PAUSED:
                return origin is State.PARKED
            if self._scene.workload.container.status is Status.PAUSED:
                return False  # it was paused when this swap began, and is not any more
            await self._effects.look()
            await self._effects.lender.look()
            await self._effects.customs.look()
            held = set(self._scene.held.values())
            if origin is State.SEATED:
                return set(self._scene.states.values()) <= {ProcessState.RUNNING} and held <= {HeldState.RUNNING}
            held |= set(self._scene.stowed.values())
            return all(map(self._scene.off, self._scene.cuda)) and held <= {HeldState.OUT}
        return False

    async def _rescue(self, ended: Ended, *, step: Do | None, cause: Cause, why: str = "") -> tuple[State, str]:
        """Run rescue plans until one works or none is left. Returns the state reached, and why it came to this."""
        self._scene.giving_up = False  # a context that did not leave may stay: the workload is whole with it
        reason = why or words(ended.error)
        if ended.step is not None:
            reason = f"{ended.step.name} failed: {reason}"
        tried: set[State] = set()
        while True:
            broken = await self._broken(step, cause)
            goal = choose(broken, tried=frozenset(tried))
            if goal in (State.STOPPED, State.QUARANTINED):
                if None in broken.states.values() and SILENT_DRIVER not in reason:
                    reason += f"; {SILENT_DRIVER}"
                if HeldState.LOST in {*broken.held.values(), *broken.stowed.values()}:
                    reason += f"; {LOST_BLOCKS}"
                return goal, reason
            tried.add(goal)
            plan = plan_rescue(
                direction=self._scene.direction,
                goal=goal,
                paused=broken.status is Status.PAUSED,
                parked_already=broken.parked_already,
                interposed=bool(self._scene.interposed),
                custom=bool(self._scene.custom),
            )
            rescue = await self._rescuer.run(plan)
            if rescue.end is End.DONE:
                return goal, reason
            if rescue.step is not None and rescue.error is not None:
                reason += f"; then {rescue.step.name} failed: {words(rescue.error)}"
                step, cause = rescue.step.effect, cause_of(rescue.error)

    async def _broken(self, step: Do | None, cause: Cause) -> Broken:
        """What the world shows now. A container that someone paused in the middle is unpaused: only so can it tell."""
        scene = self._scene

        def seen(status: Status) -> Broken:
            return Broken(
                direction=scene.direction,
                step=step,
                cause=cause,
                committed=self._committed,
                status=status,
                states=dict(scene.states),
                held=dict(scene.held),
                stowed=dict(scene.stowed),
                off=frozenset(filter(scene.off, scene.states)),
            )

        container = await self._inspect()
        if container is None or container.status not in LIVING:
            return seen(Status.EXITED)
        if container.status is Status.PAUSED:
            scene.states = dict.fromkeys(scene.cuda)
            if seen(Status.PAUSED).parked_already:
                return seen(Status.PAUSED)
            await scene.workload.platform.unpause(container)
        try:
            await self._effects.look(patience=patience(step, cause, deadlines=scene.deadlines, nbytes=scene.gpu_bytes))
        except HotseatError:
            scene.states = dict.fromkeys(scene.cuda)
        await self._effects.lender.look(patience=scene.deadlines.store)
        await self._effects.customs.look(patience=scene.deadlines.store)
        if None in {*scene.held.values(), *scene.stowed.values()}:
            raise silent(self._name)  # to guess would be to lose it
        return seen(Status.RUNNING)

    async def _inspect(self) -> Container | None:
        """The container's present state; None if it is gone or another incarnation. Patient: a platform's daemon that
        restarts must not cost a workload."""
        workload = self._scene.workload
        loop = asyncio.get_running_loop()
        until = loop.time() + self._scene.deadlines.pause
        while True:
            try:
                container = await workload.platform.inspect(workload.container.id)
            except NotFound:
                return None
            except PlatformFailed as error:
                if loop.time() >= until:
                    raise PlatformFailed(
                        f"{workload.platform.name} does not answer, so {self._name} stays in the middle of its swap "
                        f"{self._scene.direction}: {error.message}",
                        hint=f"once {workload.platform.name} answers, the next command for {self._name} recovers it",
                    ) from error
                with self._meter.of("platform"):
                    await asyncio.sleep(0.1)
            else:
                same = abs(container.started_at - workload.container.started_at) <= CLOCK_STEP
                return container if same else None

    # -- the stable ends

    async def _arrive(self, goal: State, reason: str) -> str:
        """Returns the reason with what came of it."""
        if goal is State.QUARANTINED:
            return await self._quarantine_and_free(reason)
        self._settle(goal)
        return reason

    def _settle(self, state: State) -> None:
        """Write a stable state down. Only what is parked or quarantined has a record."""
        notes = [NO_CUDA] if state is State.PARKED and not self._scene.cuda else []
        note = "; ".join([*notes, *self._scene.notes])
        if state is State.PARKED:
            self._journal.write(self._scene.record(state=state, note=note))
            self._reservations.give_back(self._key)
        else:
            self._journal.forget(self._key)
        self._stable = True
        self._publish(state, note)

    def _quarantine(self, reason: str, *, step: str = "") -> None:
        self._journal.write(
            self._scene.record(state=State.QUARANTINED, note=reason, step=step, committed=self._committed)
        )
        self._reservations.give_back(self._key)
        self._stable = True
        self._publish(State.QUARANTINED, reason)

    async def _quarantine_and_free(self, reason: str) -> str:
        """Say it, then do it: the journal and the event come before the kill. What never passed its commit is not
        killed: it may still be whole."""
        scene = self._scene
        free = scene.policy.free_on_quarantine and self._committed
        self._quarantine(f"{reason}; its container is killed to free its memory" if free else reason)
        await self._effects.abandon()
        if free:
            try:
                await scene.workload.platform.kill(scene.workload.container)
                reason += "; its container was killed to free its memory"
            except HotseatError as error:
                reason += f"; its container could not be killed ({error.message})"
        left = await self._left()
        if left:
            told = ", ".join(f"{format_size(nbytes)} of device {index}" for index, nbytes in sorted(left.items()))
            reason += f"; it still holds {told}"
        self._quarantine(reason)
        return reason

    async def _left(self) -> dict[int, int]:
        """Device memory that it holds still, after the wait for late release."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._scene.deadlines.release
        pids = {holding.process.pid for holding in self._scene.cuda.values()}
        while True:
            try:
                left = {index: n for index, n in truth.held(await self._devices.use(), pids).items() if n}
            except HotseatError:
                return {}
            if not left or loop.time() >= until:
                return left
            await asyncio.sleep(0.05)

    # -- what is told

    @property
    def _swapping(self) -> State:
        return State.SWAPPING_OUT if self._scene.direction is Direction.OUT else State.SWAPPING_IN

    def _note(self, *, step: Step, committed: bool) -> None:
        """Before each step. Once past the commit a journal that fails must not stop the way to a stable end."""
        # A rescue has all its steps past the commit, but those without a process to move are none.
        moves = IRREVERSIBLE.get(step.effect)
        committed = self._committed or (committed and moves is not None and bool(self._scene.in_state(moves)))
        record = self._scene.record(state=self._swapping, step=step.effect, committed=committed)
        try:
            self._journal.write(record)
        except HotseatError:
            if not self._committed:
                raise
        self._committed = committed

    def _tell(self, phase: str, what: str) -> None:
        self._events.publish("phase", workload=self._name, phase=phase, status=what, direction=self._scene.direction)
        if self._progress is not None:
            self._progress(phase, what)

    def _publish(self, state: State, note: str = "") -> None:
        self._events.publish("state", workload=self._name, state=state, note=note)

    def _report(self) -> SwapReport:
        scene = self._scene
        report = SwapReport(
            workload=self._name,
            direction=scene.direction,
            phases=self._meter.phases(),
            gpu_bytes=dict(scene.moved),
            processes=scene.processes,
            cuda_processes=len(scene.cuda),
            threads=scene.threads,
            started_at=self._begun,
            interposed=tuple(scene.interposed),
            custom=tuple(scene.custom),
        )
        self._journal.add_report(key=self._key, report=report)
        self._events.publish(
            "swap",
            workload=self._name,
            direction=report.direction,
            seconds=report.seconds,
            own_seconds=report.own_seconds,
            gpu_bytes=dict(report.gpu_bytes),
            started_at=report.started_at,
            phases=[{"name": phase.name, "part": phase.part, "seconds": phase.seconds} for phase in report.phases],
        )
        return report
