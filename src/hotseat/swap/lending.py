"""The store's part of one swap's steps: the blocks of its interposed processes. Without such it does nothing at all."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from hotseat.errors import HotseatError, Unavailable, VerifyFailed
from hotseat.store.port import Held, HeldState, Store
from hotseat.swap.meter import Meter
from hotseat.swap.scene import Scene
from hotseat.swap.truth import added
from hotseat.words import DeviceUse, ProcessRef

LOOK_AGAIN = 0.1
"""Seconds between two questions to a store that does not answer."""
OFF = (HeldState.OUT,)
ON = (HeldState.YIELDED,)
ON_OR_RUNNING = (HeldState.YIELDED, HeldState.RUNNING)
ON_OR_OFF = (HeldState.YIELDED, HeldState.OUT)


class Lender:
    def __init__(self, *, scene: Scene, store: Store | None, meter: Meter) -> None:
        self._scene = scene
        self._store = store
        self._meter = meter
        self._listed_twice: dict[ProcessRef, Mapping[int, int]] = {}

    async def look(self, *, patience: float = 0.0) -> None:
        """Read where the blocks are. `patience`: seconds that a store which died may take to come back; after them the
        processes that it does not tell of stand with None."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while targets := self._scene.interposed:
            held, self._scene.held = await look_up(self._store, targets, deadline=self._scene.deadlines.query)
            self._scene.left = {process: one.left_bytes for process, one in held.items() if one.left_bytes}
            here = ahead_of(held)
            self._scene.ahead = {uuid: min(n, here.get(uuid, 0)) for uuid, n in self._scene.ahead.items()}
            if None not in self._scene.held.values() or loop.time() >= until:
                return
            await asyncio.sleep(LOOK_AGAIN)

    async def check(self, *expected: HeldState) -> None:
        """`Unavailable` if the store does not say, `VerifyFailed` if it says something else."""
        await self.look()
        wrong = sorted((process.pid, state) for process, state in self._scene.held.items() if state not in expected)
        if any(state is None for _, state in wrong):
            raise silent(self._scene.workload.name)
        if wrong:
            told = ", ".join(f"those of {pid} are {state}" for pid, state in wrong)
            raise VerifyFailed(
                f"not all blocks are {' or '.join(expected)}: {told}",
                hint="`hotseat store status` tells where they are",
            )

    async def held(self, processes: Collection[ProcessRef]) -> Mapping[ProcessRef, Held]:
        """Those of `processes` that the store holds."""
        if self._store is None:
            return {}
        return await self._store.held(list(processes), deadline=self._scene.deadlines.query)

    def context(self, process: ProcessRef, listed: Mapping[int, int]) -> dict[int, int]:
        """Of what a device lists for a process that was taken: its context. Blocks that it made itself may stand in its
        name until they are freed; where its figure did not fall by them, they still do. A figure may come out too
        large (blocks on several devices of which some are lent), never too small."""
        before, own = self._scene.cuda[process].gpu, self._listed_twice.get(process, {})
        still = {
            index: n
            for index, n in own.items()
            if listed.get(index, 0) >= n and listed.get(index, 0) > before.get(index, 1 << 62) - n // 2
        }
        return {index: max(0, n - still.get(index, 0)) for index, n in listed.items()}

    async def take(self) -> None:
        """Those that are taken already stay so."""
        targets = [p for p in self._scene.interposed if self._scene.held.get(p) in (None, HeldState.RUNNING)]
        if not targets:
            return
        store = self._needed()
        made = {process: held.made_bytes for process, held in (await self.held(targets)).items()}
        self._scene.held |= dict.fromkeys(targets)
        taken = await store.take(targets, deadline=self._scene.deadlines.store)
        self._scene.held |= {process: taken[process].state if process in taken else None for process in targets}
        for process, held in taken.items():
            blocks = by_index(held.device_bytes, self._scene.uses)
            self._listed_twice[process] = {index: max(0, n - made.get(process, n)) for index, n in blocks.items()}
            self._scene.cuda[process] = replace(self._scene.cuda[process], blocks=blocks)
        await self.check(*ON_OR_OFF)

    async def give(self) -> None:
        """Also an undo: then it is not known which are taken, and those that run are left as they are."""
        await self.look()
        targets = self._scene.blocks_in(HeldState.YIELDED)
        if targets:
            store = self._needed()
            self._scene.held |= dict.fromkeys(targets)
            await store.give(targets, deadline=self._scene.deadlines.store)
        await self.check(HeldState.RUNNING)

    def must_be_taken(self, processes: Collection[ProcessRef]) -> None:
        """The last line of defence: a process that is checkpointed with lent memory mapped is lost (FACTS.md)."""
        for process in processes:
            holding = self._scene.cuda[process]
            if holding.interposed and self._scene.held.get(process) not in ON_OR_OFF:
                raise VerifyFailed(
                    f"process {process.pid} has not handed its blocks to the store, so its checkpoint was not tried",
                    hint="try again; if it comes again, please report it",
                )

    async def move_out(self) -> None:
        if targets := self._scene.blocks_in(HeldState.YIELDED):
            await self._needed().move_out(targets, deadline=self._deadline(targets))

    async def move_in(self) -> Mapping[int, int]:
        """Also of those of which a part had left. Bytes by device index that are there now, but for these."""
        out = self._scene.blocks_in(HeldState.OUT)
        if not (targets := [*out, *self._scene.left]):
            return {}
        await self._needed().move_in(targets, ahead=self._scene.ahead, deadline=self._deadline(targets))
        self._scene.held |= dict.fromkeys(targets, HeldState.YIELDED)
        arrived: Mapping[int, int] = {}
        for process in out:
            arrived = added(arrived, self._scene.cuda[process].blocks or {})
        return arrived

    def _deadline(self, targets: Collection[ProcessRef]) -> float:
        return self._scene.deadlines.move(sum(sum((self._scene.cuda[one].blocks or {}).values()) for one in targets))

    def _needed(self) -> Store:
        if self._store is None:
            raise silent(self._scene.workload.name)
        return self._store


