"""The store's part of one swap where a process has no interposer: its checkpoint and restore, by custom storage.

To the plan they are the driver's own: the same steps, the same states. Only that the store calls the driver, and that
a process stays CHECKPOINTING or RESTORING in between, for as long as the store's worker has its memory mapped. Without
such processes this does nothing at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace

from hotseat.errors import Busy, HotseatError, Unavailable, VerifyFailed, WorkerDied
from hotseat.gpu.preload import Preload
from hotseat.store.port import HeldState, Moved, Store
from hotseat.swap.lending import LOOK_AGAIN, silent, states
from hotseat.swap.scene import Scene
from hotseat.swap.way import by_custom
from hotseat.words import ProcessRef, ProcessState

MAPPED = (ProcessState.CHECKPOINTING, ProcessState.RESTORING)
HERE = (ProcessState.RUNNING, ProcessState.LOCKED)
Preloads = Callable[[Collection[ProcessRef]], Mapping[ProcessRef, Preload]]


class Customs:
    def __init__(self, *, scene: Scene, store: Store | None, preloads: Preloads) -> None:
        self._scene, self._store, self._preloads = scene, store, preloads

    async def choose(self) -> None:
        """Which processes go this way, by what the devices list for them. One that is to go by the driver after all
        keeps no room at the store."""
        plain = [process for process, holding in self._scene.cuda.items() if not holding.interposed]
        if not self._scene.offer.works or not plain:
            return
        preloads = await asyncio.to_thread(self._preloads, plain)
        before, listed = self._scene.custom, {one: holding.gpu for one, holding in self._scene.cuda.items()}
        chosen = by_custom(preloads, listed=listed, offer=self._scene.offer)
        for process in plain:
            self._scene.cuda[process] = replace(self._scene.cuda[process], custom=process in chosen)
        await self._dismiss([process for process in before if not self._scene.cuda[process].custom])

    async def look(self, *, patience: float = 0.0) -> None:
        """Read what the store has of them, after the driver's states. `patience` as of `Lender.look`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while True:
            away = [one for one in self._scene.custom if self._scene.states.get(one) not in HERE]
            seen = await states(self._store, away, deadline=self._scene.deadlines.query) if away else {}
            self._scene.stowed = {one: self._stowed(one, state) for one, state in seen.items()}
            if None not in self._scene.stowed.values() or loop.time() >= until:
                return
            await asyncio.sleep(LOOK_AGAIN)

    def _stowed(self, process: ProcessRef, state: HeldState | None) -> HeldState | None:
        """Of one whose memory is mapped the store may have more to say: an earlier call, still under way, says it last.
        The next call waits for that, and tells a worker that died from one that works."""
        mapped = self._scene.states.get(process) in MAPPED
        return HeldState.YIELDED if mapped and state is not None else state

    async def check(self) -> None:
        """Of those that the driver calls checkpointed: the store must have what they had."""
        await self.look()
        wrong = sorted((one.pid, state) for one, state in self._scene.stowed.items() if state is not HeldState.OUT)
        if any(state is None for _, state in wrong):
            raise silent(self._scene.workload.name)
        if wrong:
            told = ", ".join(f"that of {pid} is {state}" for pid, state in wrong)
            raise VerifyFailed(f"not all memory is out: {told}", hint="`hotseat store status` tells where it is")

    async def admit(self) -> None:
        """Room in the arena for all that they may bring: once their memory is mapped nothing leads back. `NoRoom` as
        the store says."""
        uuids = {use.device.index: use.device.uuid for use in self._scene.uses}
        wanted = {
            process: {uuids[index]: nbytes for index, nbytes in self._scene.cuda[process].gpu.items()}
            for process in self._scene.custom
        }
        if wanted:
            await self._needed().admit(wanted, deadline=self._scene.deadlines.store)

    async def dismiss(self) -> None:
        await self._dismiss(self._scene.custom)

    async def _dismiss(self, targets: Collection[ProcessRef]) -> None:
        """Best effort: a store that does not answer keeps nothing free for anybody either."""
        if self._store is not None and targets:
            try:
                await self._store.dismiss(list(targets), deadline=self._scene.deadlines.store)
            except HotseatError as error:
                self._scene.notes.append(f"the store may keep room for it until its next swap: {error.message}")

    async def checkpoint(self) -> None:
        """Of those that are locked, or mapped already."""
        targets = self._in(ProcessState.LOCKED, ProcessState.CHECKPOINTING)
        if targets:
            store = self._needed()
            await self._call(targets, store.checkpoint, leaves=ProcessState.CHECKPOINTED)

    async def restore(self) -> None:
        targets = self._in(ProcessState.CHECKPOINTED, ProcessState.RESTORING)
        if targets:
            store = self._needed()
            await self._call(targets, store.restore, leaves=ProcessState.LOCKED)

    async def _call(
        self, targets: list[ProcessRef], call: Callable[..., Awaitable[Moved]], *, leaves: ProcessState
    ) -> None:
        """What an earlier call, or one of a hotseat that died, still works on is waited for. The driver's states are
        unknown from when it starts to when it succeeded."""
        self._scene.states |= dict.fromkeys(targets)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._scene.deadlines.move(self._scene.gpu_bytes)
        while True:
            try:
                await call(targets, deadline=max(until - loop.time(), self._scene.deadlines.store))
            except Busy:
                if loop.time() >= until:
                    raise
                await asyncio.sleep(LOOK_AGAIN)
            except Unavailable as error:
                raise WorkerDied(
                    f"the store ended, or fell silent, while it worked: {error.message}",
                    hint="what was mapped in it is lost; `hotseat store status` tells of the rest",
                ) from error
            else:
                break
        self._scene.states |= dict.fromkeys(targets, leaves)

    def _in(self, *states: ProcessState) -> list[ProcessRef]:
        return [process for process in self._scene.custom if self._scene.states.get(process) in states]

    def _needed(self) -> Store:
        if self._store is None:
            raise silent(self._scene.workload.name)
        return self._store
