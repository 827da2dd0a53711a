"""Between a client's connection and what answers its requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hotseat.gateway.http.request import BadRequest, Request

if TYPE_CHECKING:
    from hotseat.gateway.http.client import Client


class Turn(Protocol):
    """Whoever answers the present request. It ends with `Client.finished`, `answer` or `cut`."""

    def gone(self) -> None:
        """The client has left, or was cut off. Nothing is written from here on."""
        ...

    def writable(self, yes: bool) -> None:
        """The client takes bytes again, or has more than enough."""
        ...

    def tick(self, now: float) -> None:
        """Now and then, in the loop's time."""
        ...


class Tunnel(Turn, Protocol):
    """Takes the bytes of a client that no longer speaks HTTP."""

    def from_client(self, data: bytes) -> None: ...

    def client_end(self) -> None:
        """It will send no more; it may still read."""
        ...


class Front(Protocol):
    """Finds who answers. Raises nothing."""

    def begin(self, client: Client, request: Request) -> None:
        """The head has come. Sets `client.turn`, or answers at once."""
        ...

    def refuse(self, error: BadRequest, request: Request | None) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of a refusal of what is no request, or of one whose body is wrong."""
        ...
