"""A whole host in memory for tests of the swap: containers, threads and devices that know of each other.

The driver and the devices are `hotseat.testing.gpu.FakeGpu`, as unforgiving as the real ones. This module adds the
platform and the freezer, and lets the three disagree with a swap that does things in the wrong order: whatever would
hang, deadlock or lose memory on a real host is written to `World.violations`, which every test expects to be empty.

Faults come from `World.strike`: before or after the effect of the Nth call of a name, fail, hang, be killed, or cancel.
"""

from __future__ import annotations

import asyncio
import enum
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from hotseat.errors import DriverFailed, FreezeFailed, HotseatError, NotFound, PlatformFailed, Refused, Unavailable
from hotseat.events import EventBus
from hotseat.gpu.answers import Answers
from hotseat.gpu.preload import Preload
from hotseat.linux.port import HostMemory, ListProcesses
from hotseat.platforms.port import Container, PlatformEvent, Status
from hotseat.store.port import Held, HeldState, Moved
from hotseat.store.port import Status as StoreStatus
from hotseat.swap.journal import Journal
from hotseat.swap.policy import Policy
from hotseat.swap.port import Deadlines, Workload
from hotseat.swap.swapper import ContainerSwapper
from hotseat.testing.gpu import FakeGpu
from hotseat.testing.store import FakeStore
from hotseat.words import DeviceUse, ProcessRef, ProcessState

MIB = 1 << 20
FIRST_PID = 10_000_000
"""Above any pid_max, so that no test can meet a real process."""
DEADLINES = Deadlines(lock=2, freeze=2, move_floor=20, move_bytes_per_second=1e9, room=3, release=3, pause=4, query=1)


class HotseatDied(BaseException):
    """kill -9 of hotseat at this point: nothing of it may catch this."""


class What(enum.StrEnum):
    FAIL = "fail"
    FAIL_AFTER = "fail after"
    """It has happened, yet the call says no."""
    HANG = "hang"
    DIE = "die"
    """hotseat is killed before the call."""
    DIE_AFTER = "die after"
    CANCEL = "cancel"
    """The caller of the swap is cancelled just before the call."""


