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
        if one.state in (HeldState.RUNNING, HeldState.YIELDED) and not one.custom:
            for uuid, nbytes in one.device_bytes.items():
                if uuid in index:
                    blocks[index[uuid]] = blocks.get(index[uuid], 0) + nbytes
    return added(listed, {at: nbytes for at, nbytes in blocks.items() if listed.get(at, 0) < nbytes})


def beside_blocks(
    gpu_bytes: Mapping[int, int], *, held: Mapping[ProcessRef, Held], uses: Sequence[DeviceUse]
) -> dict[int, int]:
    """Of what running processes hold, as `with_blocks` has it: what is no block of the store's. {} where that is not
    known: before they have yielded once."""
    index = {use.device.uuid: use.device.index for use in uses}
    blocks: dict[int, int] = {}
    for one in held.values():
        if one.state is not HeldState.RUNNING or not one.device_bytes or not one.device_bytes.keys() <= index.keys():
            return {}
        blocks = added(blocks, {index[uuid]: nbytes for uuid, nbytes in one.device_bytes.items()})
    return less(gpu_bytes, blocks)


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
    *,
    before: Sequence[DeviceUse],
    after: Sequence[DeviceUse],
    pids: Collection[int],
    kept: Mapping[int, int] | None = None,
) -> tuple[dict[int, int], dict[int, int]]:
    """(devices that still list one of `pids` -> bytes, devices whose total fell by clearly less than `pids` held ->
    bytes short). "Clearly": by a twentieth, for strangers' figures are not exact. `kept`: bytes per device that stay,
    and are neither."""
    stays = kept or {}
    listed = {index: n for index, n in held(after, pids).items() if index not in stays or n > stays[index]}
    going, drop = less(held(before, pids), stays), dropped(before, after, pids)
    short = {index: n - drop.get(index, 0) for index, n in going.items() if drop.get(index, 0) < 0.95 * n}
    return listed, short


def _others(use: DeviceUse, pids: Collection[int]) -> int:
    return sum(nbytes for pid, nbytes in use.processes.items() if pid not in pids)
