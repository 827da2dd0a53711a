"""A double of `hotseat.gateway.port.Seats`: a test says when a seat is given, and freezes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from hotseat.errors import HotseatError, NotFound
from hotseat.gateway.port import ANYONE, Caller, ModelView
from hotseat.words import State


@dataclass(slots=True, kw_only=True, eq=False)
class SeatLease:
    workload: str
    url: str
    waited: float = 0.0
    swapped: bool = False
    frozen: bool = False
    down: bool = False
    give_back: Callable[[SeatLease], None] = lambda lease: None

    def release(self) -> None:
        self.give_back(self)

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
    at_once: bool = True
    """Whether `try_seat` gives any."""

    def __post_init__(self) -> None:
        self.open.set()

    def models(self) -> Sequence[ModelView]:
        return [ModelView(id=model, workload=model, state=State.SEATED) for model in self.urls]

    def state(self, model: str) -> State | None:
        return State.SEATED if model in self.urls else None

    def try_seat(self, model: str, *, caller: Caller = ANYONE) -> SeatLease | None:
        if not self.at_once or model not in self.urls or not self.open.is_set() or self.waiting or self.error:
            return None
        return self._give(model)

    def _give(self, model: str) -> SeatLease:
        lease = SeatLease(
            workload=model, url=self.urls[model], waited=0.25, swapped=self.swapped, give_back=self._take_back
        )
        self.leases.append(lease)
        self.given += 1
        return lease

    def _take_back(self, lease: SeatLease) -> None:
        if lease in self.leases:
            self.leases.remove(lease)

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
        lease = self._give(model)
        try:
            yield lease
        finally:
            lease.release()

    def seat_workload(self, name: str, *, caller: Caller = ANYONE) -> contextlib.AbstractAsyncContextManager[SeatLease]:
        return self.seat(name, caller=caller)
