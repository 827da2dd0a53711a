"""What NVML's figures mean for one workload. Pure functions over `DeviceUse`.

The per-process list is the better truth: other processes on the device may allocate and free at any moment. The drop of
the device's total is used beside it, corrected by what the others' own figures changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from hotseat.store.port import Held, HeldState
from hotseat.words import DeviceUse, ProcessRef


def held(uses: Sequence[DeviceUse], pids: Collection[int]) -> dict[int, int]:
    """Bytes per device index that `pids` hold; a device that lists one of them stands here, even with 0."""
    out: dict[int, int] = {}
    for use in uses:
        mine = [nbytes for pid, nbytes in use.processes.items() if pid in pids]
        if mine:
            out[use.device.index] = sum(mine)
    return out


def added(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    return {index: one.get(index, 0) + other.get(index, 0) for index in {*one, *other}}


def less(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    """Not below 0."""
    return {index: max(0, nbytes - other.get(index, 0)) for index, nbytes in one.items()}


def with_blocks(
    listed: Mapping[int, int], *, held: Mapping[ProcessRef, Held], uses: Sequence[DeviceUse]
) -> dict[int, int]:
    """`listed` and the blocks of running processes that a device lists in the store's name instead of theirs. Where
    the device lists as much as the blocks, they are in it."""
    index = {use.device.uuid: use.device.index for use in uses}
    blocks: dict[int, int] = {}
    for one in held.values():
        if one.state in (HeldState.RUNNING, HeldState.YIELDED):
            for uuid, nbytes in one.device_bytes.items():
                if uuid in index:
                    blocks[index[uuid]] = blocks.get(index[uuid], 0) + nbytes
    return added(listed, {at: nbytes for at, nbytes in blocks.items() if listed.get(at, 0) < nbytes})


def by_process(uses: Sequence[DeviceUse], pid: int) -> dict[int, int]:
    """Bytes of one process per device index."""
    return {use.device.index: use.processes[pid] for use in uses if pid in use.processes}


def dropped(before: Sequence[DeviceUse], after: Sequence[DeviceUse], pids: Collection[int]) -> dict[int, int]:
    """Bytes that each device uses less than before through the going of `pids`, as its total shows: the drop of the
    total, plus what the other processes took meanwhile, less what they gave."""
    late = {use.device.index: use for use in after}
    out: dict[int, int] = {}
    for use in before:
        then = late.get(use.device.index)
        if then is not None:
            others = _others(then, pids) - _others(use, pids)
            out[use.device.index] = use.used_bytes - then.used_bytes + others
    return out


def to_find_free(
    *, held: Mapping[int, int], dropped: Mapping[int, int], processes: int, slack: int = 64 << 20
) -> dict[int, int]:
    """Bytes per device that a swap in must find free: what NVML gave to the processes, or the drop where that is more
    (the driver's own share is in no process's figure). The drop may be a stranger's doing, so it counts for at most
    `slack` per process more, except where NVML has no figures, or does not
    list the processes at all: then the drop is all there is."""
    out: dict[int, int] = {}
    for index in {*held, *dropped}:
        mine, drop = held.get(index, 0), dropped.get(index, 0)
        if index in held and mine == 0:
            nbytes = max(0, drop)
        elif index in held:
            nbytes = max(mine, min(drop, mine + slack * processes))
        else:
            nbytes = 0 if held else max(0, drop)
        if nbytes:
            out[index] = nbytes
    return out


def unreleased(
    *, before: Sequence[DeviceUse], after: Sequence[DeviceUse], pids: Collection[int]
) -> tuple[dict[int, int], dict[int, int]]:
    """(devices that still list one of `pids` -> bytes, devices whose total fell by clearly less than `pids` held ->
    bytes short). "Clearly": by a twentieth, for strangers' figures are not exact."""
    mine, drop = held(before, pids), dropped(before, after, pids)
    short = {index: nbytes - drop.get(index, 0) for index, nbytes in mine.items() if drop.get(index, 0) < 0.95 * nbytes}
    return held(after, pids), short


def _others(use: DeviceUse, pids: Collection[int]) -> int:
    return sum(nbytes for pid, nbytes in use.processes.items() if pid not in pids)
