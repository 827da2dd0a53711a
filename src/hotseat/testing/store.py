"""A snapshot store in memory, beside `FakeGpu`: blocks move between a process, the store's name on a device, the arena.

As unforgiving as the real one: a process that is frozen or locked cannot hand over or take back its blocks, a device
or an arena without room refuses, what a dead store has lost stays lost. By custom storage a process whose memory is
mapped stays so until its copy is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hotseat.errors import DriverFailed, DriverTimeout, NoRoom, NotFound, ProcessGone, Refused, Unavailable
from hotseat.store.port import TURNED_OFF, Held, HeldState, Moved, Status
from hotseat.testing.gpu import FakeGpu, Process
from hotseat.words import ProcessRef, ProcessState

KEEPER = ProcessRef(9_999_999, 1)
"""The store's own process, as the devices list it."""


@dataclass(kw_only=True)
class Kept:
    """One interposed process, or one that goes by custom storage. `blocks`: device index -> bytes."""

    blocks: dict[int, int]
    state: HeldState = HeldState.RUNNING
    lent: bool = False
    """Its blocks are in the store's name, also while it runs."""
    custom: bool = False
    promised: int = 0
    """Of a custom one that runs: bytes of the arena that are kept free for it."""
    stored: bool = False
    progress: float | None = None
    connected: bool = True
    ahead: dict[int, int] | None = None
    """Out, and coming in ahead of its `move_in`: what has come. None: nobody asked for that."""
    leave: dict[str, int] = field(default_factory=dict)
    """Bytes by device UUID that stay free beside that."""
    claimed: bool = False
    left: dict[int, int] = field(default_factory=dict)
    """Yielded, with a part of it off the devices."""
    note: str = ""

    @property
    def bytes(self) -> int:
        return sum(self.blocks.values())


