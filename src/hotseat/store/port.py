"""What the layers above need of the snapshot store, as records and one protocol.

Implementation: `hotseat.store.client` (a connection to the store's process).

A swap out of processes that the store holds: `take`, then the driver's lock and checkpoint beside `move_out`.
A swap in: `move_in` beside the driver's restore, unlock, then `give`. `take` is undone by `give`, `move_out` by
`move_in` and `give`. A process that `held` does not list takes the driver's path: hand the store only those listed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hotseat.words import ProcessRef

CONTROL = "control.sock"
AGENTS = "agents/store.sock"
"""Beside the control socket, in a directory of its own: containers get that one mounted, and never see the other
socket. It stays when the store ends, so that a mount of it leads to the next one's socket."""


TURNED_OFF = "it is turned off (custom_storage)"
"""`Status.no_custom_storage` where nobody asked for it."""


class HeldState(enum.StrEnum):
    """Where a process's blocks are."""

    RUNNING = "running"
    """Mapped in the process, its gate is open."""
    YIELDED = "yielded"
    """In the store's hands, on the device, or partly so after a move out that failed; the process waits behind its
    gate."""
    OUT = "out"
    """In the store's arena or, where `Held.stored` says so, on its disk; the device memory is free."""
    LOST = "lost"
    """In part or whole no more to be had (`Held.note` says why): the process must be ended, never seated again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One process that is connected to the store."""

    state: HeldState
    blocks: int
    bytes: int
    """Of all blocks. While it runs: as it last said (at its first context, or when it resumed)."""
    device_bytes: Mapping[str, int] = field(default_factory=dict)
    """By device UUID as NVML writes it ("GPU-..."): what a move in must find free. Known once it has yielded."""
    lent_bytes: int = 0
    """Of memory that the store created. Above 0 and running: a driver checkpoint without `take` would lose the process
    (FACTS.md); `localise` ends that."""
    made_bytes: int = 0
    """Of the lent ones: memory that the store made itself. The rest its process made, and may still stand in that one's
    name on the device: it was given back without a move."""
    parked_bytes: int = 0
    """Arena bytes that hold its memory: its own, and its share of what it shares."""
    zero_bytes: int = 0
    """Of what is parked: all zero, and kept nowhere."""
    stored: bool = False
    """It was spilled: what nobody else needs of it is on disk and not in the arena."""
    disk_bytes: int = 0
    """Bytes on disk that hold its memory, as compressed: its own, and its share of what it shares."""
    progress: float | None = None
    """Of a spill or a fetch under way: 0 to 1."""
    ahead_bytes: Mapping[str, int] = field(default_factory=dict)
    """Of one that is out: what of it is on devices already, ahead of its move in; as `device_bytes`."""
    left_bytes: Mapping[str, int] = field(default_factory=dict)
    """Of one that is yielded, after a move out that failed: what of it has left the devices; as `device_bytes`."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Seconds of the parts of its last step, some beside others: where the time went."""
    custom: bool = False
    """It left by custom storage: `restore` brings it back, and nothing else. Never said of one that runs."""
    connected: bool = True
    """False: the connection is lost and not yet made again. What is parked is kept as long as the process lives."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What one move did. All bytes but `total`, `disk` and `seconds` add up to `total`."""

    total: int = 0
    copied: int = 0
    """Over the bus: changed (out), or not zero (in)."""
    unchanged: int = 0
    """Out: the arena had them since the last time. To disk: others need them in the arena. From disk: the arena had
    them still."""
    zero: int = 0
    shared: int = 0
    """Out: equal to bytes of this or another process that the arena has already. To or from disk: to others of its own
    that are copied."""
    disk: int = 0
    """To or from the disk, as compressed."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The store as it is now. Bytes."""

    running: bool
    version: str = ""
    arena: int = 0
    """Size of the arena; where it is learned, as far as it is known to be needed."""
    may_grow: int = 0
    """To so much, if its size is learned; 0: it was given."""
    ready: int = 0
    """Of it populated and pinned; the rest follows in the background."""
    used: int = 0
    """Of it: holds what is parked."""
    cached: int = 0
    """Of it: copies of what is on a device or on disk, given up when room is needed."""
    spill: str = ""
    """The directory that is spilled to; "": none."""
    direct: bool = False
    """Its file system takes direct I/O; else what is spilled passes the page cache."""
    disk: int = 0
    """Of the files there."""
    disk_free: int = 0
    """That may still be spilled there."""
    worker: int = 0
    """Pid of the process that does the work."""
    keeper: int = 0
    """Pid of the process that keeps what is parked, also over the worker's death. Its end is the store's."""
    custom_storage: bool = False
    """Processes without the interposer can go by custom storage."""
    no_custom_storage: str = ""
    """Why not."""
    starts: int = 0
    """How often that process was started; above 1 it died and what is parked was taken over."""
    processes: Mapping[ProcessRef, Held] = field(default_factory=dict)
    note: str = ""
    """Why it does not run, or does worse than it could."""


