"""What has come of a request's body and has not gone on yet. Bounded: above `high` its sender is paused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

WINDOW = 256 * 1024
"""Bytes of a body that are held while it streams through."""
_SMALL, _JOINED = 1024, 16 * 1024
"""Bytes of a piece that is kept together with others, and of those together. A piece of two bytes takes forty as an
object of its own, and a client chooses how large its chunks are."""


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
    _small: bytearray | None = None
    """The last of what is held, if that came in small pieces."""

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
        if len(piece) < _SMALL:
            if self._small is None:
                self._small = bytearray()
            self._small += piece
            if len(self._small) >= _JOINED:
                self._join()
        else:
            self._join()
            self._pieces.append(piece)
        self.held += len(piece)
        self.total += len(piece)
        if self.changed is not None:
            self.changed()

    def finish(self) -> None:
        self.complete = True
        if self.changed is not None:
            self.changed()

    def _join(self) -> None:
        if self._small is not None:
            self._pieces.append(bytes(self._small))
            self._small = None

    def whole(self) -> bytes:
        """All that is held, which stays."""
        self._join()
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def since(self, total: int) -> list[bytes]:
        """What came after the first `total` bytes, of which none was taken."""
        out: list[bytes] = []
        start = self.total
        small = self._small
        if small is not None and start > total:
            start -= len(small)
            out.append(bytes(small[max(0, total - start) :]))
        for piece in reversed(self._pieces):
            if start <= total:
                break
            start -= len(piece)
            out.append(piece if start >= total else piece[total - start :])
        return out[::-1]

    def take(self) -> list[bytes]:
        """All that is held, which goes."""
        self._join()
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
