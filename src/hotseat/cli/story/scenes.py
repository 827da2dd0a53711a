"""The scenes: what is done in front of the audience, each with the check that it was as told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from hotseat.cli import units
from hotseat.cli.access.port import Access
from hotseat.cli.story import plot
from hotseat.cli.story.engine import Engine
from hotseat.cli.story.plot import Step, Told, Undisturbed
from hotseat.cli.story.stage import Stage
from hotseat.cli.story.store import status
from hotseat.cli.story.talk import Answer, Messages, Talk
from hotseat.cli.view import Row
from hotseat.store.port import HeldState
from hotseat.words import State

SETTLE_DEADLINE = 20.0
"""Seconds until a workload is in the state that it is told to be in."""
PIECES_BEFORE_FREEZE = 8


@dataclass(slots=True)
class Scenes:
    """Plays one after the other. `tell` is called with each step as soon as it is done."""

    stage: Stage
    engine: Engine | None
    talk: Talk
    access: Access
    expected: Mapping[str, Undisturbed]
    tell: Callable[[Step], None]
    told: Told

    async def play(self) -> None:
        a, b = self.stage.engines
        first = await self.answer(f"ask {a}", a, plot.opening(a), self.expected[a].first)
        await self.state(a, State.SEATED)
        await self.answer(f"ask {b}", b, plot.opening(b), self.expected[b].first)
        await self.parked(a)
        second = self.expected[a].second
        assert second is not None
        await self.answer(f"back to {a}", a, plot.going_on(a, first.text), second, warm=True)
        await self.parked(b)
        await self.freeze_in_the_middle(a, b)

    async def answer(self, name: str, model: str, messages: Messages, wanted: Answer, *, warm: bool = False) -> Answer:
        said = await self.talk.ask(model, messages, tokens=plot.SHORT_TOKENS)
        self.add(plot.compare(name, said, wanted, warm=warm))
        return said

    async def freeze_in_the_middle(self, a: str, b: str) -> None:
        """`a` tells a long story; in the middle of it `b` is asked and answers; the story goes on."""
        wanted = self.expected[a].long
        other = self.expected[b].second
        assert wanted is not None
        assert other is not None
        heard: list[str] = []
        middle = asyncio.Event()

        def on_piece(piece: str) -> None:
            heard.append(piece)
            if len(heard) >= PIECES_BEFORE_FREEZE:
                middle.set()

        story = asyncio.create_task(self.talk.stream(a, plot.long_story(a), tokens=plot.LONG_TOKENS, on_piece=on_piece))
        try:
            await first_of(middle.wait(), story)
            before = len(heard)
            messages = plot.going_on(b, self.expected[b].first.text)
            said = await self.talk.ask(b, messages, tokens=plot.SHORT_TOKENS)
            frozen = not story.done() and len(heard) < plot.LONG_TOKENS
            self.add(plot.compare(f"ask {b} while {a} speaks", said, other, warm=True))
            detail = (
                f"{before} of {plot.LONG_TOKENS} tokens heard when {b} was asked, {len(heard)} when it had answered"
            )
            self.add(Step(name=f"{a} freezes in the middle", ok=frozen, detail=detail))
            whole = await story
        finally:
            story.cancel()
            await asyncio.gather(story, return_exceptions=True)
        step = plot.compare(f"{a} goes on", whole, wanted)
        pause = f"; its longest silence was {units.duration(whole.longest_silence)}"
        self.add(Step(name=step.name, ok=step.ok, detail=step.detail + pause, seconds=whole.seconds))

    async def parked(self, name: str) -> None:
        """Off the GPU by hotseat's word, by the device's own, and by the container engine's."""
        row = await self.wait_state(name, State.PARKED)
        held = sum(row.gpu_bytes.values())
        listed = {pid for use in await self.access.devices() for pid in use.processes} & set(row.pids)
        ok = row.state is State.PARKED and held == 0 and not listed
        detail = f"{name} is {row.state}, {units.size(row.host_bytes)} of host memory, 0 bytes of the GPU"
        if held or listed:
            detail = f"{name} still holds {units.size(held)} of the GPU (pids {sorted(listed)})"
        if self.stage.arena is not None:
            ok, by = ok and row.way == "interposed", await self.by_store()
            detail += f"; {row.way or 'nothing'}: {by}"
        if self.engine is not None:
            line = await self.engine.status_line(self.stage.container(name))
            ok = ok and "paused" in line.lower()
            detail += f"; {self.stage.platform} ps: {line}"
        self.add(Step(name=f"{name} is parked", ok=ok, detail=detail))

    async def by_store(self) -> str:
        """What the store has of those that are parked."""
        out = [held for held in (await status(self.stage)).processes.values() if held.state is HeldState.OUT]
        return f"{units.size(sum(one.bytes for one in out))} with the store"

    async def state(self, name: str, wanted: State) -> None:
        row = await self.wait_state(name, wanted)
        detail = f"{name} is {row.state}, {units.size(sum(row.gpu_bytes.values()))} of the GPU"
        self.add(Step(name=f"{name} is {wanted}", ok=row.state is wanted, detail=detail))

    async def wait_state(self, name: str, wanted: State) -> Row:
        """Its row once it is in that state, or as it is at the deadline."""
        end = time.monotonic() + SETTLE_DEADLINE
        while True:
            row = next(row for row in await self.access.rows() if row.name == name)
            if row.state is wanted or time.monotonic() > end:
                return row
            await asyncio.sleep(0.05)

    def add(self, step: Step) -> None:
        self.told.steps.append(step)
        self.tell(step)


async def first_of(event: Awaitable[object], task: asyncio.Task[Answer]) -> None:
    """Return when the event comes; if the task ends before, its failure is ours."""
    waiting = asyncio.ensure_future(event)
    try:
        await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
