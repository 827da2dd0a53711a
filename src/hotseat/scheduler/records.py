"""What the scheduler is told and what it answers. Bytes are integers; times are seconds on the caller's clock."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from hotseat.words import State


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRoom:
    """One device: what workloads may use of it."""

    index: int
    size: int
    """Its size, or its cap if that is smaller."""
    foreign: int = 0
    """What processes outside hotseat's care hold now. It is simply not free."""

    @property
    def capacity(self) -> int:
        return max(0, self.size - self.foreign)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadView:
    """One workload as the scheduler sees it."""

    name: str
    state: State
    holds: Mapping[int, int] = field(default_factory=dict)
    """Device index -> bytes it holds now."""
    need: Mapping[int, int] | None = None
    """Device index -> bytes it takes when seated. None: never seen seated, so it may take all there is."""
    demand_since: float | None = None
    """Since when somebody waits for it: its oldest waiting request, or since when its answers are frozen."""
    busy: bool = False
    """A request waits or is in flight."""
    seated_since: float = 0.0
    last_used: float = 0.0
    """When its last request ended."""
    min_stay: float = 0.0
    """While it has work, it keeps its seat so long."""
    linger: float = 0.0
    """It has work until so long after its last request ended."""
    pinned: bool = False
    can_start: bool = False
    """STOPPED may become seated by a cold start."""
    commanded: bool = False
    """A person asked for it: before all requests, whatever the minimum stay of others."""
    not_before: float = 0.0
    """Its last way in failed; do not try again before this."""
    keep_until: float = 0.0
    """Its last way out failed; do not try again before this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    devices: tuple[DeviceRoom, ...]
    workloads: tuple[WorkloadView, ...]


class Kind(enum.StrEnum):
    SWAP_OUT = "swap out"
    SWAP_IN = "swap in"
    START = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One swap or cold start to begin now."""

    kind: Kind
    workload: str
    makes_room_for: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Nobody who may be parked holds what this workload needs."""

    reason: str
    forever: bool
    """It is larger than the device (or its cap): waiting does not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    actions: tuple[Action, ...] = ()
    wake_at: float | None = None
    """Decide again then, if nothing happens before. None: only an event can change anything."""
    blocked: Mapping[str, Blocked] = field(default_factory=dict)
