"""A workload of two processes on two devices whose blocks the store holds."""

from __future__ import annotations

from swap_world import MIB, World

from hotseat.swap.port import Workload

CONTEXTS = ({0: 50 * MIB}, {0: 50 * MIB, 1: 40 * MIB})
BLOCKS = ({0: 300 * MIB}, {0: 100 * MIB, 1: 500 * MIB})


def interposed(world: World, *blocks: dict[int, int] | None) -> Workload:
    world.container("a", *CONTEXTS)
    return world.interpose("a", *(blocks or BLOCKS))
