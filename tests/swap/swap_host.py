"""The host of a swap's world: containers, the threads of their processes, the platform and the freezer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hotseat.errors import FreezeFailed, NotFound, PlatformFailed, Refused
from hotseat.linux.port import HostMemory, ListProcesses
from hotseat.platforms.port import Container, PlatformEvent, Status
from hotseat.words import ProcessRef

if TYPE_CHECKING:
    from swap_world import World


@dataclass(kw_only=True)
class Box:
    """One container."""

    container: Container
    processes: list[ProcessRef] = field(default_factory=list)
    held: set[ProcessRef] = field(default_factory=set)
    """By ptrace: no thread of them runs but those in `running`."""
    running: set[int] = field(default_factory=set)
    traced: bool = False
    """A debugger has it."""
    threads_each: int = 3
    secrets: dict[ProcessRef, dict[int, int]] = field(default_factory=dict)
    """What each process holds, to be compared later."""
    memory: HostMemory = field(default_factory=lambda: HostMemory(available=1 << 40))
    born_while_freezing: list[dict[int, int]] = field(default_factory=list)
    """CUDA processes that appear one by one each time its threads are being frozen."""


@dataclass(kw_only=True)
class WorldHold:
    world: World
    box: Box
    processes: frozenset[ProcessRef]
    threads: int
    settled: bool
    released: bool = False

    async def settle(self, *, deadline: float) -> None:
        async with self.world.call("settle", error=FreezeFailed("a thread in D state"), deadline=deadline):
            if self.box.container.status is Status.PAUSED:
                await asyncio.sleep(deadline)
                raise FreezeFailed("frozen threads do not stop")
            self.settled = True

    async def let_run(self, tids: Collection[int], *, deadline: float) -> None:
        async with self.world.call("let_run", error=FreezeFailed("cannot continue it"), deadline=deadline):
            if not self.settled:
                self.world.violations.append("let_run before the threads were settled")
            self.box.running |= set(tids)
            self.world.sync(self.box)

    async def release(self) -> None:
        if not self.released:
            self.released = True
            self.box.held.clear()
            self.box.running.clear()
            self.world.sync(self.box)


class WorldFreezer:
    def __init__(self, world: World) -> None:
        self.world = world

    async def seize(self, list_processes: ListProcesses, *, deadline: float, wait: bool = True) -> WorldHold:
        try:
            return await self._seize(list_processes, deadline=deadline, wait=wait)
        except FreezeFailed:
            box = self.world.box_of(list_processes()[0])
            if box is not None:  # the port's promise: all threads were let go by then
                box.held.clear()
                self.world.sync(box)
            raise

    async def _seize(self, list_processes: ListProcesses, *, deadline: float, wait: bool) -> WorldHold:
        async with self.world.call("seize", error=FreezeFailed("a thread in D state"), deadline=deadline):
            box = self.world.box_of(list_processes()[0])
            assert box is not None
            if box.traced:
                raise Refused("traced by gdb (pid 1)", rule="traced", hint="detach it")
            if box.held:
                self.world.violations.append("seized twice")
            if box.born_while_freezing:
                self.world.spawn(box, box.born_while_freezing.pop(0))
            refs = frozenset(list_processes())
            box.held |= refs
            self.world.sync(box)
            threads = len(refs) * box.threads_each
            return WorldHold(world=self.world, box=box, processes=refs, threads=threads, settled=wait)

    async def aclose(self) -> None:
        pass


class WorldPlatform:
    name = "double"

    def __init__(self, world: World) -> None:
        self.world = world

    def _box(self, ref: str) -> Box:
        for box in self.world.boxes.values():
            if ref in (box.container.id, box.container.name):
                return box
        raise NotFound(f"no container {ref}")

    async def list(self) -> Sequence[Container]:
        return [box.container for box in self.world.boxes.values()]

    async def inspect(self, ref: str) -> Container:
        async with self.world.call("inspect", error=PlatformFailed("the daemon is busy")):
            return self._box(ref).container

    async def pids(self, container: Container) -> Sequence[ProcessRef]:
        return self.read_pids(container)

    def read_pids(self, container: Container) -> Sequence[ProcessRef]:
        return sorted(self._box(container.id).processes)

    async def start(self, container: Container) -> Container:
        return self.world.restart(self._box(container.id))

    async def stop(self, container: Container, *, grace: float) -> None:
        self.world.exit(self._box(container.id))

    async def kill(self, container: Container) -> None:
        async with self.world.call("kill", error=PlatformFailed("cannot kill")):
            self.world.exit(self._box(container.id))

    async def pause(self, container: Container) -> None:
        async with self.world.call("pause", error=PlatformFailed("cannot pause")):
            self.world.set_status(self._box(container.id), Status.PAUSED)

    async def unpause(self, container: Container) -> None:
        async with self.world.call("unpause", error=PlatformFailed("cannot unpause")):
            self.world.set_status(self._box(container.id), Status.RUNNING)

    async def memory(self, container: Container) -> HostMemory:
        return self._box(container.id).memory

    async def logs(self, container: Container, *, tail: int = 100) -> str:
        return ""

    async def events(self) -> AsyncIterator[PlatformEvent]:
        raise NotImplementedError
        yield

    async def aclose(self) -> None:
        pass