class Store(Protocol):
    """A process without the interposer is not held while it runs. Where the store has custom storage, its memory goes
    by `admit`, the driver's lock and `checkpoint` (in place of the driver's own), and comes back by `restore` and
    unlock.

    Every call has a deadline in seconds and works on all of its processes at once, or raises and says where they
    are: `.details["processes"]` is a list of [pid, start_time, state].

    `Unavailable`: no store runs, or it does not answer; nothing is known of the call, ask `held`. `NotFound`: a process
    is not held. `Refused`: it is in another state than the call needs; nothing was done. `ProcessGone`: it ended, its
    memory is free. `DriverFailed`, `DriverTimeout`: each process is where it was, or as far as the details say.
    """

    async def held(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        """Those of `processes` that the store knows. None at all if no store runs."""
        ...

    async def take(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        """running -> yielded: gates closed, devices quiet, all blocks in the store's hands. What is yielded stays so.

        If one of them fails, those that have yielded are given back before this raises. `NoRoom`: the arena could not
        hold them even if it gave up all it caches; says how many bytes are missing, and all run on.
        """
        ...

    async def move_out(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        """yielded -> out: copies what changed into the arena, then frees the device memory. May run beside the
        driver's checkpoint. `NoRoom`: the arena lacks room; nothing is freed, each is still yielded. What is out
        already stays so. While somebody waits for memory of a device (`ahead`), what is copied is freed before the rest
        is: one that fails may have left in part, and is still yielded."""
        ...

    async def move_in(
        self, processes: Sequence[ProcessRef], *, ahead: Mapping[str, int] | None = None, deadline: float
    ) -> Moved:
        """out -> yielded: allocates on the devices and fills. May run beside the driver's restore. `NoRoom`: a device
        lacks the memory; what was allocated is freed again, each is still out. What is in already stays so. Of one that
        is yielded, and had left in part: what had comes back. `ahead`: bytes by device UUID that have come of them, and
        for which the caller has no room beside: `NoRoom` where less is there, or it is lost on the way."""
        ...

    async def ahead(
        self, processes: Sequence[ProcessRef], *, leave: Mapping[str, int] | None = None, deadline: float
    ) -> None:
        """Of processes that are out: begins to bring them in, into memory that is free and into what becomes free while
        others move out, and returns at once. They stay out until `move_in`, which takes what has come. It is given up
        after `deadline` seconds, and where `claim` says so. Others are left as they are. `leave`: bytes by device UUID
        that stay free there, whatever becomes free."""
        ...

    async def claim(
        self, processes: Sequence[ProcessRef], *, alone: bool, deadline: float
    ) -> Mapping[ProcessRef, Held]:
        """What has come ahead of these is theirs for `deadline` seconds from now, for their `move_in`; 0: no more.
        `alone`: what has come of all others without a claim is given up, and free when this returns. None at all if no
        store runs."""
        ...

    async def give(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        """yielded -> running: hands the blocks over and opens the gates. After unlock: it waits for the processes'
        answer. One that runs already is left as it is. `NoRoom`: of one that had left in part, a device lacks the
        memory for that; it is still yielded."""
        ...

    async def admit(self, processes: Mapping[ProcessRef, Mapping[str, int]], *, deadline: float) -> None:
        """Of processes without the interposer, with the bytes that each holds at most, by device UUID: opens the
        devices and keeps so much of the arena free until `checkpoint` or `dismiss`. What it said before counts no more.
        `NoRoom` says how many bytes are missing, and keeps nothing free. `Refused`: the store has no custom storage."""
        ...

    async def dismiss(self, processes: Sequence[ProcessRef], *, deadline: float) -> None:
        """They are not checkpointed after all: undoes `admit`. Others are left as they are."""
        ...

    async def checkpoint(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        """Locked, as the driver has it -> out: the driver maps their memory, which is copied and then released. From
        the mapping on nothing leads back: one that fails then is `yielded`, and may be tried again, or `lost`. Before
        that it is locked as it was. What is out already stays so."""
        ...

    async def restore(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        """Out -> locked, as the driver has it, and not held any more. `DriverFailed`: no room on a device is final. One
        that has its memory already is left as it is."""
        ...

    async def localise(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        """Of running processes: makes every lent block the process's own, by copies on the device."""
        ...

    async def spill(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        """Of processes that are out: writes to disk what nobody else has in the arena, and frees it there. `Refused`:
        the store has no directory for that. `NoRoom` (rule "disk"): nothing was moved. What is stored stays so."""
        ...

    async def fetch(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        """Of processes that are out: brings back into the arena what is on disk. `NoRoom`: the arena lacks room;
        nothing was moved. `move_in` needs no fetch before it."""
        ...

    async def forget(self, process: ProcessRef, *, deadline: float) -> None:
        """Frees everything of a process, also if it lives. What is parked of it is gone for good."""
        ...

    async def status(self, *, deadline: float) -> Status:
        """Never raises for a store that does not run: `running` is false and `note` says why."""
        ...

    async def aclose(self) -> None: ...
