"""An engine is readied for its swap out after the drain, before anything is touched, and only where it runs."""

from __future__ import annotations

import pytest
from swap_world import MIB, World

from hotseat.errors import EngineFailed, Refused

pytestmark = pytest.mark.looptime


@pytest.fixture
def said() -> list[str]:
    return []


async def test_after_the_drain_and_before_the_swap_and_its_time_is_the_engines(world: World, said: list[str]):
    workload = world.container("a", {0: 300 * MIB})

    async def drain() -> None:
        said.append("drain")

    async def prepare() -> None:
        assert world.runs("a")
        said.append("prepare")

    report = await world.swapper().swap_out(workload, drain=drain, prepare=prepare)
    assert said == ["drain", "prepare"]
    assert world.is_parked("a")
    names = [phase.name for phase in report.phases]
    assert names.index("drain") < names.index("before_park") < names.index("find")
    assert {phase.part for phase in report.phases if phase.name == "before_park"} == {"engine"}


async def test_what_it_raises_ends_the_swap_before_anything_is_touched(world: World):
    workload = world.container("a", {0: 300 * MIB})

    async def prepare() -> None:
        raise EngineFailed("it will not sleep")

    with pytest.raises(EngineFailed, match="will not sleep"):
        await world.swapper().swap_out(workload, prepare=prepare)
    assert world.runs("a")
    assert not {op for op, _ in world.gpu.calls} & {"lock", "checkpoint", "unlock"}


async def test_neither_the_parked_nor_the_refused_are_asked(world: World, said: list[str]):
    workload = world.container("a", {0: 300 * MIB})

    async def prepare() -> None:
        said.append("prepare")

    await world.swapper().swap_out(workload, prepare=prepare)
    assert (await world.swapper().swap_out(workload, prepare=prepare)).phases == ()
    world.exit(world.boxes["a"])
    with pytest.raises(Refused):
        await world.swapper().swap_out(workload, prepare=prepare)
    assert said == ["prepare"]
