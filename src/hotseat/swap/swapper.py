"""The swap of one workload: guard, observation, refusals, plan, execution, and a stable end whatever happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from hotseat.events import EventBus
from hotseat.gpu.port import CheckpointDriver, DeviceTruth
from hotseat.gpu.preload import Preload, Preloads
from hotseat.linux.port import ThreadFreezer
from hotseat.platforms.port import Status
from hotseat.store.port import HeldState, Moved, Store
from hotseat.swap import ahead, guard, plan, rules, storing, truth
from hotseat.swap.classify import LIVING
from hotseat.swap.custom import Customs
from hotseat.swap.executor import Cancelled, to_a_stable_end
from hotseat.swap.journal import Journal
from hotseat.swap.lending import silent as silent_store
from hotseat.swap.lending import states as states_of_blocks
from hotseat.swap.meter import Meter
from hotseat.swap.observe import HostBytes, Observer, Sight, resident_bytes
from hotseat.swap.policy import Policy
from hotseat.swap.port import Deadlines, Drain, Observation, Prepare, Probe, Progress, StoreRoom, Workload
from hotseat.swap.records import Holding
from hotseat.swap.reservations import Reservations
from hotseat.swap.scene import Scene
from hotseat.swap.transaction import Transaction
from hotseat.swap.way import by_custom, way_of
from hotseat.words import Direction, ProcessRef, ProcessState, State, SwapReport


class ContainerSwapper:
    """Implements `hotseat.swap.port.Swapper` for containers and process trees alike.

    One instance serves any number of workloads at once, on one event loop; several processes on a host share the state
    directory and by it the guard, the journal and the reservations.
    """

    def __init__(
        self,
        *,
        driver: CheckpointDriver,
        devices: DeviceTruth,
        freezer: ThreadFreezer,
        journal: Journal,
        store: Store | None = None,
        events: EventBus | None = None,
        deadlines: Deadlines | None = None,
        policy: Policy | None = None,
        host_bytes: HostBytes = resident_bytes,
        preloads: Callable[[Collection[ProcessRef]], Mapping[ProcessRef, Preload]] | None = None,
        process_alive: Callable[[ProcessRef], bool] = guard.living,
    ) -> None:
        self._driver = driver
        self._devices = devices
        self._freezer = freezer
        self._journal = journal
        self._store = store
        self._preloads = preloads or Preloads()
        self._events = events or EventBus()
        self._deadlines = deadlines or Deadlines()
        self._policy = policy or Policy()
        self._host_bytes = host_bytes
        self._owner = guard.identity()
        self._reservations = Reservations(journal=journal, alive=process_alive)
        self._observer = Observer(
            driver=driver, devices=devices, store=store, journal=journal, deadlines=self._deadlines
        )

    async def observe(self, workload: Workload) -> Observation:
        """What the world shows now. Changes nothing, waits for no swap."""
        sight = await self._observer.look(workload, meter=Meter())
        seen = sight.observation
        unheld = [one for one in seen.cuda if one not in seen.held]

        def read() -> tuple[int, Mapping[ProcessRef, Preload]]:
            return self._host_bytes(seen.processes), self._preloads(unheld)

        host_bytes, preloads = await asyncio.to_thread(read)
        listed = {one: truth.by_process(sight.uses, one.pid) for one in unheld}
        custom = by_custom(preloads, listed=listed, offer=sight.offer)
        way = way_of(
            cuda=seen.cuda,
            held=seen.held,
            custom=custom,
            preloads=preloads,
            listed=listed,
            store=sight.store,
            offer=sight.offer,
        )
        goes = sum(sum(listed[one].values()) for one in custom) if seen.state is State.SEATED else 0
        state = State.STORED if storing.stored(seen) else seen.state
        return replace(seen, state=state, host_bytes=host_bytes, way=way, custom_gpu_bytes=goes)

    async def store(
        self, workload: Workload, *, progress: Progress | None = None, part: storing.Part | None = None
    ) -> Moved:
        """parked -> stored; see `storing.move`. What is stored stays so."""
        return await self._by_the_store(workload, progress, part, to_disk=True)

    async def fetch(
        self, workload: Workload, *, progress: Progress | None = None, part: storing.Part | None = None
    ) -> Moved:
        """stored -> parked. What is parked stays so."""
        return await self._by_the_store(workload, progress, part, to_disk=False)

    async def _by_the_store(
        self, workload: Workload, progress: Progress | None, part: storing.Part | None, *, to_disk: bool
    ) -> Moved:
        with self._guard(workload.container.key, workload.name):
            sight = await self._observer.look(workload, meter=Meter())
            if sight.trouble is not None:
                raise sight.trouble
            return await storing.move(
                sight.observation,
                self._store,
                to_disk=to_disk,
                name=workload.name,
                deadlines=self._deadlines,
                progress=progress,
                part=part,
            )

    async def ahead(self, workload: Workload, *, caps: Mapping[int, int] | None = None) -> None:
        """Begin to bring what is parked in ahead of its swap in; see `hotseat.swap.ahead`. `caps`: as of `swap_in`."""
        if self._store is not None:
            await ahead.begin(
                workload.container,
                store=self._store,
                devices=self._devices,
                journal=self._journal,
                reservations=self._reservations,
                deadlines=self._deadlines,
                caps=caps or {},
            )

    async def none_ahead(self) -> None:
        """What has come ahead of others is given up: somebody is to find that memory free."""
        if self._store is not None:
            await self._store.claim([], alone=True, deadline=self._deadlines.store)

    async def store_room(self) -> StoreRoom | None:
        return await storing.room(self._store, deadlines=self._deadlines)

    async def known(self) -> Sequence[tuple[str, State, str]]:
        return [(record.key, record.state, record.note) for record in self._journal.all()]

    def forget(self, key: str) -> None:
        """Drop what the journal holds of a container that its platform has removed. `Busy` while it swaps."""
        with self._guard(key, key):
            self._journal.forget(key)

    def reports(self, key: str) -> Sequence[SwapReport]:
        """The measured swaps of this container, oldest first: what the next one will cost."""
        return self._journal.reports(key=key)

    def reserved(self) -> Mapping[int, int]:
        """Bytes per device index that are promised to swaps in of any hotseat process now."""
        out: dict[int, int] = {}
        for promise in self._reservations.all():
            out[promise.device] = out.get(promise.device, 0) + promise.nbytes
        return out

    async def recover(self, workload: Workload) -> Observation:
        """Bring a workload whose hotseat died in the middle of a swap to a stable state; otherwise only observe. Drops
        records that the world has overtaken. Call it for every known workload before serving, and after that as you
        like: `swap_out` and `swap_in` begin with the same. `Busy` if a living hotseat swaps it."""
        with self._guard(workload.container.key, workload.name):
            sight = await to_a_stable_end(lambda cancelled: self._recovered(workload, cancelled, Meter()))
        return sight.observation

    async def swap_out(
        self,
        workload: Workload,
        *,
        keep: bool = False,
        drain: Drain | None = None,
        prepare: Prepare | None = None,
        progress: Progress | None = None,
    ) -> SwapReport:
        with self._guard(workload.container.key, workload.name):
            meter = Meter()
            if drain is not None or prepare is not None:
                # A look first: whoever is refused anyway must not lose its clients for the length of a drain.
                sight = await self._observer.look(workload, meter=meter)
                recorded = sight.record is not None
                if (refusal := rules.refuse_out(workload.name, sight.observation, recorded=recorded)) is not None:
                    raise refusal
                if drain is not None and sight.observation.state is State.SEATED:
                    with meter.phase("drain", part="engine"), meter.of("engine"):
                        await drain()
                if prepare is not None and sight.observation.state is State.SEATED:
                    with meter.phase("before_park", part="engine"), meter.of("engine"):
                        await prepare()
            return await to_a_stable_end(lambda cancelled: self._out(workload, meter, progress, cancelled, keep=keep))

    async def swap_in(
        self,
        workload: Workload,
        *,
        caps: Mapping[int, int] | None = None,
        probe: Probe | None = None,
        progress: Progress | None = None,
    ) -> SwapReport:
        with self._guard(workload.container.key, workload.name):
            meter = Meter()
            return await to_a_stable_end(
                lambda cancelled: self._in(workload, meter, progress, cancelled, caps=caps or {}, probe=probe)
            )

    # -- the two directions

    async def _out(
        self, workload: Workload, meter: Meter, progress: Progress | None, cancelled: asyncio.Event, *, keep: bool
    ) -> SwapReport:
        with meter.phase("find"):
            sight = await self._recovered(workload, cancelled, meter)
            seen = sight.observation
            if sight.trouble is not None and seen.state is not State.QUARANTINED:
                raise sight.trouble  # what could not be read must not be taken for what is not there
            if (refusal := rules.refuse_out(workload.name, seen, recorded=sight.record is not None)) is not None:
                raise refusal
            stays = any(seen.kept_gpu_bytes.values())
            if seen.state is State.PARKED and seen.container.status is Status.PAUSED and (keep or not stays):
                return _nothing_to_do(workload, Direction.OUT, seen)
            if seen.state is State.SEATED:
                lent = self._lent(seen)
                if (refusal := rules.refuse_lent(workload.name, seen, lent=lent, store=sight.store)) is not None:
                    raise refusal
                self._journal.forget(seen.container.key)
        scene = self._scene(sight, Direction.OUT)
        if seen.state is State.SEATED:
            await Customs(scene=scene, store=self._store, preloads=self._preloads).choose()
        scene.keep = keep
        scene.giving_up = stays and not keep
        transaction = self._transaction(scene, meter, progress, cancelled)
        if seen.state is State.PARKED and not scene.giving_up:
            return await transaction.run(_finish_what_others_began(scene, State.PARKED) or plan.plan_pause_again())
        if sight.host is not None and scene.cuda and not scene.may_keep:  # else nothing comes to it
            mine = [one for one in seen.held.values() if not one.custom]
            listed = 0 if scene.giving_up else sum(one.bytes - one.made_bytes for one in mine)
            refusal = rules.admit(
                workload.name,
                container=seen.container,
                host=sight.host,
                gpu_bytes=max(0, scene.context_bytes - listed),
                policy=self._policy,
            )
            if refusal is not None:
                raise refusal
        if scene.giving_up:
            return await transaction.run(plan.plan_give_up())
        return await transaction.run(
            plan.plan_out(uses_cuda=bool(scene.cuda), interposed=bool(scene.interposed), custom=scene.offer.works)
        )

    async def _in(
        self,
        workload: Workload,
        meter: Meter,
        progress: Progress | None,
        cancelled: asyncio.Event,
        *,
        caps: Mapping[int, int],
        probe: Probe | None,
    ) -> SwapReport:
        with meter.phase("find"):
            sight = await self._recovered(workload, cancelled, meter)
            seen = sight.observation
            if sight.trouble is not None and seen.state is not State.QUARANTINED:
                raise sight.trouble  # what could not be read must not be taken for what is not there
            silent = sight.record is not None and sight.record.silent_engine
            if not (silent and seen.container.status is Status.RUNNING):
                if (refusal := rules.refuse_in(workload.name, seen, recorded=sight.record is not None)) is not None:
                    raise refusal
                if seen.state is State.SEATED:
                    self._journal.forget(seen.container.key)
                    return _nothing_to_do(workload, Direction.IN, seen)
        scene = self._scene(sight, Direction.IN)
        scene.caps, scene.probe = caps, probe
        transaction = self._transaction(scene, meter, progress, cancelled)
        stores = [*scene.interposed, *scene.custom]
        if stores and seen.state is State.PARKED:
            kept = await states_of_blocks(self._store, stores, deadline=self._deadlines.query)
            scene.held = {process: kept[process] for process in scene.interposed}
            if HeldState.LOST in kept.values():
                raise await transaction.condemn(seen.note)
            if None in kept.values():
                raise silent_store(workload.name)
            if scene.custom and sight.offer.why:
                raise rules.no_custom_storage(workload.name, why=sight.offer.why)
        if silent:
            return await transaction.run(plan.plan_probe())
        if (other := _finish_what_others_began(scene, State.SEATED)) is not None:
            return await transaction.run(other)
        return await transaction.run(
            plan.plan_in(uses_cuda=bool(scene.cuda), probe=probe is not None, interposed=bool(scene.interposed))
        )

    async def _recovered(self, workload: Workload, cancelled: asyncio.Event, meter: Meter) -> Sight:
        """The guard is ours: an unfinished swap in the journal is a dead hotseat's. Finish or undo it, then look."""
        record = self._journal.read(workload.container.key)
        sight = await self._observer.look(workload, meter=meter)
        if record is None:
            return sight
        if sight.record is None:
            self._journal.forget(record.key)  # the world has overtaken it
        elif record.swapping or (record.may_be_whole and sight.observation.container.status in LIVING):
            scene = self._scene(sight, record.direction)
            with suppress(Cancelled):
                await self._transaction(scene, Meter(), None, cancelled).recover(record)
            sight = await self._observer.look(workload, meter=meter)
        return sight

    # -- their parts

    def _lent(self, seen: Observation) -> Collection[ProcessRef]:
        """Its processes that a swap in gave memory of the store to, as the last report says."""
        reports = self._journal.reports(key=seen.container.key)
        came_back = [report for report in reports if report.direction is Direction.IN]
        return came_back[-1].interposed if came_back else ()

    def _guard(self, key: str, name: str) -> AbstractContextManager[None]:
        return guard.only_one(self._journal.locks, key=key, name=name)

    def _scene(self, sight: Sight, direction: Direction) -> Scene:
        """What the swap starts from: what a parked process held is in the journal, a seated one on the devices."""
        record, seen = sight.record, sight.observation
        known = {holding.process: holding for holding in record.holdings} if record is not None else {}
        cuda: dict[ProcessRef, Holding] = {}
        for process in seen.processes:
            if process in known:
                cuda[process] = known[process]
            elif process in sight.restore_threads:
                gpu = truth.by_process(sight.uses, process.pid)
                held = seen.held.get(process)
                blocks: dict[int, int] | None = {} if held is not None and not held.custom else None
                thread = sight.restore_threads[process]
                cuda[process] = Holding(process=process, restore_thread=thread, gpu=gpu, blocks=blocks)
        states: dict[ProcessRef, ProcessState | None] = {process: seen.cuda.get(process) for process in cuda}
        if seen.state is State.PARKED and seen.container.status is Status.PAUSED:
            off = ProcessState.CHECKPOINTED  # the plan reads them as soon as they can answer
            states = {process: ProcessState.LOCKED if one.kept else off for process, one in cuda.items()}
        return Scene(
            workload=sight.workload,
            direction=direction,
            deadlines=self._deadlines,
            policy=self._policy,
            owner=self._owner,
            offer=sight.offer,
            cuda=cuda,
            states=states,
            held={
                process: seen.held[process].state
                for process, holding in cuda.items()
                if holding.interposed and process in seen.held
            },
            uses=sight.uses,
            host=sight.host,
            parked=dict(record.parked) if record is not None else {},
            processes=len(seen.processes),
        )

    def _transaction(
        self, scene: Scene, meter: Meter, progress: Progress | None, cancelled: asyncio.Event
    ) -> Transaction:
        return Transaction(
            scene=scene,
            driver=self._driver,
            devices=self._devices,
            freezer=self._freezer,
            store=self._store,
            journal=self._journal,
            reservations=self._reservations,
            events=self._events,
            meter=meter,
            progress=progress,
            cancelled=cancelled,
            preloads=self._preloads,
        )


def _finish_what_others_began(scene: Scene, goal: State) -> plan.Plan | None:
    """A parked workload some of whose processes someone else restored: the rescue plans act on each by its state."""
    if all(map(scene.off, scene.cuda)):
        return None
    return plan.plan_rescue(direction=scene.direction, goal=goal, paused=False)


def _nothing_to_do(workload: Workload, direction: Direction, seen: Observation) -> SwapReport:
    return SwapReport(
        workload=workload.name,
        direction=direction,
        phases=(),
        gpu_bytes={},
        processes=len(seen.processes),
        cuda_processes=len(seen.cuda),
        threads=0,
        started_at=time.time(),
    )
