"""What has come of a request's body and has not gone on yet. Bounded: above `high` its sender is paused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

WINDOW = 256 * 1024
"""Bytes of a body that are held while it streams through."""


class Body:
    # Most bodies come whole and end without most of these.
    held = 0
    """Bytes in it now."""
    total = 0
    """Bytes that ever came."""
    complete = False
    consumed = False
    """Some of it was taken, so it cannot be sent again."""
    limit: int | None = None
    """Above so many bytes in all it is refused. None: not decided yet."""
    trailers: Sequence[tuple[bytes, bytes]] = ()
    changed: Callable[[], None] | None = None
    """Called when a piece or the end has come."""
    resumed: Callable[[], None] | None = None
    """Called when there is room again."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.high = WINDOW
        """Above so many bytes held the sender is paused."""

    @property
    def full(self) -> bool:
        return self.held > self.high

    def put(self, whole: bytes) -> None:
        """All of it at once, to nobody's notice yet."""
        self._pieces.append(whole)
        self.held = self.total = len(whole)
        self.complete = True

    def feed(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.held += len(piece)
        self.total += len(piece)
        if self.changed is not None:
            self.changed()

    def finish(self) -> None:
        self.complete = True
        if self.changed is not None:
            self.changed()

    def whole(self) -> bytes:
        """All that is held, which stays."""
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def since(self, total: int) -> list[bytes]:
        """The pieces that came after the first `total` bytes, of which none was taken."""
        out: list[bytes] = []
        start = self.total
        for piece in reversed(self._pieces):
            if start <= total:
                break
            start -= len(piece)
            out.append(piece)
        return out[::-1]

    def take(self) -> list[bytes]:
        """All that is held, which goes."""
        pieces, self._pieces = self._pieces, []
        if pieces:
            self.consumed = True
            self.held = 0
            if self.resumed is not None:
                self.resumed()
        return pieces

    def drop(self) -> None:
        """Nobody wants the rest."""
        self.changed = None
        self.take()
