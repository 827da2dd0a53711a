"""How much of the host's memory the bodies of requests that wait take, all together."""

from __future__ import annotations

from hotseat.errors import Unavailable


class Held:
    """Bytes. Bodies of up to `http.body.WINDOW` are not counted: they are most, and `max_connections` bounds them."""

    def __init__(self) -> None:
        self.bytes = 0
        self.most = 0

    def change(self, before: int, now: int) -> int:
        """One body holds `now` instead of `before`; returns `now`. `Unavailable` if that is too much: nothing is
        changed then."""
        held = self.bytes - before + now
        if now > before and held > self.most:
            raise Unavailable(
                f"requests that wait hold {self.bytes} bytes of bodies, which leaves no room for this one",
                rule="gateway.max_held",
                hint="try again when some of them are served, or raise gateway.max_held",
                retry_after=1.0,
            )
        self.bytes = held
        return now
