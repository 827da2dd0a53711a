"""Faults in a swap's world: before or after the effect of the Nth call of a name, fail, hang, be killed, or cancel."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotseat.errors import HotseatError

if TYPE_CHECKING:
    from swap_world import World


class HotseatDied(BaseException):
    """kill -9 of hotseat at this point: nothing of it may catch this."""


class What(enum.StrEnum):
    FAIL = "fail"
    FAIL_AFTER = "fail after"
    """It has happened, yet the call says no."""
    HANG = "hang"
    DIE = "die"
    """hotseat is killed before the call."""
    DIE_AFTER = "die after"
    CANCEL = "cancel"
    """The caller of the swap is cancelled just before the call."""


@dataclass(kw_only=True)
class Strike:
    call: str
    what: What
    skip: int = 0
    times: int = 1


@dataclass(kw_only=True)
class Call:
    """One call on a port, with the fault that a test wants for it."""

    world: World
    name: str
    error: HotseatError
    deadline: float
    strike: Strike | None = None

    async def __aenter__(self) -> None:
        world = self.world
        world.calls.append(self.name)
        self.strike = strike = _struck(world.strikes, self.name)
        await asyncio.sleep(0)
        match strike and strike.what:
            case What.DIE:
                raise HotseatDied
            case What.FAIL:
                raise self.error
            case What.HANG:
                world.patience_was_tried |= self.name == "inspect"
                await asyncio.sleep(self.deadline)
                raise self.error
            case What.CANCEL:
                assert world.caller is not None
                world.caller.cancel()
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    async def __aexit__(self, *exc: object) -> None:
        if exc[0] is None and self.strike is not None:
            if self.strike.what is What.FAIL_AFTER:
                raise self.error
            if self.strike.what is What.DIE_AFTER:
                raise HotseatDied


def _struck(strikes: list[Strike], name: str) -> Strike | None:
    for strike in strikes:
        if strike.call == name and strike.times:
            if strike.skip:
                strike.skip -= 1
                continue
            strike.times -= 1
            return strike
    return None
