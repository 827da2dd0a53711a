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
    context: Mapping[int, int] = field(default_factory=dict)
    """Of what it holds: what stays there while it is parked, and leaves only where another needs its room. Parked: that
    is all it holds."""
    need: Mapping[int, int] | None = None
    """Device index -> bytes it takes when seated, with its context. None: never seen, so it may take all there is."""
    demand_since: float | None = None
    """Since when its most urgent demand waits: a request, a wish, or answers frozen since then. None: nobody waits."""
    priority: int = 0
    """Its own and that of the caller of its most urgent demand; without demand, of its most important request."""
    busy: bool = False
    """A request waits or is in flight."""
    waiting: int = 0
    running: int = 0
    """Requests that wait for it, and that it has in flight."""
    rate: float = 0.0
    """Requests per second of late: what tells a workload that is often asked for from one that is not."""
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
    out_seconds: float | None = None
    in_seconds: float | None = None
    start_seconds: float | None = None
    """Measured: what a swap out, a swap in and a cold start of it take. None: not measured yet."""
    host_bytes: int = 0
    """Seated: what parking it would take of the host's memory, beside its `context`, which takes of it only where it
    leaves the device. On its way, or parked: what it holds of it now."""
    arena_bytes: int = 0
    """The same of the store's arena: a workload takes of either or both."""
    storable: bool = False
    """What is parked of it can go to disk."""
    storing: bool = False
    """PARKED, and on its way to disk: when that ends, it holds nothing of the arena."""
    fetching: bool = False
    """STORED, and on its way back to the arena, for whose room it counts already."""
    store_seconds: float | None = None
    return_seconds: float | None = None
    """Measured: what writing it to disk takes, and a swap in from there."""
    parkable: bool = True
    """False: the host, or its container's own limit, would not take it. Then it can only be stopped."""
    wholly: bool = True
    """False: it would not take its `context` beside that. Then it leaves only where that stays."""
    stopping: bool = False
    """SWAPPING_OUT in order to be stopped: when it ends, it holds no host memory either."""
    idle_timeout: float | None = None
    """Seconds without a request after which it gives up its seat by itself."""
    idle_stops: bool = False
    """It is then stopped, not parked."""
    warm_until: float = 0.0
    """Somebody said that it will be wanted until then: it may sit in place of those that nobody wants."""
    preload: bool = False
    """It may sit where nobody else does, without being asked for."""
    prefetch: bool = False
    """It may be brought from host memory or disk where nobody else sits, once its rate tells that it is asked for
    soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoom:
    """Host memory for parked workloads."""

    budget: int
    """Bytes that all of them together may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    devices: tuple[DeviceRoom, ...]
    workloads: tuple[WorkloadView, ...]
    host: HostRoom | None = None
    """None: host memory is no matter."""
    arena: HostRoom | None = None
    """Of the store. None: there is none, or it does not say."""


class Kind(enum.StrEnum):
    SWAP_OUT = "swap out"
    SWAP_IN = "swap in"
    START = "start"
    STOP = "stop"
    STORE = "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One swap or cold start to begin now."""

    kind: Kind
    workload: str
    makes_room_for: str | None = None
    whole: bool = False
    """A swap out that leaves nothing on the device, also no context: of a seated one, or later of a parked one."""
    why: str = field(default="", compare=False)
    """For people, where it makes room for nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Nobody who may be parked holds what this workload needs."""

    reason: str
    forever: bool
    """It is larger than the device (or its cap): waiting does not help."""
    again_at: float | None = None
    """Then one that could not leave its seat is asked again: so long it is worth waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    actions: tuple[Action, ...] = ()
    wake_at: float | None = None
    """Decide again then, if nothing happens before. None: only an event can change anything."""
    blocked: Mapping[str, Blocked] = field(default_factory=dict)
    crowded: bool = False
    """More is held of a device than its cap allows, and somebody who has work now could leave when it has none."""
