"""What the gateway needs of the rest: seats for its requests; and what it tells of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import msgspec

from hotseat.errors import EngineFailed
from hotseat.words import State


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """One model as /v1/models shows it."""

    id: str
    workload: str
    state: State
    waiting: int = 0
    running: int = 0
    expected_wait: float | None = 0.0
    """Seconds until a request that comes now would have its seat, from measured swaps; None: not known yet."""
    note: str = ""
    gpu_bytes: int = 0
    """Device memory its workload holds now."""
    needs_bytes: int = 0
    """Device memory it needs to sit, as far as that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, as far as the seats care."""

    name: str = ""
    """The key's name; "" where there are no keys."""
    priority: int = 0
    """Added to the workload's own."""


ANYONE = Caller()


class Lease(Protocol):
    """The workload is seated for this request. It may be parked in mid-answer and seated again meanwhile."""

    @property
    def workload(self) -> str: ...

    @property
    def url(self) -> str:
        """Where its engine listens, without a slash at the end."""
        ...

    @property
    def waited(self) -> float:
        """Seconds from the request's arrival to the lease."""
        ...

    @property
    def swapped(self) -> bool:
        """A swap or a cold start was made meanwhile."""
        ...

    @property
    def frozen(self) -> bool:
        """Now: the workload is not running, so no byte can come."""
        ...

    def engine_down(self) -> None:
        """Its engine refuses connections: probe it before the next lease."""
        ...


class HeldLease(Lease, Protocol):
    """A lease without a block around it: whoever took it gives it back."""

    def release(self) -> None:
        """Idempotent."""
        ...


class Seats(Protocol):
    def models(self) -> Sequence[ModelView]: ...

    def state(self, model: str) -> State | None:
        """Of its workload, now; None: no such model. Cheap: asked for each request and again while it waits."""
        ...

    def try_seat(self, model: str, *, caller: Caller = ANYONE) -> HeldLease | None:
        """A lease if it can be had without waiting, a message or a task: the workload is seated, its engine answers,
        and nobody waits for it. None: ask `seat`, which also says why not. Never raises. This is the way of almost
        every request, so its cost is the gateway's speed."""
        ...

    def seat(self, model: str, *, caller: Caller = ANYONE) -> AbstractAsyncContextManager[Lease]:
        """Waits until the workload of `model` is seated and its engine answers; holds the lease in the block.

        `NotFound` (details["models"] lists what there is), `TooMany` (its queue is full), `NoRoom`, `Unavailable`,
        `Quarantined`, `EngineFailed`; 429 and 503 carry details["retry_after"] (seconds) where trying again may help,
        all of a workload its name as details["workload"], and details["swapped"] as a lease has it. Cancelling gives up
        the wait.
        """
        ...

    def seat_workload(self, name: str, *, caller: Caller = ANYONE) -> AbstractAsyncContextManager[Lease]:
        """The same by the workload's name, for /upstream/NAME/... ."""
        ...


class Unreachable(EngineFailed):
    """No connection to the engine, so not a byte of the request was sent: safe to try again."""


class RequestSeen(msgspec.Struct, kw_only=True, gc=False):  # each request makes one, in half the time of a dataclass
    """One inference request whose exchange has ended, for whoever counts. Times in seconds from its arrival."""

    model: str
    """As it was asked for; "" if the request named none that could be read."""
    workload: str
    """Who served it; "" if it never had a seat."""
    dialect: str
    """ "openai", "anthropic", "ollama", "upstream"."""
    status: int
    """What the client was sent; 499 if it left before anything was."""
    seconds: float
    """To the end of the answer."""
    waited: float | None
    """To its seat; None if it never had one."""
    first_byte: float | None
    """To the first byte of the engine's body; None if none came."""
    broken: bool = False
    """The answer began and did not reach its end: the engine broke off, or the client left."""
    tail: bytes = b""
    """The last bytes of the engine's body as they were sent, at most `usage.TAIL`; `usage.read` finds the tokens. Empty
    where the body has a content encoding."""
    deltas: int = 0
    """Deltas with text of an OpenAI stream, which may not tell its tokens; 0 of all others."""


OnRequest = Callable[[RequestSeen], None]
"""Called once a request, from the gateway's event loop; must be quick and must not raise."""


def nobody_counts(seen: RequestSeen) -> None:
    """The `OnRequest` of a gateway that nobody watches."""
