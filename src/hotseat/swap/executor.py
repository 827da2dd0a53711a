"""Runs any plan: journals before each step, measures it, verifies it, undoes it. Knows nothing of GPUs or containers.

Cancellation is cooperative. A step that is not interruptible runs to its end, because half a driver call is worse than
a late answer; its own deadline bounds it. Before the commit the plan is then undone. After the commit a cancellation
changes nothing: the way back is as long as the way on, and only a stable end may be left behind.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from hotseat.swap.meter import Meter
from hotseat.swap.plan import Do, Plan, Step

T = TypeVar("T")
Tell = Callable[[str, str], None]
"""Called as (phase name, "start" | "done" | "undo" | "failed")."""


class Performer(Protocol):
    """Gives each `Do` its effect on the world. Raises to say that it failed."""

    async def perform(self, do: Do) -> None: ...


class Note(Protocol):
    """Writes down, durably, that `step` is about to begin."""

    def __call__(self, *, step: Step, committed: bool) -> None: ...


class End(enum.StrEnum):
    DONE = "done"
    UNDONE = "undone"
    """Failed before the commit; every undo was run, whether each worked is in `undo_errors`."""
    BROKEN = "broken"
    """Failed after the commit; nothing was undone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    end: End
    step: Step | None = None
    """The step that failed, or before which it was cancelled."""
    error: BaseException | None = None
    undo_errors: list[BaseException] = field(default_factory=list)


class Cancelled(Exception):
    """The caller of the swap was cancelled. Internal: the caller sees asyncio.CancelledError."""


class Executor:
    """Runs plans for one swap, one after another. `cancelled` is set when the caller wants to stop."""

    def __init__(
        self, *, performer: Performer, note: Note, meter: Meter, tell: Tell, cancelled: asyncio.Event | None = None
    ) -> None:
        self._performer = performer
        self._note = note
        self._meter = meter
        self._tell = tell
        self._cancelled = cancelled or asyncio.Event()

    async def run(self, plan: Plan) -> Ended:
        """Never raises for what a step does (only for KeyboardInterrupt and the like): the end says it all."""
        for index, step in enumerate(plan.steps):
            committed = index >= plan.commit
            noted = False
            try:
                if self._cancelled.is_set() and (index <= plan.commit or step.interruptible):
                    raise Cancelled(f"cancelled before {step.name}")
                self._note(step=step, committed=committed)
                noted = True
                await self._do(step)
            except (Exception, asyncio.CancelledError) as error:
                if index > plan.commit or (committed and noted):
                    return Ended(end=End.BROKEN, step=step, error=error)
                undo_errors = await self._undo(plan.steps[: index + noted])
                return Ended(end=End.UNDONE, step=step, error=error, undo_errors=undo_errors)
        if self._cancelled.is_set() and plan.commit >= len(plan.steps):
            undo_errors = await self._undo(plan.steps)
            return Ended(end=End.UNDONE, step=plan.steps[-1], error=Cancelled("cancelled"), undo_errors=undo_errors)
        return Ended(end=End.DONE)

    async def _do(self, step: Step) -> None:
        self._tell(step.name, "start")
        try:
            with self._meter.phase(step.name, part=step.part):
                if step.interruptible:
                    await self._unless_cancelled(self._performer.perform(step.effect))
                else:
                    await self._performer.perform(step.effect)
                if step.verify is not None:
                    await self._performer.perform(step.verify)
        except BaseException:
            self._tell(step.name, "failed")
            raise
        self._tell(step.name, "done")

    async def _undo(self, steps: tuple[Step, ...]) -> list[BaseException]:
        """In reverse, the failed step's first; one that fails does not keep the others from being run."""
        errors: list[BaseException] = []
        for step in reversed(steps):
            if step.undo is None:
                continue
            self._tell(step.name, "undo")
            try:
                with self._meter.phase(f"undo {step.name}", part=step.part):
                    await self._performer.perform(step.undo)
            except (Exception, asyncio.CancelledError) as error:
                errors.append(error)
        return errors

    async def _unless_cancelled(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        stop = asyncio.create_task(self._cancelled.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
                if not task.cancelled() and task.exception() is None:
                    return
                raise Cancelled("cancelled")
            task.result()
        finally:
            stop.cancel()
            task.cancel()


async def to_a_stable_end(work: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Await `work(cancelled)`; if this task is cancelled meanwhile, set `cancelled`, wait for the end that `work`
    itself finds, and only then raise CancelledError."""
    cancelled = asyncio.Event()

    async def inner() -> T:
        return await work(cancelled)

    task = asyncio.create_task(inner())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise
        cancelled.set()
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue  # asked again; the answer is the same
        if not task.cancelled():
            task.exception()  # told by the journal and the events; the caller asked for its cancellation
        raise
