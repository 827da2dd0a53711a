"""What is refused before anything is touched: each refusal names its rule and the way out."""

from __future__ import annotations

import asyncio

import pytest
from swap_checks import stable
from swap_strikes import Strike, What
from swap_world import MIB, World

from hotseat.errors import Busy, DriverFailed, NoRoom, Refused
from hotseat.linux.port import HostMemory
from hotseat.platforms.port import Status
from hotseat.words import ProcessState, State

pytestmark = pytest.mark.looptime


async def refused(world: World, swap) -> Refused:
    touching = {"lock", "checkpoint", "restore", "unlock", "pause", "unpause", "kill"}
    world.calls.clear()
    with pytest.raises(Refused) as caught:
        await swap
    assert not touching & set(world.calls)
    assert caught.value.hint
    assert caught.value.rule
    return caught.value


async def test_what_does_not_run_cannot_be_parked(world: World):
    workload = world.container("a", {0: MIB})
    world.exit(world.boxes["a"])
    assert (await refused(world, world.swapper().swap_out(workload))).rule == "not running"
    assert (await refused(world, world.swapper().swap_in(workload))).rule == "not running"


async def test_what_someone_else_paused_is_left_to_them(world: World):
    workload = world.container("a", {0: MIB})
    world.set_status(world.boxes["a"], Status.PAUSED)
    error = await refused(world, world.swapper().swap_out(workload))
    assert error.rule == "paused"
    assert "unpause a" in error.hint
    assert (await refused(world, world.swapper().swap_in(workload))).rule == "paused"


@pytest.mark.parametrize("state", [ProcessState.LOCKED, ProcessState.CHECKPOINTED])
async def test_what_another_tool_is_at_work_on_is_left_to_it(world: World, state: ProcessState):
    workload = world.container("a", {0: MIB})
    process = world.gpu.processes[next(iter(world.boxes["a"].secrets))]
    process.state, process.on_device = state, state is ProcessState.LOCKED
    assert (await refused(world, world.swapper().swap_out(workload))).rule == "foreign checkpoint"
    if state is ProcessState.CHECKPOINTED:
        assert (await refused(world, world.swapper().swap_in(workload))).rule == "foreign checkpoint"


async def test_a_debugger_keeps_its_process(world: World):
    workload = world.container("a", {0: MIB})
    world.boxes["a"].traced = True
    with pytest.raises(Refused, match="gdb") as caught:
        await world.swapper().swap_out(workload)
    assert caught.value.rule == "traced"
    assert world.runs("a")


@pytest.mark.parametrize(
    "host", [HostMemory(available=50 * MIB), HostMemory(available=1 << 40, limit=80 * MIB, used=30 * MIB)]
)
async def test_the_host_must_be_able_to_take_what_the_devices_give_up(world: World, host: HostMemory):
    workload = world.container("a", {0: 100 * MIB})
    world.boxes["a"].memory = host
    error = await refused(world, world.swapper().swap_out(workload))
    assert isinstance(error, NoRoom)
    assert error.rule == "host memory"
    assert error.details["lacking"] == error.details["needed"] - 50 * MIB
    assert f"{error.details['lacking']} bytes are lacking" in error.message
    assert ("limit" in error.message) is (host.limit is not None)


async def test_a_device_without_room_is_waited_for_and_then_named_with_its_holders(world: World):
    swapper = world.swapper()
    workload = world.container("a", {0: 700 * MIB})
    await swapper.swap_out(workload)
    world.container("b", {0: 400 * MIB})
    pid = next(iter(world.boxes["b"].secrets)).pid
    error = await refused(world, swapper.swap_in(workload))
    assert isinstance(error, NoRoom)
    assert f"device 0: 700 MiB needed, 600 MiB free (a process (pid {pid}) holds 400 MiB)" in error.message
    assert error.details["lacking"] == {0: 100 * MIB}
    assert asyncio.get_running_loop().time() >= 3
    assert (await stable(world, "a")).state is State.PARKED


async def test_memory_that_is_released_late_is_waited_for(world: World):
    swapper = world.swapper()
    workload = world.container("a", {0: 700 * MIB})
    world.gpu.release_lag = 1.5
    report = await swapper.swap_out(workload)
    assert sum(phase.seconds for phase in report.phases if phase.part == "wait") > 0
    other = world.container("b", {0: 700 * MIB})
    await swapper.swap_out(other)
    await swapper.swap_in(workload)
    assert world.runs("a")


async def test_a_cap_counts_what_all_workloads_use(world: World):
    swapper = world.swapper()
    workload = world.container("a", {0: 300 * MIB})
    await swapper.swap_out(workload)
    world.container("b", {0: 200 * MIB})
    assert isinstance(await refused(world, swapper.swap_in(workload, caps={0: 499 * MIB})), NoRoom)
    await swapper.swap_in(workload, caps={0: 500 * MIB})
    assert world.runs("a")


async def test_one_workload_is_swapped_by_one_at_a_time(world: World):
    workload = world.container("a", {0: 300 * MIB})
    came = await asyncio.gather(
        world.swapper().swap_out(workload), world.swapper().swap_out(workload), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in came) == ["Busy", "SwapReport"]
    assert world.is_parked("a")
    with pytest.raises(Busy), world.swapper()._guard(workload.container.key, "a"):
        await world.swapper().recover(workload)


