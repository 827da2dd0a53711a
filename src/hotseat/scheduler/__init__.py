"""Who sits: pure functions over dataclasses. No I/O, no clock, no logging; time comes in as an argument.

`decide(now, snapshot)` looks at the whole table and says what to begin now, or when to look again. It remembers
nothing: the same snapshot gives the same decision, and what is under way shows in the snapshot as a state.
"""

from hotseat.scheduler.decide import decide
from hotseat.scheduler.rate import RATE_SECONDS, Rate
from hotseat.scheduler.records import Action, Blocked, Decision, DeviceRoom, HostRoom, Kind, Snapshot, WorkloadView
from hotseat.scheduler.turns import STOP_DRAIN, keep_for, stay

__all__ = [
    "RATE_SECONDS",
    "STOP_DRAIN",
    "Action",
    "Blocked",
    "Decision",
    "DeviceRoom",
    "HostRoom",
    "Kind",
    "Rate",
    "Snapshot",
    "WorkloadView",
    "decide",
    "keep_for",
    "stay",
]