def silent(name: str) -> Unavailable:
    return Unavailable(
        f"the store does not answer, and it has memory of {name}",
        rule="store",
        hint="start it (hotseat store run --arena SIZE); "
        f"once it answers, the next command for {name} goes on from there",
    )


def by_index(device_bytes: Mapping[str, int], uses: Collection[DeviceUse]) -> dict[int, int]:
    """Bytes by device index of bytes by UUID. `VerifyFailed` for a device that NVML does not list."""
    index = {use.device.uuid: use.device.index for use in uses}
    for uuid in device_bytes:
        if uuid not in index:
            raise VerifyFailed(
                f"the store has blocks on device {uuid}, which NVML does not list",
                hint="the store and hotseat must see the same GPUs: look at their environments",
            )
    return {index[uuid]: nbytes for uuid, nbytes in device_bytes.items()}


async def states(
    store: Store | None, processes: Collection[ProcessRef], *, deadline: float
) -> dict[ProcessRef, HeldState | None]:
    """Of processes that were interposed. None: no store answers. A store that runs and knows one not has lost it."""
    return (await look_up(store, processes, deadline=deadline))[1]


async def look_up(
    store: Store | None, processes: Collection[ProcessRef], *, deadline: float
) -> tuple[Mapping[ProcessRef, Held], dict[ProcessRef, HeldState | None]]:
    """What the store says of them, and `states` of that."""
    if store is None:
        return {}, dict.fromkeys(processes)
    try:
        held = await store.held(list(processes), deadline=deadline)
        running = len(held) == len(processes) or (await store.status(deadline=deadline)).running
    except HotseatError:
        return {}, dict.fromkeys(processes)
    unknown = HeldState.LOST if running else None
    return held, {process: held[process].state if process in held else unknown for process in processes}


def ahead_of(held: Mapping[ProcessRef, Held]) -> dict[str, int]:
    """Bytes by device UUID that have come ahead of all of them."""
    return summed([one.ahead_bytes for one in held.values()])


def summed(several: Iterable[Mapping[str, int]]) -> dict[str, int]:
    out: dict[str, int] = {}
    for one in several:
        for uuid, nbytes in one.items():
            out[uuid] = out.get(uuid, 0) + nbytes
    return out
