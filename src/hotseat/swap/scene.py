"""What one swap knows of its workload while it runs: the executor's steps read it and write it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from hotseat.linux.port import Hold, HostMemory
from hotseat.store.port import HeldState
from hotseat.swap.policy import Policy
from hotseat.swap.port import Deadlines, Probe, Workload
from hotseat.swap.records import Holding, Record, contexts, total
from hotseat.swap.way import Offer
from hotseat.words import DeviceUse, Direction, ProcessRef, ProcessState, State

CONTEXT_MOST = 1 << 30
"""Bytes; about 0.6 GiB were seen (FACTS.md)."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """Mutable, owned by one swap. `cuda` keeps the processes in the order of their pids."""

    workload: Workload
    direction: Direction
    deadlines: Deadlines
    policy: Policy
    owner: str
    cuda: dict[ProcessRef, Holding] = field(default_factory=dict)
    states: dict[ProcessRef, ProcessState | None] = field(default_factory=dict)
    """As last read, or as a successful call left them; None: not known since a call failed."""
    held: dict[ProcessRef, HeldState | None] = field(default_factory=dict)
    """Where the store has the memory of those that are interposed, as last read; None: it does not say."""
    ahead: dict[str, int] = field(default_factory=dict)
    """Device UUID -> bytes that the store has there already, ahead of the move in, and were claimed with the
    reservation."""
    left: dict[ProcessRef, Mapping[str, int]] = field(default_factory=dict)
    """Of those that have yielded: bytes by device UUID that have left the devices before the rest, as last read."""
    offer: Offer = field(default_factory=Offer)
    """Whether the store moves processes without the interposer too."""
    stowed: dict[ProcessRef, HeldState | None] = field(default_factory=dict)
    """Where the store has those that went by custom storage and are not on the devices, as last read; None: it does not
    say."""
    uses: tuple[DeviceUse, ...] = ()
    """The devices before anything was moved."""
    host: HostMemory | None = None
    parked: dict[int, int] = field(default_factory=dict)
    caps: Mapping[int, int] = field(default_factory=dict)
    probe: Probe | None = None
    keep: bool = False
    """Out: the contexts may stay on the devices."""
    giving_up: bool = False
    """Contexts that were kept leave now."""
    hold: Hold | None = None
    processes: int = 0
    threads: int = 0
    moved: dict[int, int] = field(default_factory=dict)
    """Device index -> bytes really released (out) or taken (in), as the device reports it."""
    notes: list[str] = field(default_factory=list)

    def in_state(self, state: ProcessState) -> list[ProcessRef]:
        return [process for process in self.cuda if self.states.get(process) is state]

    @property
    def pids(self) -> frozenset[int]:
        return frozenset(process.pid for process in self.cuda)

    @property
    def restore_threads(self) -> list[int]:
        return [holding.restore_thread for holding in self.cuda.values()]

    @property
    def interposed(self) -> list[ProcessRef]:
        return [process for process, holding in self.cuda.items() if holding.interposed]

    @property
    def custom(self) -> list[ProcessRef]:
        return [process for process, holding in self.cuda.items() if holding.custom]

    def blocks_in(self, state: HeldState) -> list[ProcessRef]:
        return [process for process in self.cuda if self.held.get(process) is state]

    @property
    def context_bytes(self) -> int:
        """What the driver moves into the processes' own memory: all but the store's blocks, and what stays. Of one that
        goes by custom storage the contexts are not known beside the rest; on each device it is at most so much."""
        if self.may_keep:
            return 0
        sizes = ((one.custom, nbytes) for one in self.cuda.values() for nbytes in one.gpu.values())
        return sum(min(nbytes, CONTEXT_MOST) if custom else nbytes for custom, nbytes in sizes)

    @property
    def contexts(self) -> dict[int, int]:
        return contexts(self.cuda.values())

    @property
    def may_keep(self) -> bool:
        """Contexts stay for all processes or for none: those of one communicator go and come together."""
        return self.keep and len(self.interposed) == len(self.cuda) > 0

    @property
    def kept(self) -> dict[int, int]:
        """Bytes per device of the contexts that stay there."""
        return contexts([one for one in self.cuda.values() if one.kept])

    def off(self, process: ProcessRef) -> bool:
        """All of it that leaves the devices has left them, as last read."""
        holding, state = self.cuda[process], self.states.get(process)
        if state is ProcessState.LOCKED and holding.kept:
            return self.held.get(process) is HeldState.OUT
        return state is ProcessState.CHECKPOINTED

    @property
    def blocks(self) -> dict[int, int]:
        """The store's blocks of all of them, per device."""
        return total([replace(one, gpu={}) for one in self.cuda.values()])

    def on_device(self, processes: Collection[ProcessRef]) -> dict[int, int]:
        """What of them is on the devices for certain: of a swap that broke off in its middle some parts are."""
        here: list[Holding] = []
        for process in processes:
            holding = self.cuda[process]
            context = self.states.get(process) not in (ProcessState.CHECKPOINTED, ProcessState.FAILED, None)
            blocks = self.held.get(process) in (HeldState.RUNNING, HeldState.YIELDED)
            here.append(replace(holding, gpu=holding.gpu if context else {}, blocks=holding.blocks if blocks else None))
        return total(here)

    @property
    def gpu_bytes(self) -> int:
        """Of all CUDA processes on all devices, now or when they were parked."""
        return max(sum(total(self.cuda.values()).values()), sum(self.parked.values()))

    def keeps(self, processes: Collection[ProcessRef], kept: bool) -> None:
        """Whether their contexts stay."""
        self.cuda |= {process: replace(self.cuda[process], kept=kept) for process in processes}

    def drop(self, process: ProcessRef) -> None:
        """It ended."""
        self.cuda.pop(process, None)
        self.states.pop(process, None)
        self.held.pop(process, None)
        self.stowed.pop(process, None)

    def record(self, *, state: State, step: str = "", committed: bool = False, note: str = "") -> Record:
        """For the journal."""
        container = self.workload.container
        return Record(
            key=container.key,
            name=self.workload.name,
            started_at=container.started_at,
            state=state,
            note=note,
            step=step,
            committed=committed,
            holdings=tuple(self.cuda.values()),
            parked=dict(self.parked or total(self.cuda.values())),
            owner=self.owner if state in (State.SWAPPING_IN, State.SWAPPING_OUT) else "",
        )
