"""A parked workload comes in ahead of its swap in, as far as the store has it: into memory that is free, and into what
becomes free while another moves out.

It stays parked, and what has come has no reservation: a swap in may give it up before its grant (`hotseat.swap.room`),
and from a grant to the end of that swap nothing comes ahead into the same devices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from hotseat.errors import Busy
from hotseat.gpu.port import DeviceTruth
from hotseat.platforms.port import Container
from hotseat.store.port import HeldState, Store
from hotseat.swap.classify import void
from hotseat.swap.journal import Journal
from hotseat.swap.port import Deadlines
from hotseat.swap.reservations import Reservations
from hotseat.words import DeviceUse, State

WITHIN = 60.0
"""Seconds after which what has come is given up, unless a swap in has taken it."""


async def begin(
    container: Container,
    *,
    store: Store,
    devices: DeviceTruth,
    journal: Journal,
    reservations: Reservations,
    deadlines: Deadlines,
    caps: Mapping[int, int],
) -> None:
    """Returns at once. Does nothing where nothing can come, or might come into what is promised to another. `caps`:
    bytes by device index."""
    record = journal.read(container.key)
    if record is None or record.state is not State.PARKED or void(container, record):
        return
    mine = [holding.process for holding in record.holdings if holding.interposed]
    held = await store.held(mine, deadline=deadlines.query) if mine else {}
    out = [process for process in mine if process in held and held[process].state is HeldState.OUT]
    uses = await devices.use() if out else ()
    if not out or not _tells(uses, record.parked):
        return
    # What is free beyond the cap now stays so, and so does what those who are over it leave until they are not.
    leave = {
        use.device.uuid: use.free_bytes - (caps[use.device.index] - use.used_bytes)
        for use in uses
        if use.device.index in caps
    }
    try:
        with reservations.settling():
            if not any(
                promise.nbytes and promise.device in record.parked and promise.key != container.key
                for promise in reservations.all()
            ):
                reservations.comes_until = asyncio.get_running_loop().time() + WITHIN + deadlines.move_floor
                await store.ahead(out, leave=leave, deadline=WITHIN)
    except Busy:
        return  # somebody gets a grant in this very moment


def _tells(uses: Sequence[DeviceUse], wanted: Collection[int]) -> bool:
    """Each of these devices says how much each of its processes holds. Else what one gives up could not be told from
    what another takes meanwhile."""
    tell = {use.device.index: all((use.processes or {0: not use.used_bytes}).values()) for use in uses}
    return all(tell.get(index, False) for index in wanted)