@dataclass(kw_only=True)
class Strike:
    call: str
    what: What
    skip: int = 0
    times: int = 1


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

    def _call(self, name: str, deadline: float) -> _Call:
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

    async def move_in(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        for ref in processes:
            box = self.world.box_of(ref)
            promised = self.world.promised(box.container.key) if box is not None else {}
            for device, nbytes in self.kept[ref].blocks.items() if ref in self.kept else ():
                if promised.get(device, 0) < nbytes:
                    self.world.violations.append(f"move in of {ref.pid} without a reservation: {promised}")
        async with self._call("move_in", deadline):
            return await super().move_in(processes, deadline=deadline)

    async def give(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        self._rule("give", processes)
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


class World:
    def __init__(self, *, state_dir: Path, devices: Sequence[int] = (1000 * MIB, 1000 * MIB)) -> None:
        self.state_dir = state_dir
        self.boxes: dict[str, Box] = {}
        self.gpu = WorldGpu(self, devices=devices)
        self.store = WorldStore(self)
        self.freezer = WorldFreezer(self)
        self.platform = WorldPlatform(self)
        self.strikes: list[Strike] = []
        self.violations: list[str] = []
        self.calls: list[str] = []
        self.caller: asyncio.Task[object] | None = None
        self.events = EventBus()
        self.journal = Journal(directory=state_dir)
        self.patience_was_tried = False
        """The platform was silent for longer than a swap waits for it."""
        self.keeps = False
        """Its swaps out leave contexts where they are, if they can."""
        self._next_pid = FIRST_PID
        self._clock = 1.0

    # -- what a test builds

    def swapper(self, *, policy: Policy | None = None) -> ContainerSwapper:
        """A hotseat process that has just started."""
        return ContainerSwapper(
            driver=self.gpu,
            devices=self.gpu,
            freezer=self.freezer,
            store=self.store if self.store.kept or self.store.custom_storage else None,
            preloads=self._preloads,
            journal=self.journal,
            events=self.events,
            deadlines=DEADLINES,
            policy=policy or Policy(),
            host_bytes=lambda processes: len(processes) * MIB,
            process_alive=lambda process: self.box_of(process) is not None,
        )

    def container(self, name: str, *cuda: Mapping[int, int], others: int = 1) -> Workload:
        """A running container with one CUDA process per argument (device -> bytes) and some that use none."""
        container = Container(
            platform="double",
            id=f"id-{name}",
            name=name,
            image="i",
            status=Status.RUNNING,
            pid=1,
            started_at=self._tick(),
        )
        box = self.boxes[name] = Box(container=container)
        for _ in range(others):
            box.processes.append(self._ref())
        for holds in cuda:
            self.spawn(box, holds)
        return self.workload(name)

    def spawn(self, box: Box, holds: Mapping[int, int]) -> ProcessRef:
        ref = self.gpu.start(self._ref(), holds, group=box.container.name)
        box.processes.append(ref)
        box.secrets[ref] = dict(holds)
        return ref

    def interpose(self, name: str, *blocks: Mapping[int, int] | None) -> Workload:
        """The Nth CUDA process of `name` has these blocks, through the interposer; None: it is not interposed."""
        for ref, one in zip(list(self.boxes[name].secrets), blocks, strict=False):
            if one is not None:
                self.store.interpose(ref, one)
        return self.workload(name)

    def _preloads(self, processes: Collection[ProcessRef]) -> Mapping[ProcessRef, Preload]:
        interposed = {ref for ref, kept in self.store.kept.items() if not kept.custom}
        return {one: Preload(loaded=one in interposed, store=True) for one in processes}

    def workload(self, name: str) -> Workload:
        return Workload(name=name, container=self.boxes[name].container, platform=self.platform)

    # -- what happens to the world

    def sync(self, box: Box) -> None:
        """Which of its processes the driver can talk to."""
        for ref in box.processes:
            if ref in self.gpu.processes:
                stuck = box.container.status is Status.PAUSED or (ref in box.held and ref.pid not in box.running)
                (self.gpu.freeze if stuck else self.gpu.thaw)(ref)

    def set_status(self, box: Box, status: Status) -> None:
        if box.container.status is Status.EXITED:
            raise PlatformFailed(f"{box.container.name} does not run")
        box.container = replace(box.container, status=status)
        self.sync(box)

    def exit(self, box: Box) -> None:
        for ref in list(box.processes):
            self.gpu.end(ref)
        box.processes, box.held, box.running = [], set(), set()
        box.container = replace(box.container, status=Status.EXITED, pid=None, exit_code=137)

    def restart(self, box: Box) -> Container:
        self.exit(box)
        box.secrets.clear()
        box.container = replace(box.container, status=Status.RUNNING, pid=1, started_at=self._tick(), exit_code=None)
        box.processes.append(self._ref())
        return box.container

    def hotseat_dies(self) -> None:
        """The journal now speaks of a process that is gone; the kernel has let go of its ptrace holds."""
        db = sqlite3.connect(self.state_dir / "journal.db")
        with db:
            db.execute("UPDATE workloads SET owner = 'gone:1:1' WHERE owner != ''")
            db.execute("UPDATE reservations SET owner = 'gone:1:1'")
        db.close()
        for box in self.boxes.values():
            box.held.clear()
            box.running.clear()
            self.sync(box)

    @contextmanager
    def _struck(self, name: str) -> Iterator[Strike | None]:
        hit = None
        for strike in self.strikes:
            if strike.call == name and strike.times:
                if strike.skip:
                    strike.skip -= 1
                    continue
                strike.times -= 1
                hit = strike
                break
        yield hit

    def call(self, name: str, *, error: HotseatError, deadline: float = 1000.0) -> _Call:
        return _Call(world=self, name=name, error=error, deadline=deadline)

    # -- what a test reads

    def box_of(self, ref: ProcessRef) -> Box | None:
        return next((box for box in self.boxes.values() if ref in box.processes), None)

    def promised(self, key: str | None = None) -> dict[int, int]:
        db = sqlite3.connect(self.state_dir / "journal.db")
        rows = db.execute("SELECT key, device, bytes FROM reservations").fetchall()
        db.close()
        return {device: nbytes for one, device, nbytes in rows if key in (None, one)}

    def states(self, name: str) -> set[ProcessState]:
        box = self.boxes[name]
        return {self.gpu.processes[ref].state for ref in box.processes if ref in self.gpu.processes}

    def on_device(self, name: str) -> bool:
        return any(self.gpu.processes[ref].on_device for ref in self.boxes[name].processes if ref in self.gpu.processes)

    def runs(self, name: str) -> bool:
        """Every thread runs and every CUDA process works with the very memory it had."""
        box = self.boxes[name]
        return box.container.status is Status.RUNNING and not box.held and self._working(box)

    def _working(self, box: Box) -> bool:
        for ref, holds in box.secrets.items():
            process = self.gpu.processes.get(ref)
            if ref not in box.processes:
                continue  # it was killed by the test
            if process is None or process.state is not ProcessState.RUNNING or not process.on_device or process.lost:
                return False
            kept = self.store.kept.get(ref)
            if kept is not None and kept.state is not HeldState.RUNNING:
                return False
            local = kept.blocks if kept is not None and not kept.lent and not kept.custom else {}
            if {i: n - local.get(i, 0) for i, n in process.holds.items() if n - local.get(i, 0)} != holds:
                return False
        return True

    def is_parked(self, name: str) -> bool:
        """Frozen for good, off the GPU, whole."""
        box = self.boxes[name]
        processes = [self.gpu.processes[ref] for ref in box.secrets if ref in self.gpu.processes]
        return (
            box.container.status is Status.PAUSED
            and not box.held
            and all(
                kept.state is HeldState.OUT or (kept.state is HeldState.RUNNING and not kept.lent)
                for ref, kept in self.store.kept.items()
                if ref in box.secrets
            )
            and all(one.state is ProcessState.CHECKPOINTED and not one.on_device and not one.lost for one in processes)
        )

    def is_parked_with_context(self, name: str) -> bool:
        """Frozen for good, its blocks with the store; its contexts are on the devices, locked."""
        box = self.boxes[name]
        out = [kept.state is HeldState.OUT for ref, kept in self.store.kept.items() if ref in box.secrets]
        held = {ref: self.gpu.processes[ref] for ref in box.secrets if ref in self.gpu.processes}
        return (
            box.container.status is Status.PAUSED
            and not box.held
            and len(out) == len(held)
            and all(out)
            and all(one.state is ProcessState.LOCKED and one.holds == box.secrets[ref] for ref, one in held.items())
        )

    def _ref(self) -> ProcessRef:
        self._next_pid += 1
        return ProcessRef(self._next_pid, self._next_pid)

    def _tick(self) -> float:
        self._clock += 1
        return self._clock


@dataclass(kw_only=True)
class _Call:
    """One call on a port, with the fault that a test wants for it."""

    world: World
    name: str
    error: HotseatError
    deadline: float
    strike: Strike | None = None

    async def __aenter__(self) -> None:
        world = self.world
        world.calls.append(self.name)
        with world._struck(self.name) as strike:
            self.strike = strike
        await asyncio.sleep(0)
        match strike and strike.what:
            case What.DIE:
                raise HotseatDied
            case What.FAIL:
                raise self.error
            case What.HANG:
                world.patience_was_tried |= self.name == "inspect"
                await asyncio.sleep(self.deadline)
                raise self.error
            case What.CANCEL:
                assert world.caller is not None
                world.caller.cancel()
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    async def __aexit__(self, *exc: object) -> None:
        if exc[0] is None and self.strike is not None:
            if self.strike.what is What.FAIL_AFTER:
                raise self.error
            if self.strike.what is What.DIE_AFTER:
                raise HotseatDied
