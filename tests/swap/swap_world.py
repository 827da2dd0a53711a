"""A whole host in memory for tests of the swap: containers, threads and devices that know of each other.

The driver and the devices are `hotseat.testing.gpu.FakeGpu`, as unforgiving as the real ones. `swap_host` adds the
platform and the freezer, `swap_devices` lets the three disagree with a swap that does things in the wrong order:
whatever would hang, deadlock or lose memory on a real host is written to `World.violations`, which every test expects
to be empty. Faults come from `World.strikes` (`swap_strikes`).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from swap_devices import WorldGpu, WorldStore
from swap_host import Box, WorldFreezer, WorldPlatform
from swap_strikes import Call, Strike

from hotseat.errors import HotseatError, PlatformFailed
from hotseat.events import EventBus
from hotseat.gpu.preload import Preload
from hotseat.platforms.port import Container, Status
from hotseat.store.port import HeldState
from hotseat.swap.journal import Journal
from hotseat.swap.policy import Policy
from hotseat.swap.port import Deadlines, Workload
from hotseat.swap.swapper import ContainerSwapper
from hotseat.words import ProcessRef, ProcessState

MIB = 1 << 20
FIRST_PID = 10_000_000
"""Above any pid_max, so that no test can meet a real process."""
DEADLINES = Deadlines(lock=2, freeze=2, move_floor=20, move_bytes_per_second=1e9, room=3, release=3, pause=4, query=1)


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

    def call(self, name: str, *, error: HotseatError, deadline: float = 1000.0) -> Call:
        return Call(world=self, name=name, error=error, deadline=deadline)

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
