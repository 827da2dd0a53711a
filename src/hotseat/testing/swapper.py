"""A double of `Swapper` and `DeviceTruth` over `FakePlatform`: swaps take as long as a test says, and fail on demand.

It keeps the books of device memory and writes what a scheduler must never do to `violations`: more seated than fits,
two swaps of one workload at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hotseat.errors import HotseatError, NoRoom
from hotseat.platforms.port import Container, Status
from hotseat.swap.port import Drain, Observation, Prepare, Probe, Progress, Workload
from hotseat.testing.platforms import FakePlatform
from hotseat.words import Device, DeviceUse, Direction, PhaseTime, State, SwapReport


@dataclass(slots=True)
class FakeSwapper:
    sizes: dict[int, int]
    """Device index -> bytes."""
    memory: dict[str, dict[int, int]]
    """Container name -> what it holds when seated."""
    platforms: Sequence[FakePlatform]
    frozen: Callable[[str, bool], None] = lambda name, frozen: None
    """Called as (container name, frozen or not) when a swap freezes or thaws it."""
    foreign: dict[int, int] = field(default_factory=dict)
    fail: dict[tuple[str, Direction], HotseatError] = field(default_factory=dict)
    """The next swap of this container in this direction fails so, before its commit."""
    ruin: dict[str, str] = field(default_factory=dict)
    """The next swap in of this container quarantines it with this reason."""
    hold: dict[Direction, asyncio.Event] = field(default_factory=dict)
    """A swap in this direction waits for it."""
    begun: list[tuple[str, Direction]] = field(default_factory=list)
    done: list[tuple[str, Direction]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    parked: dict[str, float] = field(default_factory=dict)
    """Container key -> start of the incarnation that is parked."""
    lost: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Container key -> the same, and why it is quarantined."""
    unfinished: dict[str, Direction] = field(default_factory=dict)
    """Container name -> the swap that a hotseat which died had begun."""
    busy: set[str] = field(default_factory=set)

    # Swapper

    async def observe(self, workload: Workload) -> Observation:
        container = await workload.platform.inspect(workload.container.id)
        state, note = self._state(container)
        runs = container.status in (Status.RUNNING, Status.PAUSED)
        need = self.memory.get(container.name, {})
        return Observation(
            state=state,
            container=container,
            processes=tuple(workload.platform.read_pids(container)) if runs else (),
            cuda={},
            gpu_bytes=need if self._on_device(container) else {},
            parked_gpu_bytes=need if state is State.PARKED else {},
            host_bytes=1000 if runs else 0,
            note=note,
        )

    async def swap_out(
        self,
        workload: Workload,
        *,
        keep: bool = False,
        drain: Drain | None = None,
        prepare: Prepare | None = None,
        progress: Progress | None = None,
    ) -> SwapReport:
        if drain is not None:
            await drain()
        if prepare is not None and workload.container.key not in self.parked:
            await prepare()
        container = await self._begin(workload, Direction.OUT, progress)
        try:
            if container.key not in self.parked:
                await workload.platform.pause(container)
                self.parked[container.key] = container.started_at
                self.frozen(container.name, True)
            return self._end(workload, Direction.OUT, progress)
        finally:
            self.busy.discard(container.key)

    async def swap_in(
        self,
        workload: Workload,
        *,
        caps: Mapping[int, int] | None = None,
        probe: Probe | None = None,
        progress: Progress | None = None,
    ) -> SwapReport:
        container = await self._begin(workload, Direction.IN, progress)
        try:
            if container.name in self.ruin:
                reason = self.ruin.pop(container.name)
                self.lost[container.key] = (container.started_at, reason)
                raise HotseatError(reason)
            need = self.memory.get(container.name, {})
            for index, nbytes in need.items():
                room = min(self.sizes[index], (caps or {}).get(index, self.sizes[index]))
                if self._used(index) + nbytes > room:
                    self.violations.append(f"no room for {container.name} on device {index}")
                    raise NoRoom(f"no room for {container.name}", rule="device memory")
            self.parked.pop(container.key, None)
            self.frozen(container.name, False)
            await workload.platform.unpause(container)
            if probe is not None:
                await probe()
            return self._end(workload, Direction.IN, progress)
        finally:
            self.busy.discard(container.key)

    async def known(self) -> Sequence[tuple[str, State, str]]:
        return [(key, State.PARKED, "") for key in self.parked]

    async def recover(self, workload: Workload) -> Observation:
        self.unfinished.pop(workload.container.name, None)
        return await self.observe(workload)

    # DeviceTruth

    async def devices(self) -> tuple[Device, ...]:
        return tuple(self._device(index) for index in self.sizes)

    async def use(self) -> tuple[DeviceUse, ...]:
        out = []
        for index, size in self.sizes.items():
            held = {
                container.pid: self.memory.get(container.name, {}).get(index, 0)
                for container in self._containers()
                if container.pid is not None and self._on_device(container)
            }
            used = sum(held.values()) + self.foreign.get(index, 0)
            out.append(
                DeviceUse(
                    device=self._device(index),
                    used_bytes=used,
                    free_bytes=max(0, size - used),
                    processes={pid: nbytes for pid, nbytes in held.items() if nbytes},
                )
            )
        return tuple(out)

    # inside

    async def _begin(self, workload: Workload, direction: Direction, progress: Progress | None) -> Container:
        container = await workload.platform.inspect(workload.container.id)
        if container.key in self.busy:
            self.violations.append(f"two swaps of {container.name} at once")
        self.busy.add(container.key)
        self.begun.append((container.name, direction))
        if progress is not None:
            progress("move", "start")
        try:
            if direction in self.hold:
                await self.hold[direction].wait()
            error = self.fail.pop((container.name, direction), None)
            if error is not None:
                raise error
        except BaseException:
            self.busy.discard(container.key)
            raise
        return container

    def _end(self, workload: Workload, direction: Direction, progress: Progress | None) -> SwapReport:
        if progress is not None:
            progress("move", "done")
        self.done.append((workload.container.name, direction))
        return SwapReport(
            workload=workload.name,
            direction=direction,
            phases=(PhaseTime(name="move", seconds=0.5, part="driver"),),
            gpu_bytes=self.memory.get(workload.container.name, {}),
            processes=1,
            cuda_processes=1,
            threads=1,
            started_at=1.0,
        )

    def _state(self, container: Container) -> tuple[State, str]:
        if container.status not in (Status.RUNNING, Status.PAUSED):
            return State.STOPPED, ""
        if self.lost.get(container.key, (None, ""))[0] == container.started_at:
            return State.QUARANTINED, self.lost[container.key][1]
        if container.name in self.unfinished:
            out = self.unfinished[container.name] is Direction.OUT
            return State.SWAPPING_OUT if out else State.SWAPPING_IN, "hotseat died"
        if self.parked.get(container.key) == container.started_at:
            return State.PARKED, ""
        return (State.PAUSED, "paused") if container.status is Status.PAUSED else (State.SEATED, "")

    def _on_device(self, container: Container) -> bool:
        return self._state(container)[0] not in (State.PARKED, State.STOPPED, State.QUARANTINED)

    def _used(self, index: int) -> int:
        seated = sum(
            self.memory.get(container.name, {}).get(index, 0)
            for container in self._containers()
            if self._on_device(container)
        )
        return seated + self.foreign.get(index, 0)

    def _containers(self) -> list[Container]:
        return [held.container for platform in self.platforms for held in platform._held.values()]

    def _device(self, index: int) -> Device:
        return Device(index=index, uuid=f"GPU-{index}", name="double", total_bytes=self.sizes[index])
