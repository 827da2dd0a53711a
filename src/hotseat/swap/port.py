"""What the layers above (scheduler's driver, daemon, CLI) need of a swap, in records and one protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from hotseat.platforms.port import Container, Platform
from hotseat.store.port import Held
from hotseat.swap.way import Way
from hotseat.words import ProcessRef, ProcessState, State, SwapReport

Progress = Callable[[str, str], None]
"""Called as (phase name, "start" | "done" | "undo" | "failed") while a swap runs. Must not block or raise."""

Probe = Callable[[], Awaitable[None]]
"""Returns once the engine answers; raises `Failed` if it does not within its own deadline."""

Drain = Callable[[], Awaitable[None]]
"""Returns once the engine has no request in flight, or at its own deadline. Never raises for lateness."""

Prepare = Callable[[], Awaitable[None]]
"""Readies a seated engine for its swap out, after the drain and before anything is touched. What it raises ends the
swap; whoever gave it undoes it if the swap fails later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One container as the swap sees it: a name for people, the container's present incarnation, its platform."""

    name: str
    container: Container
    platform: Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds each wait may take at most. Moving bytes has a floor plus a time per byte at a pessimistic rate."""

    lock: float = 5.0
    freeze: float = 5.0
    move_floor: float = 60.0
    move_bytes_per_second: float = 200e6
    unlock: float = 10.0
    pause: float = 10.0
    release: float = 5.0
    """Device memory released late, at most (FACTS.md: NVML lags up to a second)."""
    room: float = 5.0
    """Wait for a device to have room before a swap in is refused."""
    query: float = 2.0
    spill_bytes_per_second: float = 50e6
    store: float = 10.0
    """For the store to take or give, and for one that died to come back."""

    def spill(self, nbytes: int) -> float:
        return self.move_floor + nbytes / self.spill_bytes_per_second

    def move(self, nbytes: int) -> float:
        return self.move_floor + nbytes / self.move_bytes_per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the world shows of one workload now; `state` is derived from it and from the journal by a pure function."""

    state: State
    container: Container
    processes: tuple[ProcessRef, ...]
    cuda: Mapping[ProcessRef, ProcessState | None]
    """CUDA processes; None = did not say in time (frozen)."""
    gpu_bytes: Mapping[int, int] = field(default_factory=dict)
    """Device index -> bytes held on it now."""
    parked_gpu_bytes: Mapping[int, int] = field(default_factory=dict)
    """Device index -> bytes a swap in must find free; empty unless parked."""
    kept_gpu_bytes: Mapping[int, int] = field(default_factory=dict)
    """Device index -> bytes of contexts that stay there while it is parked; a swap in needs them beside the others."""
    context_gpu_bytes: Mapping[int, int] = field(default_factory=dict)
    """Seated, and all its processes held by the store: what of `gpu_bytes` could stay while it is parked, blocks that
    are newer than its last swap included. Empty where that is not known: before its first swap."""
    held: Mapping[ProcessRef, Held] = field(default_factory=dict)
    """Those of `cuda` that the store holds."""
    custom_gpu_bytes: int = 0
    """Seated: of `gpu_bytes` what goes to the store by custom storage."""
    way: Way = field(default_factory=Way)
    host_bytes: int = 0
    """Host memory its processes hold now (their resident sets, shared pages by share)."""
    note: str = ""
    """What a person should know: paused behind our back, why quarantined, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRoom:
    """The store's room for what is parked."""

    arena: int
    """Bytes in all."""
    disk_free: int = 0
    """Bytes that may still be written to its disk; 0: it has none, or that is full."""
    ahead: Mapping[str, int] = field(default_factory=dict)
    """Device UUID -> bytes there of parked workloads, ahead of their swaps in. Whoever is to have them takes them, or
    finds them free."""


@runtime_checkable
class BringsAhead(Protocol):
    """A swapper that has a store."""

    async def ahead(self, workload: Workload, *, caps: Mapping[int, int] | None = None) -> None:
        """Begin to bring in what the store has of a parked workload, ahead of its swap in, while another goes out. It
        stays parked, and nothing is promised to it. Returns at once; nothing to do is no error."""
        ...


class Swapper(Protocol):
    """Swaps one workload at a time out of or into its seat. Safe to use by several processes on one host at once."""

    async def observe(self, workload: Workload) -> Observation: ...

    async def swap_out(
        self,
        workload: Workload,
        *,
        keep: bool = False,
        drain: Drain | None = None,
        prepare: Prepare | None = None,
        progress: Progress | None = None,
    ) -> SwapReport:
        """seated -> parked. `Refused`/`NoRoom`/`Busy`: nothing was touched. `RolledBack`: runs on unharmed.
        `Quarantined`: after the commit. Parking what is parked is done already: a report without phases.

        `keep`: where the store moves the memory of all its processes, their contexts stay on the devices. Without it,
        those of a parked workload that stayed leave now."""
        ...

    async def swap_in(
        self,
        workload: Workload,
        *,
        caps: Mapping[int, int] | None = None,
        probe: Probe | None = None,
        progress: Progress | None = None,
    ) -> SwapReport:
        """parked -> seated. `caps`: bytes per device index that all workloads together may use, below its size."""
        ...

    async def known(self) -> Sequence[tuple[str, State, str]]:
        """(container key, state, note) of every container the journal knows: parked, quarantined, in a swap."""
        ...
