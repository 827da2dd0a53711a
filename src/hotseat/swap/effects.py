"""The meaning of each `Do`: what a step does to the world, over the ports. One `Effects` serves one swap."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from hotseat.config.units import format_size
from hotseat.errors import (
    DriverTimeout,
    FreezeFailed,
    HotseatError,
    PlatformFailed,
    ProcessGone,
    VerifyFailed,
    WorkerDied,
)
from hotseat.gpu.port import CheckpointDriver, DeviceTruth, Outcome
from hotseat.linux.port import ThreadFreezer
from hotseat.platforms.port import Status
from hotseat.store.port import HeldState, Store
from hotseat.swap import rules, truth
from hotseat.swap.custom import Customs, Preloads
from hotseat.swap.lending import OFF, ON, ON_OR_OFF, ON_OR_RUNNING, Lender
from hotseat.swap.meter import Meter
from hotseat.swap.plan import Do
from hotseat.swap.records import Holding
from hotseat.swap.room import Room
from hotseat.swap.scene import Scene
from hotseat.words import ProcessRef, ProcessState

LOOKS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Seconds between two looks at a device that releases late; the last one again and again."""


class Effects:
    def __init__(
        self,
        *,
        scene: Scene,
        driver: CheckpointDriver,
        devices: DeviceTruth,
        freezer: ThreadFreezer,
        store: Store | None,
        room: Room,
        meter: Meter,
        preloads: Preloads,
    ) -> None:
        self.scene = scene
        self._driver = driver
        self._devices = devices
        self._freezer = freezer
        self._room = room
        self._meter = meter
        self.lender = Lender(scene=scene, store=store, meter=meter)
        self.customs = Customs(scene=scene, store=store, preloads=preloads)
        self._doing: dict[Do, Callable[[], Awaitable[None]]] = {
            Do.LOCK: self._lock,
            Do.UNLOCK: self._unlock,
            Do.FREEZE: self._freeze,
            Do.LET_GO: self._let_go,
            Do.CATCH_UP: self._catch_up,
            Do.CHECKPOINT: self._checkpoint,
            Do.CONFIRM_RELEASE: self._confirm_release,
            Do.PAUSE: self._pause,
            Do.UNPAUSE: self._unpause,
            Do.RESERVE: self._reserve,
            Do.GIVE_BACK: self._give_back,
            Do.HOLD: self._hold,
            Do.SETTLE: self._settle,
            Do.RESTORE: self._restore,
            Do.TAKE: self.lender.take,
            Do.GIVE: self.lender.give,
            Do.ADMIT: self.customs.admit,
            Do.DISMISS: self.customs.dismiss,
            Do.WEIGH: self._weigh_taken,
            Do.PROBE: self._probe,
            Do.LOOK: self._look_at_all,
            Do.CHECK_LOCKED: lambda: self._check(ProcessState.LOCKED, blocks=ON),
            Do.CHECK_CHECKPOINTED: lambda: self._check(ProcessState.CHECKPOINTED, blocks=OFF),
            Do.CHECK_RUNNING: lambda: self._check(ProcessState.RUNNING, blocks=ON_OR_RUNNING),
            Do.CHECK_NONE_RUNNING: lambda: self._check(
                ProcessState.LOCKED, ProcessState.CHECKPOINTED, ProcessState.CHECKPOINTING, blocks=ON_OR_OFF
            ),
            Do.CHECK_NONE_CHECKPOINTED: lambda: self._check(
                ProcessState.LOCKED, ProcessState.RUNNING, blocks=ON_OR_RUNNING
            ),
            Do.CHECK_PAUSED: self._check_paused,
            Do.CHECK_NO_CUDA: self._check_no_cuda,
        }

    async def perform(self, do: Do) -> None:
        await self._doing[do]()

    # -- the driver

    async def look(self, *, patience: float = 0.0) -> None:
        """Read every state anew. Reading is safe, so a call that hung or was lost is made once more; processes that
        ended meanwhile are dropped. `patience`: seconds for the driver to finish what it may still be at, during which
        it does not answer; by default what a question may take."""
        for attempt in range(3):
            if not self.scene.cuda:
                return
            try:
                with self._meter.of("driver"):
                    deadline = max(patience, self.scene.deadlines.query)
                    seen = await self._driver.states(list(self.scene.cuda), deadline=deadline)
            except ProcessGone:
                self._drop_the_dead()
                if attempt == 2:
                    raise
            except (DriverTimeout, WorkerDied):
                if attempt:
                    raise
                patience = 0.0
            else:
                self.scene.states = {process: seen.get(process) for process in self.scene.cuda}
                self.scene.keeps(self.scene.in_state(ProcessState.CHECKPOINTED), False)  # whatever was meant
                return

    def _drop_the_dead(self) -> None:
        living = set(self._list())
        for process in list(self.scene.cuda):
            if process not in living:
                self.scene.drop(process)
                self.scene.notes.append(f"its CUDA process {process.pid} ended meanwhile")

    async def _look_at_all(self) -> None:
        await self.look()
        await self.lender.look()
        await self.customs.look()

    async def _check(self, *expected: ProcessState, blocks: Sequence[HeldState]) -> None:
        await self.lender.check(*blocks)
        await self.look()
        allowed = set(expected)
        wrong = sorted(
            (process.pid, state)
            for process, state in self.scene.states.items()
            if state not in allowed and not (ProcessState.CHECKPOINTED in allowed and self.scene.off(process))
        )
        if wrong:
            wanted = " or ".join(state.name for state in expected)
            told = ", ".join(f"{pid} is {'silent' if state is None else state.name}" for pid, state in wrong)
            raise VerifyFailed(
                f"the driver said yes, but not all CUDA processes are {wanted}: {told}",
                hint="`hotseat doctor` checks the driver and its library path",
            )
        if allowed == {ProcessState.CHECKPOINTED}:
            await self.customs.check()

    async def _call(
        self, targets: Sequence[ProcessRef], call: Awaitable[Sequence[Outcome]], *, leaves: ProcessState
    ) -> None:
        """One driver call on `targets`. Their states are unknown from when it starts to when it succeeded."""
        self.scene.states |= dict.fromkeys(targets)
        with self._meter.of("driver"):
            await call
        self.scene.states |= dict.fromkeys(targets, leaves)

    async def _lock(self) -> None:
        targets = self.scene.in_state(ProcessState.RUNNING)
        if not targets:
            return
        if self.scene.hold is not None:
            await self._let_go()  # a frozen process cannot be locked (FACTS.md)
        lock = self._driver.lock(targets, timeout=self.scene.deadlines.lock)
        await self._call(targets, lock, leaves=ProcessState.LOCKED)

    async def _unlock(self) -> None:
        """Also an undo: then not all states are known, and whatever was locked is unlocked."""
        if None in self.scene.states.values():
            await self.look()
        targets = self.scene.in_state(ProcessState.LOCKED)
        if targets:
            unlock = self._driver.unlock(targets, deadline=self.scene.deadlines.unlock)
            await self._call(targets, unlock, leaves=ProcessState.RUNNING)

    async def _checkpoint(self) -> None:
        locked = self.scene.in_state(ProcessState.LOCKED)
        self.lender.must_be_taken(locked)
        targets = [process for process in locked if self.scene.giving_up or not self.scene.cuda[process].kept]
        targets = [process for process in targets if not self.scene.cuda[process].custom]

        async def checkpoint() -> None:
            if targets:
                call = self._driver.checkpoint(targets, deadline=self.scene.deadlines.move(self.scene.gpu_bytes))
                await self._call(targets, call, leaves=ProcessState.CHECKPOINTED)

        await self._beside(checkpoint(), self.customs.checkpoint(), self.lender.move_out())

    async def _restore(self) -> None:
        parked = self.scene.in_state(ProcessState.CHECKPOINTED)
        targets = [process for process in parked if not self.scene.cuda[process].custom]
        await self._room.reserve_lost(self.scene, self._off_device())
        self._room.must_cover(self.scene, self._off_device())

        async def restore() -> None:
            if targets:
                call = self._driver.restore(targets, deadline=self.scene.deadlines.move(self.scene.gpu_bytes))
                await self._call(targets, call, leaves=ProcessState.LOCKED)

        async def move() -> None:
            # In the store's name, so that others would count it twice until this swap ends: as used, and as promised.
            self._room.arrived(self.scene, await self.lender.move_in())

        await self._beside(restore(), self.customs.restore(), move())

    def _off_device(self) -> list[ProcessRef]:
        """Those of whom a part is to come back: what the driver has, or what the store has."""
        parked = self.scene.in_state(ProcessState.CHECKPOINTED)
        off = {*parked, *self.scene.blocks_in(HeldState.OUT), *self.scene.left}
        return [process for process in self.scene.cuda if process in off]

    async def _beside(self, driver: Coroutine[Any, Any, None], *store: Coroutine[Any, Any, None]) -> None:
        """All at once, each to its own end, for none can be called back. Of several errors the first counts, the
        driver's before all: after it less is possible. What the store needs beyond the driver is the store's time."""
        moving = [asyncio.create_task(one) for one in store]
        try:
            await driver
        finally:
            if not all(one.done() for one in moving):
                with self._meter.of("store"):
                    await asyncio.wait(moving)
            errors = [one.exception() for one in moving if not one.cancelled()]
        for error in errors:
            if error is not None:
                raise error

    async def _check_no_cuda(self) -> None:
        """Once frozen, nothing can start to use CUDA any more."""
        await self._check_paused()
        with self._meter.of("driver"):
            found = await self._driver.find_cuda(self._list(), deadline=self.scene.deadlines.query)
        if found:
            raise VerifyFailed(
                f"process {min(found).pid} began to use CUDA while it was being paused", hint="try again"
            )

    # -- the threads

    def _list(self) -> Sequence[ProcessRef]:
        return self.scene.workload.platform.read_pids(self.scene.workload.container)

    async def _freeze(self) -> None:
        if self.scene.hold is not None:
            return
        self.scene.hold = await self._freezer.seize(self._list, deadline=self.scene.deadlines.freeze)
        await self._only_restore_threads()

    async def _hold(self) -> None:
        self.scene.hold = await self._freezer.seize(self._list, deadline=self.scene.deadlines.freeze, wait=False)

    async def _settle(self) -> None:
        if self.scene.hold is None:
            raise RuntimeError("settle without a hold")
        await self.scene.hold.settle(deadline=self.scene.deadlines.freeze)
        await self._only_restore_threads()

    async def _only_restore_threads(self) -> None:
        hold = self.scene.hold
        if hold is None:
            raise RuntimeError("no hold")
        self.scene.threads, self.scene.processes = hold.threads, len(hold.processes)
        gone = [process.pid for process in self.scene.cuda if process not in hold.processes]
        if gone:
            raise ProcessGone(f"CUDA process {gone[0]} ended while the threads were being frozen", pids=gone)
        if self.scene.cuda:
            await hold.let_run(self.scene.restore_threads, deadline=self.scene.deadlines.freeze)

    async def _let_go(self) -> None:
        hold, self.scene.hold = self.scene.hold, None
        if hold is not None:
            await hold.release()

    async def _catch_up(self) -> None:
        """With every thread frozen nothing can change any more: find CUDA processes that came since the first look, and
        read what the devices say in the very state that will be moved."""
        for _ in range(self.scene.policy.newcomer_rounds):
            if self.scene.hold is None:
                raise RuntimeError("catch up without a hold")
            strangers = sorted(self.scene.hold.processes - self.scene.cuda.keys())
            with self._meter.of("driver"):
                found = (
                    await self._driver.find_cuda(strangers, deadline=self.scene.deadlines.query) if strangers else {}
                )
            if not found:
                await self._weigh()
                return
            # All over again: a rank cannot be locked once another of its communicator was locked by an earlier call.
            await self._let_go()
            await self._unlock()
            held = await self.lender.held(found)
            for process, thread in found.items():
                blocks: dict[int, int] | None = {} if process in held else None
                self.scene.cuda[process] = Holding(process=process, restore_thread=thread, blocks=blocks)
            await self.look()
            await self.lender.take()
            await self._lock()
            await self._check(ProcessState.LOCKED, blocks=ON)
            await self._freeze()
        raise FreezeFailed(
            f"new CUDA processes appeared in each of {self.scene.policy.newcomer_rounds} rounds",
            hint="wait until the engine has started all its workers, then try again",
        )

    async def _weigh(self) -> None:
        """What each process holds on each device now, what of it stays, and whether the host can take the rest."""
        self.scene.uses = await self._devices.use()
        self.scene.cuda = {
            process: replace(holding, gpu=self.lender.context(process, truth.by_process(self.scene.uses, process.pid)))
            for process, holding in self.scene.cuda.items()
        }
        self.scene.keeps(self.scene.cuda, self.scene.may_keep)
        await self.customs.choose()  # anew, as the admission: by the figures that it will go with
        await self.customs.admit()
        if self.scene.host is not None and not self.scene.may_keep:
            refusal = rules.admit(
                self.scene.workload.name,
                container=self.scene.workload.container,
                host=self.scene.host,
                gpu_bytes=self.scene.context_bytes,
                policy=self.scene.policy,
            )
            if refusal is not None:
                raise refusal

    # -- the devices

    async def _confirm_release(self) -> None:
        """Off every device's list but for contexts that stay, and the totals fell; late release is waited for,
        strangers are allowed for. Blocks are in the store's name by then: it said that they are out, and the next swap
        in asks the device itself."""
        kept = self.scene.kept
        loop = asyncio.get_running_loop()
        until = loop.time() + self.scene.deadlines.release
        attempt = 0
        while True:
            after = await self._devices.use()
            listed, short = truth.unreleased(before=self.scene.uses, after=after, pids=self.scene.pids, kept=kept)
            if not listed and not short:
                break
            if loop.time() >= until:
                self._judge_release(listed, short, strangers={u.device.index for u in after if u.processes})
                break
            with self._meter.of("wait"):
                await asyncio.sleep(LOOKS[min(attempt, len(LOOKS) - 1)])
            attempt += 1
        if self.scene.uses:
            mine = truth.held(self.scene.uses, self.scene.pids)
            drop = truth.added(truth.dropped(self.scene.uses, after, self.scene.pids), kept)
            parked = truth.to_find_free(held=mine, dropped=drop, processes=len(self.scene.cuda))
            moved = {index: nbytes or max(0, drop.get(index, 0)) for index, nbytes in mine.items()}
            blocks = truth.less(self.scene.blocks, truth.less(mine, self.scene.contexts))  # listed in its name, or not
            self.scene.parked = truth.added(parked, blocks)
            left = moved if self.scene.giving_up else truth.added(moved, blocks)  # then the blocks left earlier
            self.scene.moved = truth.less(left, kept)

    def _judge_release(self, listed: dict[int, int], short: dict[int, int], *, strangers: set[int]) -> None:
        hint = "look with `nvidia-smi`; `hotseat doctor` checks the driver and its library path"
        for index, nbytes in listed.items():
            raise VerifyFailed(
                f"checkpointed, yet device {index} still lists its processes with {format_size(nbytes)}", hint=hint
            )
        for index, nbytes in short.items():
            told = f"device {index} reports {format_size(nbytes)} less freed than the workload held"
            if index not in strangers:
                raise VerifyFailed(f"checkpointed, yet {told} and no other process is on it", hint=hint)
            self.scene.notes.append(f"{told}; another process on it may have taken that meanwhile")

    async def _weigh_taken(self) -> None:
        """For the report alone, so a device that does not answer now costs only the figure."""
        try:
            seen = truth.held(await self._devices.use(), self.scene.pids)
            self.scene.moved = truth.less(truth.added(seen, self.scene.blocks), self.scene.kept)
        except HotseatError as error:
            self.scene.notes.append(f"device memory was not measured: {error.message}")

    async def _reserve(self) -> None:
        await self._room.reserve(self.scene, self._off_device())

    async def _give_back(self) -> None:
        self._room.give_back(self.scene)

    # -- the platform and the engine

    async def _pause(self) -> None:
        container, platform = self.scene.workload.container, self.scene.workload.platform
        await self._platform(platform.pause(container), "pause")

    async def _unpause(self) -> None:
        container, platform = self.scene.workload.container, self.scene.workload.platform
        await self._platform(platform.unpause(container), "unpause")

    async def _check_paused(self) -> None:
        """The platform must call it paused. Threads that a signal stops take a moment for it once they are let go."""
        container, platform = self.scene.workload.container, self.scene.workload.platform
        loop = asyncio.get_running_loop()
        until = loop.time() + self.scene.deadlines.query
        with self._meter.of("platform"):
            for attempt in itertools.count():
                now = await platform.inspect(container.id)
                if now.status is Status.PAUSED and now.started_at == container.started_at:
                    return
                if now.status is not Status.RUNNING or loop.time() >= until:
                    break
                await asyncio.sleep(LOOKS[min(attempt, len(LOOKS) - 1)])
        raise VerifyFailed(
            f"{platform.name} said it paused {container.name}, but calls it {now.status}",
            hint=f"look with `hotseat ps`; something else may unpause {container.name}",
        )

    async def _platform(self, call: Awaitable[None], what: str) -> None:
        with self._meter.of("platform"):
            try:
                async with asyncio.timeout(self.scene.deadlines.pause):
                    await call
            except TimeoutError as error:
                name = self.scene.workload.platform.name
                raise PlatformFailed(
                    f"{name} did not {what} {self.scene.workload.name} within {self.scene.deadlines.pause:g} s",
                    hint=f"check that {name} answers",
                ) from error

    async def _probe(self) -> None:
        if self.scene.probe is not None:
            with self._meter.of("engine"):
                await self.scene.probe()

    async def abandon(self) -> None:
        """Whatever happened: no thread stays held by us, and nothing that came ahead is claimed for nothing."""
        await self._room.disclaim(self.scene)
        try:
            await self._let_go()
        except HotseatError:
            self.scene.hold = None