@dataclass(kw_only=True)
class FakeStore:
    """`hotseat.store.port.Store`. Attributes are public: a test may read and change them between calls."""

    gpu: FakeGpu
    arena: int = 1 << 40
    disk: int | None = None
    """Bytes that may be spilled; None: it has no disk."""
    disk_seconds: float = 0.0
    """What a spill or a fetch takes; it tells ten times how far it is."""
    running: bool = True
    custom_storage: bool = False
    halves: int = 0
    """So many moves out fail when half of the blocks' bytes have left."""
    kept: dict[ProcessRef, Kept] = field(default_factory=dict)
    parked: set[ProcessRef] = field(default_factory=set)
    """Of the custom ones: those whose memory is in the arena."""
    closed: bool = False

    def __post_init__(self) -> None:
        self.gpu.processes[KEEPER] = Process(ref=KEEPER, cuda=False)

    # What a test does to the world

    def interpose(self, ref: ProcessRef, blocks: Mapping[int, int]) -> None:
        """A process of the double has allocated `blocks` through the interposer."""
        for device, nbytes in blocks.items():
            self.gpu.allocate(ref, device, nbytes)
        self.kept[ref] = Kept(blocks=dict(blocks))

    def lose(self) -> None:
        """It died and its arena with it; another was started. What runs has its memory."""
        for kept in self.kept.values():
            if kept.state in (HeldState.YIELDED, HeldState.OUT):
                if kept.state is HeldState.YIELDED and not kept.custom:
                    self._keep(kept, sign=-1)
                kept.state, kept.note = HeldState.LOST, "the store died with its arena"

    def worker_dies(self) -> None:
        """And another takes over what is out: with it goes what it had mapped, and whom it kept room for."""
        for ref, kept in list(self.kept.items()):
            if kept.custom and kept.state is HeldState.YIELDED and ref not in self.parked:
                del self.kept[ref]
            elif kept.custom and kept.state is HeldState.YIELDED:
                kept.state = HeldState.OUT
            kept.promised = 0

    def end(self, ref: ProcessRef) -> None:
        kept = self.kept.pop(ref, None)
        self.parked.discard(ref)
        if kept is not None:
            self._give_up(kept)
        if (
            kept is not None
            and not kept.custom
            and (kept.state is HeldState.YIELDED or (kept.lent and kept.state is HeldState.RUNNING))
        ):
            self._keep(kept, sign=-1)

    # Store

    async def held(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        if not self.running:
            return {}
        return {ref: self._held(self.kept[ref]) for ref in processes if ref in self.kept and self._shown(ref)}

    async def take(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        chosen = self._chosen(processes, HeldState.RUNNING, HeldState.YIELDED)
        used = self._used(HeldState.YIELDED, HeldState.OUT)
        lacking = used + sum(one.bytes for one in chosen.values() if one.state is HeldState.RUNNING) - self.arena
        if lacking > 0:
            raise NoRoom(f"the arena lacks {lacking} bytes", rule="host memory", hint="a larger arena", lacking=lacking)
        for ref in chosen:
            self._must_answer(ref)
        for ref, kept in chosen.items():
            if kept.state is HeldState.RUNNING and not kept.lent:
                for device, nbytes in kept.blocks.items():
                    self.gpu.allocate(ref, device, -nbytes)
                self._keep(kept, sign=1)
            kept.state = HeldState.YIELDED
        return {ref: self._held(kept) for ref, kept in chosen.items()}

    async def move_out(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        chosen = self._chosen(processes, HeldState.YIELDED, HeldState.OUT)
        total = 0
        for kept in chosen.values():
            if kept.state is HeldState.YIELDED and self.halves:
                more = {device: (nbytes - kept.left.get(device, 0)) // 2 for device, nbytes in kept.blocks.items()}
                self._leave(kept, more)
            elif kept.state is HeldState.YIELDED:
                total += kept.bytes
                self._keep(kept, sign=-1)
                kept.state, kept.left = HeldState.OUT, {}
        self._come_ahead()
        if self.halves:
            self.halves -= 1
            raise DriverFailed("a copy failed when half had left")
        return Moved(total=total, copied=total)

    async def move_in(
        self, processes: Sequence[ProcessRef], *, ahead: Mapping[str, int] | None = None, deadline: float
    ) -> Moved:
        chosen = list(self._chosen(processes, HeldState.OUT, HeldState.YIELDED).values())
        for uuid, nbytes in (ahead or {}).items():
            if sum(self._held(kept).ahead_bytes.get(uuid, 0) for kept in chosen) < nbytes:
                raise NoRoom("what had come ahead is not there any more", rule="device memory")
        coming = [kept for kept in chosen if kept.state is HeldState.OUT]
        self._come_back([kept for kept in chosen if kept.left])
        for kept in coming:
            self._give_up(kept)
        for device in range(len(self.gpu.capacity)):
            lacking = sum(kept.blocks.get(device, 0) for kept in coming) - self.gpu.free(device)
            if lacking > 0:
                raise NoRoom(f"device {device} lacks {lacking} bytes", rule="device memory", hint="park something")
        for kept in coming:
            self._keep(kept, sign=1)
            kept.state = HeldState.YIELDED
        total = sum(kept.bytes for kept in coming)
        return Moved(total=total, copied=total)

    async def ahead(
        self, processes: Sequence[ProcessRef], *, leave: Mapping[str, int] | None = None, deadline: float
    ) -> None:
        for kept in self._chosen(processes, *HeldState).values():
            if kept.state is HeldState.OUT and kept.ahead is None:
                kept.ahead, kept.leave = {}, dict(leave or {})
        self._come_ahead()

    async def claim(
        self, processes: Sequence[ProcessRef], *, alone: bool, deadline: float
    ) -> Mapping[ProcessRef, Held]:
        if not self.running:
            return {}
        for ref, kept in self.kept.items():
            if ref in processes:
                kept.claimed = kept.ahead is not None and deadline > 0
            elif alone and not kept.claimed:
                self._give_up(kept)
        return await self.held(processes, deadline=deadline)

    async def give(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        chosen = self._chosen(processes, HeldState.YIELDED, HeldState.RUNNING)
        for ref, kept in chosen.items():
            if kept.state is HeldState.YIELDED:
                self._must_answer(ref)
                self._come_back([kept])
                kept.state, kept.lent, kept.stored = HeldState.RUNNING, True, False
        return {ref: self._held(kept) for ref, kept in chosen.items()}

    async def admit(self, processes: Mapping[ProcessRef, Mapping[str, int]], *, deadline: float) -> None:
        self._works()
        for ref in processes:
            if (kept := self.kept.get(ref)) is not None and not kept.custom:
                raise Refused(f"process {ref.pid} is interposed", rule="store")
            self.kept.setdefault(ref, Kept(blocks={}, custom=True)).promised = 0
            self._perhaps_back(ref)
        self._chosen(list(processes), HeldState.RUNNING)
        coming = {ref: sum(sizes.values()) for ref, sizes in processes.items()}
        lacking = self._used(HeldState.YIELDED, HeldState.OUT) + sum(coming.values()) - self.arena
        if lacking > 0:
            raise NoRoom(f"the arena lacks {lacking} bytes", rule="host memory", hint="a larger arena", lacking=lacking)
        for ref, nbytes in coming.items():
            self.kept[ref].promised = nbytes

    async def dismiss(self, processes: Sequence[ProcessRef], *, deadline: float) -> None:
        for ref in self._chosen([ref for ref in processes if ref in self.kept], *HeldState):
            self._perhaps_back(ref)
            self.kept[ref].promised = 0

    async def checkpoint(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        self._works()
        total = 0
        for ref, kept in self._chosen(processes, HeldState.RUNNING, HeldState.YIELDED, HeldState.OUT).items():
            process = self._custom(ref, deadline)
            if kept.state is HeldState.OUT and process.state is ProcessState.CHECKPOINTED:
                continue
            if kept.state is not HeldState.YIELDED:
                self._expect(process, ProcessState.LOCKED)
                process.state, kept.state = ProcessState.CHECKPOINTING, HeldState.YIELDED
                kept.blocks = dict(process.holds)
            if ref not in self.parked:
                await self._copy("out", deadline)
                self.parked.add(ref)
            self.gpu.leave(ref)
            process.state, kept.state, kept.promised = ProcessState.CHECKPOINTED, HeldState.OUT, 0
            total += kept.bytes
        return Moved(total=total, copied=total)

    async def restore(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        self._works()
        total = 0
        for ref, kept in self._chosen(processes, HeldState.OUT, HeldState.YIELDED).items():
            process = self._custom(ref, deadline)
            if process.state not in (ProcessState.LOCKED, ProcessState.RUNNING):
                if kept.state is not HeldState.YIELDED:
                    self._expect(process, ProcessState.CHECKPOINTED)
                    if not self.gpu.come_back(ref):
                        raise DriverFailed("cuCheckpointProcessRestore: out of memory", result=2)
                    process.state, kept.state = ProcessState.RESTORING, HeldState.YIELDED
                await self._copy("in", deadline)
                process.state = ProcessState.LOCKED
                total += kept.bytes
            self._perhaps_back(ref)
        return Moved(total=total, copied=total)

    async def localise(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        chosen = self._chosen(processes, HeldState.RUNNING)
        for ref, kept in chosen.items():
            if kept.lent:
                self._must_answer(ref)
                self._keep(kept, sign=-1)
                kept.lent = False
                for device, nbytes in kept.blocks.items():
                    self.gpu.allocate(ref, device, nbytes)
        return {ref: self._held(kept) for ref, kept in chosen.items()}

    async def spill(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        chosen = self._chosen(processes, HeldState.OUT)
        if self.disk is None:
            raise Refused("this store spills nothing to disk", rule="disk", hint="give it a directory")
        coming = sum(kept.bytes for kept in chosen.values() if not kept.stored)
        if coming > self.disk - sum(kept.bytes for kept in self.kept.values() if kept.stored):
            raise NoRoom(f"the disk has no room for {coming} bytes", rule="disk", hint="make room there")
        await self._take_time(list(chosen.values()))
        for kept in chosen.values():
            kept.stored = True
        return Moved(total=coming, copied=coming, disk=coming)

    async def fetch(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        chosen = self._chosen(processes, HeldState.OUT)
        coming = sum(kept.bytes for kept in chosen.values() if kept.stored)
        if coming > self.arena - self._used(HeldState.YIELDED, HeldState.OUT):
            raise NoRoom(f"the arena lacks room for {coming} bytes", rule="host memory", hint="a larger arena")
        await self._take_time(list(chosen.values()))
        for kept in chosen.values():
            kept.stored = False
        return Moved(total=coming, copied=coming, disk=coming)

    async def forget(self, process: ProcessRef, *, deadline: float) -> None:
        self._chosen([process], *HeldState)
        self.end(process)

    async def status(self, *, deadline: float) -> Status:
        if not self.running:
            return Status(running=False, note="no store runs")
        used = self._used(HeldState.OUT)
        processes = {ref: self._held(kept) for ref, kept in self.kept.items() if self._shown(ref)}
        return Status(running=True, arena=self.arena, ready=self.arena, used=used, worker=KEEPER.pid, starts=1,
                      custom_storage=self.custom_storage, no_custom_storage="" if self.custom_storage else TURNED_OFF,
                      processes=processes)  # fmt: skip

    async def aclose(self) -> None:
        self.closed = True

    # Within

    def _chosen(self, processes: Sequence[ProcessRef], *states: HeldState) -> dict[ProcessRef, Kept]:
        if not self.running:
            raise Unavailable("no store answers", hint="start it")
        for ref in processes:
            if ref not in self.kept:
                raise NotFound(f"the store does not hold process {ref.pid}")
            if self.kept[ref].state not in states:
                raise Refused(f"process {ref.pid} is {self.kept[ref].state}", rule="store")
        return {ref: self.kept[ref] for ref in processes}

    async def _copy(self, direction: str, deadline: float) -> None:
        """The middle of a checkpoint ("out") or restore ("in") by custom storage, for a test to break."""

    def _works(self) -> None:
        if not self.running:
            raise Unavailable("no store answers", hint="start it")
        if not self.custom_storage:
            raise Refused(f"no custom storage: {TURNED_OFF}", rule="custom storage")

    def _custom(self, ref: ProcessRef, deadline: float) -> Process:
        process = self.gpu.processes.get(ref)
        if process is None:
            raise ProcessGone(f"process {ref.pid} ended", pid=ref.pid)
        if not self.kept[ref].custom:
            raise Refused(f"process {ref.pid} is interposed", rule="store")
        if not process.thawed.is_set():
            raise DriverTimeout(f"process {ref.pid} does not answer: it is frozen")
        return process

    def _expect(self, process: Process, state: ProcessState) -> None:
        if process.state is not state:
            raise Refused(f"process {process.ref.pid} is {process.state.name}, not {state.name}", rule="store")

    def _perhaps_back(self, ref: ProcessRef) -> None:
        kept, process = self.kept[ref], self.gpu.processes.get(ref)
        here = process is not None and process.state in (ProcessState.LOCKED, ProcessState.RUNNING)
        if kept.custom and here and kept.state in (HeldState.OUT, HeldState.YIELDED):
            kept.state, kept.stored = HeldState.RUNNING, False
            self.parked.discard(ref)

    def _come_ahead(self) -> None:
        """Into what is free now."""
        for kept in self.kept.values():
            for device, nbytes in kept.blocks.items() if kept.ahead is not None else ():
                assert kept.ahead is not None
                free = self.gpu.free(device) - kept.leave.get(f"GPU-double-{device}", 0)
                more = max(0, min(nbytes - kept.ahead.get(device, 0), free))
                self.gpu.allocate(KEEPER, device, more)
                kept.ahead[device] = kept.ahead.get(device, 0) + more

    def _give_up(self, kept: Kept) -> None:
        """What has come ahead of it."""
        for device, nbytes in (kept.ahead or {}).items():
            self.gpu.allocate(KEEPER, device, -nbytes)
        kept.ahead, kept.claimed = None, False

    def _shown(self, ref: ProcessRef) -> bool:
        return not (self.kept[ref].custom and self.kept[ref].state is HeldState.RUNNING)

    def _must_answer(self, ref: ProcessRef) -> None:
        """Its own thread has to call the driver."""
        process = self.gpu.processes[ref]
        if process.state is not ProcessState.RUNNING or not process.thawed.is_set():
            raise DriverTimeout(f"process {ref.pid} does not answer: it is frozen or {process.state.name}")

    async def _take_time(self, several: Sequence[Kept]) -> None:
        for tenths in range(10 if self.disk_seconds else 0):
            for kept in several:
                kept.progress = tenths / 10
            await asyncio.sleep(self.disk_seconds / 10)
        for kept in several:
            kept.progress = None

    def _keep(self, kept: Kept, *, sign: int) -> None:
        for device, nbytes in kept.blocks.items():
            self.gpu.allocate(KEEPER, device, sign * (nbytes - kept.left.get(device, 0)))

    def _leave(self, kept: Kept, nbytes: Mapping[int, int]) -> None:
        """So much of it leaves the devices, by device."""
        for device, some in nbytes.items():
            self.gpu.allocate(KEEPER, device, -some)
            kept.left[device] = kept.left.get(device, 0) + some

    def _come_back(self, several: Sequence[Kept]) -> None:
        """What of them has left before the rest; what has come ahead of others makes way."""
        for other in self.kept.values() if any(kept.left for kept in several) else ():
            if not other.claimed:
                self._give_up(other)
        for kept in several:
            if any(self.gpu.free(device) < nbytes for device, nbytes in kept.left.items()):
                raise NoRoom("a device lacks room for what has left", rule="device memory", hint="park something")
            self._leave(kept, {device: -nbytes for device, nbytes in kept.left.items()})
            kept.left = {}

    def _used(self, *states: HeldState) -> int:
        held = sum(kept.bytes for kept in self.kept.values() if kept.state in states and not kept.stored)
        return held + sum(kept.promised for kept in self.kept.values())

    def _held(self, kept: Kept) -> Held:
        known = kept.lent or kept.state is not HeldState.RUNNING
        uuids = {f"GPU-double-{device}": nbytes for device, nbytes in kept.blocks.items()}
        return Held(
            state=kept.state,
            blocks=len(kept.blocks),
            bytes=kept.bytes,
            device_bytes=uuids if known else {},
            lent_bytes=kept.bytes if kept.lent and kept.state is HeldState.RUNNING else 0,
            made_bytes=kept.bytes if kept.lent and kept.state is HeldState.RUNNING else 0,
            parked_bytes=kept.bytes if kept.state is HeldState.OUT and not kept.stored else 0,
            stored=kept.stored,
            disk_bytes=kept.bytes if kept.stored else 0,
            progress=kept.progress,
            ahead_bytes={f"GPU-double-{device}": nbytes for device, nbytes in (kept.ahead or {}).items()},
            left_bytes={f"GPU-double-{device}": nbytes for device, nbytes in kept.left.items()},
            custom=kept.custom,
            connected=kept.connected,
            note=kept.note,
        )
