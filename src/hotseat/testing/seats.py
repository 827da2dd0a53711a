"""A double of `hotseat.gateway.port.Seats`: a test says when a seat is given, and freezes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from hotseat.errors import HotseatError, NotFound
from hotseat.gateway.port import ANYONE, Caller, ModelView
from hotseat.words import State


@dataclass(slots=True, kw_only=True)
class SeatLease:
    workload: str
    url: str
    waited: float = 0.0
    swapped: bool = False
    frozen: bool = False
    down: bool = False

    def engine_down(self) -> None:
        self.down = True


@dataclass(slots=True)
class FakeSeats:
    """`urls`: model -> where its engine listens. Seats are given at once unless `open` is cleared."""

    urls: dict[str, str]
    open: asyncio.Event = field(default_factory=asyncio.Event)
    error: HotseatError | None = None
    """Raised instead of a lease once `open` is set."""
    leases: list[SeatLease] = field(default_factory=list)
    """Those given and not yet given back."""
    waiting: int = 0
    given: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    swapped: bool = False

    def __post_init__(self) -> None:
        self.open.set()

    def models(self) -> Sequence[ModelView]:
        return [ModelView(id=model, workload=model, state=State.SEATED) for model in self.urls]

    @contextlib.asynccontextmanager
    async def seat(self, model: str, *, caller: Caller = ANYONE) -> AsyncIterator[SeatLease]:
        if model not in self.urls:
            raise NotFound(f"no model {model!r}", hint="there are: " + ", ".join(self.urls), models=list(self.urls))
        self.waiting += 1
        self.asked.set()
        try:
            await self.open.wait()
        finally:
            self.waiting -= 1
        if self.error is not None:
            raise self.error
        lease = SeatLease(workload=model, url=self.urls[model], waited=0.25, swapped=self.swapped)
        self.leases.append(lease)
        self.given += 1
        try:
            yield lease
        finally:
            self.leases.remove(lease)

    def seat_workload(self, name: str, *, caller: Caller = ANYONE) -> contextlib.AbstractAsyncContextManager[SeatLease]:
        return self.seat(name, caller=caller)
