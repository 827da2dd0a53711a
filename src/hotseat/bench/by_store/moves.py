"""One move out and in of one process: by the store as a swap does it, or by the driver alone. Every step is timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from hotseat.bench.by_store.stage import STEP
from hotseat.gpu.port import CheckpointDriver
from hotseat.store.port import Moved, Store
from hotseat.words import ProcessRef

T = TypeVar("T")
LOCK = 10.0
"""Seconds for the driver's lock."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """Out and in once. `out` and `into` are seconds from the first step to the last of each direction."""

    out: float
    into: float
    steps: dict[str, float]
    parts: dict[str, float] = field(default_factory=dict)
    """Within the store's steps, "step: part", as it says itself; some run beside others."""
    moved_out: Moved = field(default_factory=Moved)
    moved_in: Moved = field(default_factory=Moved)


class Clock:
    """Seconds of each step, and of what the store says of its own."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self.parts: dict[str, float] = {}

    async def look(self, step: str, store: Store, ref: ProcessRef) -> None:
        """Once the step has ended; not part of what is timed."""
        held = await store.held([ref], deadline=STEP)
        self.parts |= {f"{step}: {name}": seconds for name, seconds in held[ref].parts.items()}

    async def of(self, name: str, work: Awaitable[T]) -> T:
        began = time.perf_counter()
        done = await work
        self.steps[name] = time.perf_counter() - began
        return done


async def by_driver(gpu: CheckpointDriver, ref: ProcessRef) -> Move:
    """Nothing of it may be lent by a store."""
    clock = Clock()
    await clock.of("lock", gpu.lock([ref], timeout=LOCK))
    await clock.of("checkpoint", gpu.checkpoint([ref], deadline=STEP))
    await clock.of("restore", gpu.restore([ref], deadline=STEP))
    await clock.of("unlock", gpu.unlock([ref], deadline=LOCK))
    steps = clock.steps
    out, into = steps["lock"] + steps["checkpoint"], steps["restore"] + steps["unlock"]
    return Move(out=out, into=into, steps=steps)


async def out_by_store(
    gpu: CheckpointDriver, store: Store, ref: ProcessRef, *, keep: bool, clock: Clock, then: ProcessRef | None = None
) -> Moved:
    """`keep`: the context stays on the device. `then`: who comes in ahead, into what this one leaves."""
    taken = await clock.of("take", store.take([ref], deadline=STEP))
    clock.parts |= {f"take: {name}": seconds for name, seconds in taken[ref].parts.items()}
    if not keep:
        await clock.of("lock", gpu.lock([ref], timeout=LOCK))
    if then is not None:
        await store.ahead([then], deadline=STEP)
    if keep:
        return await clock.of("move_out", store.move_out([ref], deadline=STEP))
    _, moved = await asyncio.gather(
        clock.of("checkpoint", gpu.checkpoint([ref], deadline=STEP)),
        clock.of("move_out", store.move_out([ref], deadline=STEP)),
    )
    return moved


async def in_by_store(gpu: CheckpointDriver, store: Store, ref: ProcessRef, *, keep: bool, clock: Clock) -> Moved:
    if keep:
        moved = await clock.of("move_in", store.move_in([ref], deadline=STEP))
    else:
        _, moved = await asyncio.gather(
            clock.of("restore", gpu.restore([ref], deadline=STEP)),
            clock.of("move_in", store.move_in([ref], deadline=STEP)),
        )
        await clock.of("unlock", gpu.unlock([ref], deadline=LOCK))
    await clock.look("move_in", store, ref)
    await clock.of("give", store.give([ref], deadline=STEP))
    return moved


async def by_store(
    gpu: CheckpointDriver, store: Store, ref: ProcessRef, *, keep: bool = False, settle: float = 0.0
) -> Move:
    """`settle`: seconds between out and in, which count in neither. A driver clears memory that was freed in the
    background, and whoever allocates all of it at once waits for that."""
    clock = Clock()
    began = time.perf_counter()
    moved_out = await out_by_store(gpu, store, ref, keep=keep, clock=clock)
    out = time.perf_counter() - began
    await clock.look("move_out", store, ref)
    await asyncio.sleep(settle)
    between = time.perf_counter()
    moved_in = await in_by_store(gpu, store, ref, keep=keep, clock=clock)
    into = time.perf_counter() - between
    await clock.look("give", store, ref)
    return Move(
        out=out,
        into=into,
        steps=clock.steps,
        parts=clock.parts,
        moved_out=moved_out,
        moved_in=moved_in,
    )