async def test_a_driver_that_does_not_answer_is_never_taken_for_no_gpu(world: World):
    workload = world.container("a", {0: 300 * MIB})
    world.strikes = [Strike(call="find", what=What.FAIL)]
    with pytest.raises(DriverFailed):
        await world.swapper().swap_out(workload)
    assert world.runs("a")
    await world.swapper().swap_out(workload)
    world.strikes = [Strike(call="find", what=What.FAIL)]
    with pytest.raises(DriverFailed):
        await world.swapper().swap_in(workload)
    assert world.is_parked("a")


async def test_newcomers_are_caught_before_the_commit(world: World):
    workload = world.container("a", {0: 300 * MIB})
    world.boxes["a"].born_while_freezing = [{0: 50 * MIB}, {1: 60 * MIB}]
    report = await world.swapper().swap_out(workload)
    assert report.gpu_bytes == {0: 350 * MIB, 1: 60 * MIB}
    assert report.cuda_processes == 3
    assert world.is_parked("a")
    await world.swapper().swap_in(workload)
    assert world.runs("a")


async def test_newcomers_without_end_are_given_up_on_unharmed(world: World):
    workload = world.container("a", {0: 300 * MIB})
    world.boxes["a"].born_while_freezing = [{0: MIB} for _ in range(20)]
    with pytest.raises(Exception, match="new CUDA processes appeared"):
        await world.swapper().swap_out(workload)
    assert world.runs("a")


async def test_a_newcomer_too_large_for_the_host_is_found_before_the_commit(world: World):
    workload = world.container("a", {0: 100 * MIB})
    world.boxes["a"].memory = HostMemory(available=200 * MIB)
    world.boxes["a"].born_while_freezing = [{0: 300 * MIB}]
    with pytest.raises(NoRoom):
        await world.swapper().swap_out(workload)
    assert world.runs("a")


async def test_what_is_done_already_is_a_report_without_phases(world: World):
    swapper = world.swapper()
    workload = world.container("a", {0: 300 * MIB})
    assert (await swapper.swap_in(workload)).phases == ()
    await swapper.swap_out(workload)
    assert (await swapper.swap_out(workload)).phases == ()


async def test_a_refusal_comes_before_the_drain_and_the_drain_before_the_swap(world: World):
    workload = world.container("a", {0: 300 * MIB})
    drained: list[bool] = []

    async def drain() -> None:
        drained.append(world.runs("a"))

    report = await world.swapper().swap_out(workload, drain=drain)
    assert drained == [True]
    assert "drain" in [phase.name for phase in report.phases]
    world.exit(world.boxes["a"])
    with pytest.raises(Refused):
        await world.swapper().swap_out(workload, drain=drain)
    assert len(drained) == 1


async def test_without_cuda_parking_is_the_pause_and_says_so(world: World):
    swapper = world.swapper()
    workload = world.container("a")
    report = await swapper.swap_out(workload)
    assert report.gpu_bytes == {}
    seen = await swapper.observe(workload)
    assert seen.state is State.PARKED
    assert "no process of it uses CUDA" in seen.note
    await swapper.swap_in(workload)
    assert world.runs("a")


async def test_what_someone_unpaused_is_paused_again_or_brought_back(world: World):
    swapper = world.swapper()
    workload = world.container("a", {0: 300 * MIB})
    await swapper.swap_out(workload)
    world.set_status(world.boxes["a"], Status.RUNNING)
    assert "unpaused behind" in (await swapper.observe(workload)).note
    await swapper.swap_out(workload)
    assert world.is_parked("a")
    world.set_status(world.boxes["a"], Status.RUNNING)
    await swapper.swap_in(workload)
    assert world.runs("a")


async def test_a_parked_workload_that_lost_a_process_brings_back_the_others(world: World):
    swapper = world.swapper()
    workload = world.container("a", {0: 300 * MIB}, {0: 100 * MIB})
    await swapper.swap_out(workload)
    world.gpu.end(next(iter(world.boxes["a"].secrets)))
    assert "was killed while parked" in (await swapper.observe(workload)).note
    report = await swapper.swap_in(workload)
    assert report.gpu_bytes == {0: 100 * MIB}


@pytest.mark.parametrize("states", [(ProcessState.LOCKED, ProcessState.CHECKPOINTED), (ProcessState.LOCKED,) * 2])
@pytest.mark.parametrize("goal", [State.SEATED, State.PARKED])
async def test_what_someone_restored_halfway_is_finished_either_way(world: World, states, goal: State):
    swapper = world.swapper()
    workload = world.container("a", {0: 300 * MIB}, {0: 100 * MIB})
    await swapper.swap_out(workload)
    world.set_status(world.boxes["a"], Status.RUNNING)
    for ref, state in zip(world.boxes["a"].secrets, states, strict=True):
        world.gpu.processes[ref].state = state
        world.gpu.processes[ref].on_device = state is ProcessState.LOCKED
    await (swapper.swap_in(workload) if goal is State.SEATED else swapper.swap_out(workload))
    assert (await stable(world, "a")).state is goal
