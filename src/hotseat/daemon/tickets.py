"""Requests at the gateway, and those of one workload that wait. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from hotseat.errors import HotseatError
from hotseat.scheduler.turns import turn

Answer = Callable[[Any, HotseatError | None], None]
"""Called once with (value, None) or (None, error)."""


class Ticket(msgspec.Struct, eq=False):
    """One request at the gateway, from its arrival until it ends."""

    workload: str
    arrived: float
    answer: Answer
    """Called with the time waited when the seat is given."""
    priority: int = 0
    """Its caller's, added to the workload's own."""
    swapped: bool = False
    ended: bool = False

    @property
    def turn(self) -> float:
        """Among the requests of one workload; see `scheduler.turns`."""
        return turn(self.arrived, self.priority)


class Queue:
    """Those who wait for one workload. All get its seat at once, in their turn: one is overtaken by another of the same
    workload only if that came less than its head start (1 s a point of priority) later, and never by more than that."""

    __slots__ = ("_urgent", "tickets")

    def __init__(self) -> None:
        self.tickets: dict[Ticket, None] = {}
        """In order of arrival. For reading, where a call is too dear."""
        self._urgent: Ticket | None = None

    def __len__(self) -> int:
        return len(self.tickets)

    def __iter__(self) -> Iterator[Ticket]:
        """In order of arrival."""
        return iter(self.tickets)

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self.tickets

    @property
    def urgent(self) -> Ticket | None:
        """Whose turn is first."""
        if self._urgent is None and self.tickets:
            self._urgent = min(self.tickets, key=lambda ticket: ticket.turn)
        return self._urgent

    def add(self, ticket: Ticket) -> bool:
        """Whether it is the most urgent now."""
        before = self.urgent
        self.tickets[ticket] = None
        if before is not None and before.turn <= ticket.turn:
            return False
        self._urgent = ticket
        return True

    def discard(self, ticket: Ticket) -> None:
        if ticket in self.tickets:
            del self.tickets[ticket]
            if ticket is self._urgent:
                self._urgent = None

    def take_all(self) -> list[Ticket]:
        """In their turn; nobody waits any more."""
        taken = sorted(self.tickets, key=lambda ticket: ticket.turn)
        self.tickets.clear()
        self._urgent = None
        return taken

    def take_late(self, before: float) -> list[Ticket]:
        """Those that arrived at or before that time."""
        late = []
        for ticket in self.tickets:
            if ticket.arrived > before:
                break
            late.append(ticket)
        for ticket in late:
            self.discard(ticket)
        return late
