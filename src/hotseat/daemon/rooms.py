"""What of a device is ours, and what is foreign. Pure.

While a swap moves bytes, a device counts them as used before (or after) its list names the process that holds them:
on an H200 for all the seconds of a restore. They are no foreign memory: the record that moves answers for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hotseat.daemon.book import Record
from hotseat.scheduler import DeviceRoom
from hotseat.swap.truth import with_blocks
from hotseat.words import DeviceUse, State


def foreign(use: DeviceUse, records: Iterable[Record], *, ahead: int = 0) -> int:
    """Bytes of it that processes outside hotseat's care hold. What was never looked at is not in its care yet: the
    scheduler is not told of it, so its memory must be somebody's. `ahead`: bytes there that the store brought in of
    parked ones, which is as good as free."""
    ours = contexts = coming = 0
    for record in records:
        if not record.looked:
            continue
        listed, job = _listed(record, use), record.job
        ours += listed
        if job is not None:
            more = max(0, _moving(record, use.device.index, use.used_bytes) - listed)
            if job.gives_up:
                contexts += more
            else:
                ours += more
                coming += more if record.state is State.SWAPPING_IN else 0
    # Its processes are known, and nothing of it is in the store's name: it answers only for what nobody is named for.
    # Where the figures are older than its context, that is nothing, and would hide what strangers hold.
    ours += min(contexts, max(0, use.used_bytes - sum(use.processes.values())))
    ours += max(0, ahead - coming)  # whoever has come ahead and swaps in answers for it already
    return max(0, use.used_bytes - ours)


def _listed(record: Record, use: DeviceUse) -> int:
    """In the name of its processes, or of the store's, which lends them memory."""
    index, held = use.device.index, record.observation.held if record.observation is not None else {}
    mine = sum(use.processes.get(pid, 0) for pid in record.pids)
    return with_blocks({index: mine}, held=held, uses=(use,)).get(index, 0)


def _moving(record: Record, index: int, unknown: int) -> int:
    """What the scheduler's ledger counts as its own there. `unknown`: for a first cold start, it may be all."""
    held = record.observation.gpu_bytes.get(index, 0) if record.observation is not None else 0
    if record.state is not State.SWAPPING_IN:
        return held
    return max(held, unknown if record.need is None else record.need.get(index, 0))


def rooms(
    uses: Sequence[DeviceUse],
    caps: Mapping[int, int],
    records: Sequence[Record],
    *,
    ahead: Mapping[str, int] | None = None,
) -> tuple[DeviceRoom, ...]:
    """What the scheduler may give. `caps`: bytes by device index. `ahead`: as `foreign` has it, by device UUID."""
    return tuple(
        DeviceRoom(
            index=use.device.index,
            size=min(use.device.total_bytes, caps.get(use.device.index, use.device.total_bytes)),
            foreign=foreign(use, records, ahead=(ahead or {}).get(use.device.uuid, 0)),
        )
        for use in uses
    )
