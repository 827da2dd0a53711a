"""What is simulated: GPUs, workloads, what swaps and answers cost. Records only; bytes, seconds, tokens a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds of a swap = fixed + bytes / rate. The defaults were measured on one H200 (docs/simulate.md)."""

    out_rate: float = 2.0e9
    """Bytes a second from the device to the host."""
    in_rate: float = 5.0e9
    out_fixed: float = 0.28
    """Seconds of a swap out that moves nothing: the driver's checkpoint of a bare context."""
    in_fixed: float = 0.44
    start: float = 57.5
    """Seconds of a cold start."""
    stop: float = 0.3

    def swap_out(self, nbytes: int) -> float:
        return self.out_fixed + nbytes / self.out_rate

    def swap_in(self, nbytes: int) -> float:
        return self.in_fixed + nbytes / self.in_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One answer takes prompt / prefill + output / decode seconds, whoever else is served beside it."""

    prefill: float = 10_000.0
    decode: float = 40.0
    at_once: int = 64
    """Answers under way at once; the next waits in the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One workload of the fleet, with the settings of `hotseat.yaml` that the scheduler goes by."""

    name: str
    need: Mapping[int, int]
    """Device index -> bytes when seated."""
    costs: Costs = field(default_factory=Costs)
    service: Service = field(default_factory=Service)
    priority: int = 0
    min_stay: float = 5.0
    linger: float = 0.5
    drain: float | None = None
    """Seconds that a swap out waits for answers to end; what is left is frozen and goes on later. None: it waits for
    none. A stop, which cuts no answer, is given up after so long, or after `STOP_DRAIN`."""
    idle_timeout: float | None = None
    idle_stops: bool = False
    pinned: bool = False
    preload: bool = False
    prefetch: bool = False
    can_start: bool = True

    @property
    def nbytes(self) -> int:
        return sum(self.need.values())

    @property
    def out_seconds(self) -> float:
        return self.costs.swap_out(self.nbytes)

    @property
    def in_seconds(self) -> float:
        return self.costs.swap_in(self.nbytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    devices: Mapping[int, int]
    """Device index -> bytes that workloads may use of it."""
    members: tuple[Member, ...]
    """In the order of the trace's `names`: model k is served by member `serves[k]`."""
    serves: tuple[int, ...]
    host: int | None = None
    """Bytes that all parked workloads together may hold; None: as many as they like."""

    def islands(self) -> list[tuple[set[int], list[int]]]:
        """(devices, members) that have nothing to do with each other: what is decided for one changes no other.

        The scheduler's answer for the whole table is that for its islands, one by one (tested); a small table is
        decided faster. Host memory is shared by all, so where it is limited there is one island.
        """
        if self.host is not None:
            return [(set(self.devices), list(range(len(self.members))))]
        home: dict[int, tuple[set[int], list[int]]] = {}
        for number, member in enumerate(self.members):
            devices, members = set(member.need), [number]
            for index in member.need:
                if index in home and home[index][1] is not members:
                    devices |= home[index][0]
                    members += [other for other in home[index][1] if other not in members]
            for index in devices:
                home[index] = (devices, members)
        found = {id(island[1]): island for island in home.values()}
        return [(devices, sorted(members)) for devices, members in found.values()]
