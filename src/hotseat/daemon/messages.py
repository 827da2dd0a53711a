"""What the actor is told, and what it wants done. Plain records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hotseat.config import HostMemory as HostSettings
from hotseat.config import Workload
from hotseat.daemon.book import JobKind
from hotseat.daemon.learned import Learned
from hotseat.daemon.tickets import Answer, Ticket
from hotseat.errors import HotseatError
from hotseat.store.port import Moved
from hotseat.swap.port import Observation, StoreRoom
from hotseat.words import DeviceUse, SwapReport

How = Literal["leave", "seat", "stop"]
"""What becomes of parked workloads at a stop of the daemon."""

# -- in


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """From now on these are the workloads, and these the caps (bytes per device index); see `changing`."""

    specs: Mapping[str, Workload]
    """Whole: every field has its value. Two never share a container or a model."""
    caps: Mapping[int, int]
    host: HostSettings | None = None
    """The budget of host memory; None: as it is."""
    answer: Answer | None = None
    """Called with the `changing.Changes` that were made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    ticket: Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """The request has ended, or its client has gone: whatever the ticket's state was."""

    ticket: Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDown:
    workload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """`whole`: nothing of it stays on a device, also no context."""

    workload: str
    answer: Answer
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    workload: str
    answer: Answer
    commanded: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Its container ends; a cold start brings it back. Also while hotseat shuts down."""

    workload: str
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    workload: str
    out: str
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Spill:
    """What is parked of it goes to the store's disk. Answer as `storing.told` has it."""

    workload: str
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """What of it is on the store's disk comes back into host memory. Answer as `storing.told` has it."""

    workload: str
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prewarm:
    """It will be wanted for the next `seconds`; 0 takes that back. Answer with {"workload", "state", "seconds"}."""

    workload: str
    seconds: float
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """Answer once no request is in flight."""

    workload: str
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    workload: str
    phase: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDone:
    """So much of its job is done, 0 to 1."""

    workload: str
    part: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A look at the world that began when the record's epoch was `epoch`. Neither: there is no such container."""

    workload: str
    epoch: int
    observation: Observation | None = None
    error: HotseatError | None = None
    """It could not be looked at (the platform's daemon is down, ...): what was known stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnded:
    workload: str
    report: SwapReport | None = None
    moved: Moved | None = None
    """By the store, to disk or back."""
    error: HotseatError | None = None
    observation: Observation | None = None
    """Looked at after the end. None: could not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    workload: str
    number: int
    error: HotseatError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    uses: Sequence[DeviceUse]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """Measured now."""

    available: int
    """Bytes, MemAvailable."""
    store: StoreRoom | None = None
    """None: there is no store, or it does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """Answer when all messages before this one have had their effect."""

    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Preload:
    """See `commands.preload`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """From now on nothing new is begun; who waits is told so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The last of a graceful stop: do this with the parked ones; see `parting`."""

    how: How
    answer: Answer


Message = (
    Configure
    | Arrived
    | Left
    | EngineDown
    | Park
    | Seat
    | Stop
    | Swap
    | Spill
    | Fetch
    | Prewarm
    | Drained
    | Progress
    | PartDone
    | Observed
    | JobEnded
    | Probed
    | Devices
    | HostMemory
    | Sync
    | Preload
    | Closing
    | Part
)

# -- out


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Begin this job; `JobEnded` tells its end."""

    kind: JobKind
    workload: str
    whole: bool = False
    """A swap out after which no context of it is on a device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """Begin to bring it in ahead of its swap in, if the store has it. Nobody waits for that."""

    workload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoneAhead:
    """What has come in ahead is wanted no more: the devices have it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    workload: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Observe it now rather than at the next turn."""

    workload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seek:
    """Its container, which was found by its label, is not there any more: find out what became of it."""

    workload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Equip:
    """By these settings effects act from now on, those under way too where they have not read them yet."""

    specs: Mapping[str, Workload]
    caps: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Write down what was learned of these."""

    learned: Mapping[str, Learned]


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    kind: str
    workload: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    answer: Answer
    value: Any = None
    error: HotseatError | None = None


Effect = Launch | Ahead | NoneAhead | Probe | Look | Seek | Equip | Keep | Say | Tell
