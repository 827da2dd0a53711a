"""The words of DESIGN.md as types. No I/O and no imports from the rest of hotseat.

Every layer speaks in these records; all are frozen, so they may be handed to any task.
Units: bytes are plain integers, times are seconds as floats unless a name says otherwise.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class State(enum.StrEnum):
    """Where a workload is. The first four are DESIGN.md's; the others are what a user may meet between them."""

    SEATED = "seated"
    """Holds its GPU memory (if it has any) and runs."""
    PARKED = "parked"
    """Off the GPU, state in host memory, every CPU thread frozen."""
    STORED = "stored"
    """Off the GPU and out of host memory, state on disk."""
    STOPPED = "stopped"
    """Not running at all; a cold start brings it back."""
    SWAPPING_OUT = "swapping out"
    SWAPPING_IN = "swapping in"
    QUARANTINED = "quarantined"
    """A swap failed after its commit; `note` says why. Never swapped again without a cold start."""
    PAUSED = "paused"
    """Paused by its platform without hotseat: does not run, yet still holds its GPU memory."""


EVENT_KINDS = {
    "state": "A workload's state or its note has changed: `state`, `note`.",
    "phase": "A phase of a swap: `phase`, `direction`, `status` (`start`, `done`, `undo`, `failed`).",
    "swap": "A swap is done: `direction`, `seconds`, `own_seconds`, `gpu_bytes` per device, `started_at`, `phases`.",
    "store": "A parked workload is on disk: `seconds`, `disk_bytes` that it takes there.",
    "fetch": "A stored workload is in host memory again: `seconds`, `disk_bytes` that were read.",
    "start": "A cold start is done: `seconds`, `gpu_bytes`, `started_at`, `phases`.",
    "prewarm": "Somebody says that a workload will be wanted for the next `seconds`; 0 takes that back.",
    "config": "A workload came, changed or went: `change`, and `settings` or `note` where they belong to it.",
    "stop": "The daemon stops: `step`, and what belongs to it.",
    "note": "Something that a person should know: `note`; or `error` with the `job` that failed.",
}
"""Kinds of event and what each tells, for `hotseat events --kind` and docs/metrics.md."""


class ProcessRef(NamedTuple):
    """One process for as long as it lives: a reused pid has another start time.

    `start_time` is field 22 of /proc/PID/stat (clock ticks since boot, proc(5)).
    """

    pid: int
    start_time: int


class ProcessState(enum.IntEnum):
    """CUprocessState of cuda.h (driver 570+)."""

    RUNNING = 0
    LOCKED = 1
    CHECKPOINTED = 2
    FAILED = 3
    CHECKPOINTING = 4
    """Its memory is mapped in whoever checkpoints it to custom storage (driver 615), as in the next."""
    RESTORING = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One GPU as NVML names it."""

    index: int
    uuid: str
    name: str
    total_bytes: int
    emulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """What a device itself reports now: the truth that reservations are made against."""

    device: Device
    used_bytes: int
    free_bytes: int
    processes: dict[int, int] = field(default_factory=dict)
    """Host pid -> bytes. A process that NVML lists without a figure stands with 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTime:
    """One measured phase of a swap."""

    name: str
    seconds: float
    part: str = "hotseat"
    """Whose time it is: "driver" (checkpoint API calls), "store" (copies that outlast them), "platform" (pause,
    unpause), "engine" (probe, drain), "wait" (device memory released late) or "hotseat" (everything that is ours)."""


MOVING = ("checkpoint", "restore")
"""Phases in which device memory moves, so that bytes over seconds is a rate."""


class Direction(enum.StrEnum):
    OUT = "out"
    IN = "in"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapReport:
    """What one swap did, measured. `gpu_bytes` is per device index: released on the way out, taken on the way in."""

    workload: str
    direction: Direction
    phases: tuple[PhaseTime, ...]
    gpu_bytes: dict[int, int]
    processes: int
    cuda_processes: int
    threads: int
    started_at: float
    """Seconds since the epoch."""
    interposed: tuple[ProcessRef, ...] = ()
    """Those of the CUDA processes whose memory went by the store."""
    custom: tuple[ProcessRef, ...] = ()
    """Those whose memory went by custom storage, which is the store too; the others took the driver's way."""

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    @property
    def own_seconds(self) -> float:
        """hotseat's own part, which a faster bus would not shrink: all but the driver's calls, the
        store's copies and the engine's answer.
        So also what the platform takes to pause and unpause, and waiting for a device."""
        return sum(phase.seconds for phase in self.phases if phase.part not in ("driver", "store", "engine"))

    def with_moves(self) -> Iterator[tuple[PhaseTime, float | None]]:
        """Its phases; with the last part of one in which all its memory moved, the seconds of all parts of that one."""
        seconds = 0.0
        for number, phase in enumerate(self.phases):
            seconds += phase.seconds
            goes_on = any(after.name == phase.name for after in self.phases[number + 1 : number + 2])
            yield phase, seconds if phase.name in MOVING and not goes_on else None
            seconds = seconds if goes_on else 0.0
