"""What came back of one operation on several processes, and which error it amounts to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hotseat.errors import DriverTimeout, WorkerDied
from hotseat.gpu import advice, wire
from hotseat.gpu.port import Outcome
from hotseat.words import ProcessRef


class Answers:
    """Filled item by item while the worker answers; each process answers at most once."""

    def __init__(self, op: str, processes: tuple[ProcessRef, ...], *, deadline: float) -> None:
        self.op = op
        self.processes = processes
        self.deadline = deadline
        self.library = ""
        self._items: dict[int, wire.Item] = {}

    def add(self, items: Sequence[wire.Item]) -> None:
        for item in items:
            self._items[item.index] = item

    def values(self, *, ignore: Collection[int] = ()) -> dict[ProcessRef, int]:
        """Value of each process that answered well. `DriverFailed` for a result that is neither 0 nor in `ignore`."""
        unexpected = [one for one in self._said() if not one.ok and one.result not in ignore]
        if unexpected:
            raise advice.failed(self.op, unexpected)
        return {self.processes[index]: item.value for index, item in self._in_order() if item.result == 0}

    def outcomes(self) -> list[Outcome]:
        """Of those that were called. A process that was gone has none."""
        return [one for one in self._said() if one.result != wire.GONE]

    def check(self) -> None:
        """Raise what the answers amount to. To "find" a process that ended or has no CUDA is no error."""
        if self.op == "find":
            return
        gone = [self.processes[index] for index, item in self._in_order() if item.result == wire.GONE]
        if gone:
            raise advice.gone(self.op, gone, self.outcomes())
        if not all(one.ok for one in self._said()):
            raise advice.failed(self.op, self.outcomes())

    def timed_out(self) -> DriverTimeout:
        return advice.timed_out(self.op, self._pending(), self.outcomes(), self.deadline)

    def worker_died(self, died: WorkerDied) -> WorkerDied:
        """The same, with what was under way."""
        pids = ", ".join(str(one.pid) for one in self._pending())
        return WorkerDied(
            f"{advice.CALLS[self.op]} of process {pids}: {died.message}",
            hint=died.hint or advice.WORKER_DIED,
            call=advice.CALLS[self.op],
            processes=self._pending(),
            outcomes=self.outcomes(),
        )

    def _pending(self) -> list[ProcessRef]:
        return [ref for index, ref in enumerate(self.processes) if index not in self._items]

    def _in_order(self) -> list[tuple[int, wire.Item]]:
        return sorted(self._items.items(), key=lambda pair: pair[0])

    def _said(self) -> list[Outcome]:
        return [
            Outcome(process=self.processes[index], result=item.result, seconds=item.seconds)
            for index, item in self._in_order()
        ]
