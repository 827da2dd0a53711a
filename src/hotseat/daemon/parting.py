"""What a graceful stop of the daemon does with the parked ones. Part of the core: synchronous, no I/O.

`leave`: nothing. `seat`: as many as fit beside who sits, the most wanted first; nobody makes room. `stop`: their
containers end. Whoever cannot be seated or stopped stays parked, and is named with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hotseat.daemon import picture
from hotseat.daemon.book import AWAY, Answer, JobKind, Record
from hotseat.daemon.messages import How
from hotseat.errors import HotseatError, NoRoom
from hotseat.scheduler import why
from hotseat.scheduler.ledger import Ledger

if TYPE_CHECKING:
    from hotseat.daemon.core import Core


def part(core: Core, how: How, answer: Answer, now: float) -> None:
    """Answer with {workload: None or the error} once all that was begun has ended."""
    parked = [record for record in core.records.values() if record.state in AWAY and record.job is None]
    parked.sort(key=lambda record: (-record.spec.priority, -record.last_used, record.name))
    outcome: dict[str, HotseatError | None] = {}
    chosen: list[Record] = []
    if how == "stop":
        chosen = parked
    elif how == "seat":
        ledger = Ledger(picture.snapshot(core, now))
        for record in parked:
            view = record.view(now)
            need = ledger.wants(view)
            if (never := why.too_large(view, need, ledger)) is not None:
                outcome[record.name] = NoRoom(
                    never.reason,
                    hint="the next start of hotseat finds it parked; `hotseat doctor` says what devices there are",
                    rule="device memory",
                )
            elif ledger.fits_now(need):
                ledger.seat(need)
                chosen.append(record)
            else:
                outcome[record.name] = NoRoom(
                    f"others have the room that {record.name} needs",
                    hint="the next start of hotseat finds it parked; hotseat seat NAME --no-daemon seats it without",
                    rule="device memory",
                )
    left = {record.name for record in chosen}

    def ended(name: str) -> Callable[[Any, HotseatError | None], None]:
        def take(value: Any, error: HotseatError | None) -> None:
            outcome[name] = error
            left.discard(name)
            if not left:
                answer(outcome, None)

        return take

    if not chosen:
        core.tell(answer, outcome)
    for record in chosen:
        job = core.launch(record, JobKind.STOP if how == "stop" else JobKind.SWAP_IN, now)
        job.answers.append(ended(record.name))
