"""The driver and the store of a swap's world, and rules that take more than one process, or more than the driver, to
break: who breaks one would hang, deadlock or lose memory on a real host."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from swap_strikes import Call

from hotseat.errors import DriverFailed, HotseatError, Unavailable
from hotseat.gpu.answers import Answers
from hotseat.platforms.port import Status
from hotseat.store.port import Held, HeldState, Moved
from hotseat.store.port import Status as StoreStatus
from hotseat.testing.gpu import FakeGpu
from hotseat.testing.store import FakeStore
from hotseat.words import DeviceUse, ProcessRef, ProcessState

if TYPE_CHECKING:
    from swap_world import World


class WorldGpu(FakeGpu):
    """Adds the rules that take more than one process or more than the driver to break."""

    def __init__(self, world: World, *, devices: Sequence[int]) -> None:
        super().__init__(devices=devices)
        self.world = world

    def end(self, ref: ProcessRef) -> None:
        super().end(ref)
        box = self.world.box_of(ref)
        self.world.store.end(ref)
        if box is not None:
            box.processes.remove(ref)
            box.held.discard(ref)

    async def use(self) -> tuple[DeviceUse, ...]:
        async with self.world.call("use", error=DriverFailed("NVML says no")):
            return await super().use()

    async def _call(self, op: str, processes: Collection[ProcessRef], *, deadline: float) -> Answers:  # type: ignore[override]
        for ref in processes:
            self.rules(op, ref)
        async with self.world.call(op, error=DriverFailed(f"{op} says no", result=999)):
            if op in ("lock", "restore"):
                self.world.store.grow()
            return await super()._call(op, processes, deadline=deadline)

    def rules(self, op: str, ref: ProcessRef, *, by_store: bool = False) -> None:
        box = self.world.box_of(ref)
        if box is None or op == "find" or ref not in self.processes:
            return
        broke = self.world.violations.append
        if box.container.status is Status.PAUSED:
            broke(f"{op} on {ref.pid} while its cgroup is frozen: it hangs")
        if ref in box.held and (op == "lock" or ref.pid not in box.running):
            broke(f"{op} on {ref.pid} while its threads are held: it hangs")
        peers = [
            self.processes[one].state for one in box.processes if one in self.processes and self.processes[one].cuda
        ]
        kept = self.world.store.kept.get(ref)
        if op == "checkpoint":
            if ProcessState.RUNNING in peers:
                broke(f"checkpoint of {ref.pid} before all were locked: it deadlocks")
            if kept is not None and kept.lent and kept.state is HeldState.RUNNING:
                broke(f"checkpoint of {ref.pid} while lent memory is mapped: it is lost")
            if set(box.processes) - box.held:
                broke(f"checkpoint of {ref.pid} while threads run")
        if op == "unlock" and ProcessState.CHECKPOINTED in peers:
            broke(f"unlock of {ref.pid} before all were restored: it deadlocks")
        elsewhere = kept is not None and kept.custom and kept.state is not HeldState.RUNNING
        if op in ("checkpoint", "restore") and elsewhere and not by_store:
            broke(f"{op} of {ref.pid} by the driver, and the store has its memory: it is lost")
        if op == "restore" and self.processes[ref].state is ProcessState.CHECKPOINTED:
            promised = self.world.promised(box.container.key)
            for device, nbytes in self.processes[ref].holds.items():
                if promised.get(device, 0) < nbytes:
                    broke(f"restore of {ref.pid} without a reservation: {promised}")


class WorldStore(FakeStore):
    def __init__(self, world: World) -> None:
        super().__init__(gpu=world.gpu)
        self.gpu: WorldGpu = world.gpu
        self.world = world
        self.slow = False
        """Nothing comes ahead but before the next call that would suffer from it."""

    def grow(self) -> None:
        """What comes ahead does so at any time, and above all at the worst."""
        super()._come_ahead()

    def _come_ahead(self) -> None:
        if not self.slow:
            self.grow()

    def _call(self, name: str, deadline: float) -> Call:
        error: HotseatError = DriverFailed(f"{name} says no", result=999)
        return self.world.call(name, error=Unavailable("silent") if name == "held" else error, deadline=deadline)

    def _rule(self, name: str, processes: Sequence[ProcessRef]) -> None:
        for ref in processes:
            box, process = self.world.box_of(ref), self.gpu.processes.get(ref)
            if box is not None and process is not None:
                calm = ref not in box.held and box.container.status is Status.RUNNING
                if not calm or process.state is not ProcessState.RUNNING:
                    self.world.violations.append(f"{name} of {ref.pid} while it cannot answer")

    async def held(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        async with self._call("held", deadline):
            return await super().held(processes, deadline=deadline)

    async def status(self, *, deadline: float) -> StoreStatus:
        return await super().status(deadline=deadline)

    async def take(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        self._rule("take", processes)
        async with self._call("take", deadline):
            return await super().take(processes, deadline=deadline)

    async def move_out(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        async with self._call("move_out", deadline):
            return await super().move_out(processes, deadline=deadline)

    async def move_in(
        self, processes: Sequence[ProcessRef], *, ahead: Mapping[str, int] | None = None, deadline: float
    ) -> Moved:
        there = [one.ahead or {} for ref in processes if (one := self.kept.get(ref)) is not None]
        lost = sum(sum(one.values()) for one in there) < sum((ahead or {}).values())
        for ref in processes if not lost else ():  # else it refuses
            box = self.world.box_of(ref)
            promised = self.world.promised(box.container.key) if box is not None else {}
            for device, nbytes in self.kept[ref].blocks.items() if ref in self.kept else ():
                kept = self.kept[ref]
                here = (kept.ahead or {}).get(device, 0)
                if kept.state is HeldState.YIELDED:
                    here = nbytes - kept.left.get(device, 0)
                elif here and not kept.claimed:
                    self.world.violations.append(f"move in of {ref.pid}: what came ahead was not claimed")
                if promised.get(device, 0) < nbytes - here:
                    self.world.violations.append(f"move in of {ref.pid} without a reservation: {promised}")
        async with self._call("move_in", deadline):
            return await super().move_in(processes, ahead=ahead, deadline=deadline)

    async def ahead(
        self, processes: Sequence[ProcessRef], *, leave: Mapping[str, int] | None = None, deadline: float
    ) -> None:
        async with self._call("ahead", deadline):
            await super().ahead(processes, leave=leave, deadline=deadline)

    async def claim(
        self, processes: Sequence[ProcessRef], *, alone: bool, deadline: float
    ) -> Mapping[ProcessRef, Held]:
        async with self._call("claim", deadline or 1000.0):
            return await super().claim(processes, alone=alone, deadline=deadline)

    async def give(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        self._rule("give", processes)
        for ref in processes:
            if ref in self.kept and self.kept[ref].left:
                self.world.violations.append(f"give of {ref.pid} of which a part has left: its room was not reserved")
        async with self._call("give", deadline):
            return await super().give(processes, deadline=deadline)

    async def admit(self, processes: Mapping[ProcessRef, Mapping[str, int]], *, deadline: float) -> None:
        async with self._call("admit", deadline):
            await super().admit(processes, deadline=deadline)

    async def dismiss(self, processes: Sequence[ProcessRef], *, deadline: float) -> None:
        async with self._call("dismiss", deadline):
            await super().dismiss(processes, deadline=deadline)

    async def checkpoint(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        for ref in processes:
            self.gpu.rules("checkpoint", ref, by_store=True)
        async with self._call("custom_checkpoint", deadline):
            return await super().checkpoint(processes, deadline=deadline)

    async def restore(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        for ref in processes:
            self.gpu.rules("restore", ref, by_store=True)
        async with self._call("custom_restore", deadline):
            return await super().restore(processes, deadline=deadline)

    async def _copy(self, direction: str, deadline: float) -> None:
        async with self._call(f"copy_{direction}", deadline):
            pass
