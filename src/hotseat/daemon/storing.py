"""What a person asks of the store: what is parked goes to disk, and comes back. Part of the core: synchronous, no I/O.

The scheduler stores whom it must by the same job. Who wants its seat meanwhile waits for the job's end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotseat.daemon.book import AWAY, Answer, JobKind, Record
from hotseat.daemon.commands import busy, closing
from hotseat.errors import HotseatError, Refused
from hotseat.store.port import Moved
from hotseat.swap.storing import not_the_stores
from hotseat.words import State

if TYPE_CHECKING:
    from hotseat.daemon.core import Core


def begin(core: Core, record: Record, kind: JobKind, answer: Answer, now: float) -> None:
    """`STORE` or `FETCH`. Answer as `told` has it."""
    if (error := _refusal(core, record, kind)) is not None:
        core.tell(answer, None, error)
        return
    if record.job is None and _is_there(record, kind):
        core.tell(answer, told(record, kind, Moved(total=_bytes(record)), already=True))
        return

    def ended(moved: Moved | None, error: HotseatError | None) -> None:
        answer(None if error is not None else told(record, kind, moved or Moved()), error)

    job = record.job or core.launch(record, kind, now, why="by hand")
    job.answers.append(ended)


def told(record: Record, kind: JobKind, moved: Moved, *, already: bool = False) -> dict[str, Any]:
    """As the control API and `--json` have it."""
    return {
        "workload": record.name,
        "to": "disk" if kind is JobKind.STORE else "host memory",
        "already": already,
        "seconds": moved.seconds,
        "bytes": moved.total,
        "moved_bytes": moved.copied,
        "disk_bytes": moved.disk,
        "shared_bytes": moved.shared,
        "zero_bytes": moved.zero,
        "left_bytes": moved.unchanged,
    }


def _refusal(core: Core, record: Record, kind: JobKind) -> HotseatError | None:
    if (error := closing(core)) is not None:
        return error
    if record.job is not None:
        return None if record.job.kind is kind else busy(record)
    if record.state not in AWAY:
        park = f"park it first: hotseat park {record.name}"
        return Refused(
            f"{record.name} is {record.state}, not parked",
            rule="store",
            hint=park if record.state is State.SEATED else "only what is parked goes to disk and comes back",
        )
    seen = record.observation
    return None if seen is not None and seen.held else not_the_stores(record.name)


def _is_there(record: Record, kind: JobKind) -> bool:
    if kind is JobKind.STORE:
        return record.state is State.STORED
    seen = record.observation
    return seen is not None and not any(one.stored for one in seen.held.values())


def _bytes(record: Record) -> int:
    seen = record.observation
    return sum(one.bytes for one in seen.held.values()) if seen is not None else 0
