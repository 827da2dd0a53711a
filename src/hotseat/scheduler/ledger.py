"""The ledger of all devices during one decision.

It keeps two figures per device. `now` is free at this moment: nothing may be seated beyond it. `soon` is what will be
free when every swap out under way or chosen has ended, less what is promised to demands that were looked at before: a
younger demand may only take what is free now *and* promised to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping

from hotseat.scheduler.records import Snapshot, WorkloadView
from hotseat.words import State

_COMING, _GOING = State.SWAPPING_IN, State.SWAPPING_OUT
_AWAY = (State.PARKED, State.STORED)


class Ledger:
    def __init__(self, snapshot: Snapshot) -> None:
        self.size = {device.index: device.size for device in snapshot.devices}
        self.capacity = {device.index: device.capacity for device in snapshot.devices}
        self.now = dict(self.capacity)
        self.soon = dict(self.capacity)
        self._stays = dict.fromkeys(self.capacity, 0)
        self._held = dict.fromkeys(self.capacity, 0)
        for view in snapshot.workloads:
            state = view.state
            if not view.holds and state is not _COMING:
                continue
            stays = never_leaves(view)
            for index, nbytes in self.takes(view).items():
                if index in self.now:
                    self.now[index] -= nbytes
                    left = view.context.get(index, 0) if state is _GOING else nbytes
                    self.soon[index] -= left
                    self._held[index] += left
                    self._stays[index] += nbytes if stays else 0

    def takes(self, view: WorkloadView) -> Mapping[int, int]:
        """What it takes of each device now. On the way in that is all it will take: a reservation."""
        if view.state is not _COMING:
            return view.holds
        need = self.capacity if view.need is None else view.need
        return {index: max(need.get(index, 0), view.holds.get(index, 0)) for index in need.keys() | view.holds.keys()}

    def wants(self, view: WorkloadView) -> Mapping[int, int]:
        """What must be free before it is seated, beside what it has. Never seen: all that is not taken for good."""
        if view.need is not None:
            return view.need if view.state not in _AWAY else less(view.need, view.context)
        return {index: max(0, capacity - self._stays[index]) for index, capacity in self.capacity.items()}

    def missing(self, need: Mapping[int, int]) -> Mapping[int, int]:
        """Device index -> bytes that nobody has yet been asked to free."""
        short = {index: nbytes - self.soon[index] for index, nbytes in need.items() if nbytes}
        return {index: nbytes for index, nbytes in short.items() if nbytes > 0}

    def over(self) -> Mapping[int, int]:
        """Device index -> bytes that those who stay hold beyond its size: a cap that came after them, or that they have
        outgrown. What others hold is no matter: a device itself never gives more than it has."""
        return {index: held - self.size[index] for index, held in self._held.items() if held > self.size[index]}

    def fits_now(self, need: Mapping[int, int]) -> bool:
        now, soon = self.now, self.soon
        return not any(nbytes > now[index] or nbytes > soon[index] for index, nbytes in need.items() if nbytes)

    def seat(self, need: Mapping[int, int]) -> None:
        for index, nbytes in need.items():
            if nbytes:
                self.now[index] -= nbytes
                self.soon[index] -= nbytes

    def promise(self, need: Mapping[int, int]) -> None:
        for index, nbytes in need.items():
            if nbytes:
                self.soon[index] -= nbytes

    def will_free(self, holds: Mapping[int, int]) -> None:
        for index, nbytes in holds.items():
            if index in self.soon:
                self.soon[index] += nbytes
                self._held[index] -= nbytes


def less(one: Mapping[int, int], other: Mapping[int, int]) -> Mapping[int, int]:
    """Not below 0."""
    return {index: max(0, nbytes - other.get(index, 0)) for index, nbytes in one.items()} if other else one


def never_leaves(view: WorkloadView) -> bool:
    """Holds memory that no decision of ours frees: pinned, paused by somebody else, quarantined."""
    if view.state in (State.SEATED, State.SWAPPING_IN):
        return view.pinned
    return view.state in (State.PAUSED, State.QUARANTINED)
