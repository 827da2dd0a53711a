"""One suite for both implementations of gpu/port.py: the double, and the real client on the emulated driver.

What it asks is the driver's behaviour as measured (FACTS), so that what holds on the double holds on a GPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from gpu_bench import MIB, Bench, until

from hotseat.errors import DriverFailed, DriverTimeout, ProcessGone
from hotseat.testing.gpu import Effect
from hotseat.words import ProcessRef, ProcessState

RUNNING, LOCKED, CHECKPOINTED = ProcessState.RUNNING, ProcessState.LOCKED, ProcessState.CHECKPOINTED


async def state(bench: Bench, ref: ProcessRef) -> ProcessState:
    return (await bench.driver.states([ref], deadline=10))[ref]


async def used(bench: Bench, device: int = 0) -> int:
    return (await bench.truth.use())[device].used_bytes


async def perform(bench: Bench, op: str, refs: Sequence[ProcessRef], *, deadline: float = 10) -> list[int]:
    """Results, in the order of `refs`."""
    if op == "lock":
        outcomes = await bench.driver.lock(refs, timeout=deadline)
    else:
        outcomes = await getattr(bench.driver, op)(refs, deadline=deadline)
    assert [one.process for one in outcomes] == list(refs)
    assert all(one.seconds >= 0 for one in outcomes)
    return [one.result for one in outcomes]


async def park(bench: Bench, *refs: ProcessRef) -> None:
    await perform(bench, "lock", refs)
    await perform(bench, "checkpoint", refs)


class TestFindCuda:
    async def test_only_those_that_use_cuda(self, bench: Bench) -> None:
        cuda, plain = await bench.start({0: 2 * MIB}), await bench.plain()
        found = await bench.driver.find_cuda([plain, cuda], deadline=10)
        assert set(found) == {cuda}
        assert found[cuda] > 0

    async def test_ended_and_reused_ones_are_left_out(self, bench: Bench) -> None:
        ended, living = await bench.start({0: 2 * MIB}), await bench.start({0: 2 * MIB})
        await bench.end(ended)
        impostor = ProcessRef(living.pid, living.start_time + 1)
        assert set(await bench.driver.find_cuda([ended, impostor], deadline=10)) == set()
        assert set(await bench.driver.find_cuda([ended, living], deadline=10)) == {living}

    async def test_answers_for_frozen_and_parked_ones(self, bench: Bench) -> None:
        frozen, parked = await bench.start({0: 2 * MIB}), await bench.start({0: 2 * MIB})
        await park(bench, parked)
        bench.freeze(frozen)
        bench.freeze(parked)
        assert set(await bench.driver.find_cuda([frozen, parked], deadline=10)) == {frozen, parked}

    async def test_none_asked(self, bench: Bench) -> None:
        assert await bench.driver.find_cuda([], deadline=10) == {}
        assert await bench.driver.states([], deadline=10) == {}
        assert await bench.driver.lock([], timeout=10) == []


class TestCycle:
    async def test_memory_goes_and_comes_back(self, bench: Bench) -> None:
        ref = await bench.start({0: 20 * MIB, 1: 10 * MIB})
        before = [await used(bench, device) for device in (0, 1)]
        assert before[0] >= 20 * MIB
        assert before[1] >= 10 * MIB
        for _ in range(2):
            assert await state(bench, ref) is RUNNING
            assert await perform(bench, "lock", [ref]) == [0]
            assert await state(bench, ref) is LOCKED
            assert await used(bench) == before[0]
            assert await perform(bench, "checkpoint", [ref]) == [0]
            assert await state(bench, ref) is CHECKPOINTED
            assert [await used(bench, device) for device in (0, 1)] == [0, 0]
            assert all(ref.pid not in one.processes for one in await bench.truth.use())
            assert await perform(bench, "restore", [ref]) == [0]
            assert await state(bench, ref) is LOCKED
            assert [await used(bench, device) for device in (0, 1)] == before
            assert await perform(bench, "unlock", [ref]) == [0]
        assert await state(bench, ref) is RUNNING

    async def test_eight_at_once(self, bench: Bench) -> None:
        refs = [await bench.start({index % 2: 2 * MIB}) for index in range(8)]
        for op, after in (("lock", LOCKED), ("checkpoint", CHECKPOINTED), ("restore", LOCKED), ("unlock", RUNNING)):
            assert await perform(bench, op, refs) == [0] * 8
            assert await bench.driver.states(refs, deadline=10) == dict.fromkeys(refs, after)

    async def test_named_twice_is_called_once(self, bench: Bench) -> None:
        ref = await bench.start({0: 2 * MIB})
        assert [one.result for one in await bench.driver.lock([ref, ref], timeout=10)] == [0]

    async def test_ranks_of_a_communicator_together(self, bench: Bench) -> None:
        ranks = [await bench.start({0: 2 * MIB}, group=5) for _ in range(2)]
        for op in ("lock", "checkpoint", "restore", "unlock"):
            assert await perform(bench, op, ranks) == [0, 0]

    async def test_ranks_of_a_communicator_one_at_a_time_hang(self, bench: Bench) -> None:
        first, second = [await bench.start({0: 2 * MIB}, group=5) for _ in range(2)]
        await perform(bench, "lock", [first])
        with pytest.raises(DriverTimeout):
            await perform(bench, "checkpoint", [first], deadline=0.3)
        await bench.end(second)
        await until_state(bench, first, CHECKPOINTED)


async def until_state(bench: Bench, ref: ProcessRef, wanted: ProcessState) -> None:
    async def reached() -> bool:
        return await state(bench, ref) is wanted

    await until(reached)


class TestIllegal:
    @pytest.mark.parametrize("op", ["checkpoint", "restore", "unlock"])
    async def test_from_running(self, bench: Bench, op: str) -> None:
        ref = await bench.start({0: 2 * MIB})
        await refused(bench, op, ref, result=401, stays=RUNNING)

    @pytest.mark.parametrize("op", ["lock", "restore"])
    async def test_from_locked(self, bench: Bench, op: str) -> None:
        ref = await bench.start({0: 2 * MIB})
        await perform(bench, "lock", [ref])
        await refused(bench, op, ref, result=401, stays=LOCKED)

    @pytest.mark.parametrize("op", ["lock", "checkpoint", "unlock"])
    async def test_from_checkpointed(self, bench: Bench, op: str) -> None:
        ref = await bench.start({0: 2 * MIB})
        await park(bench, ref)
        await refused(bench, op, ref, result=401, stays=CHECKPOINTED)

    async def test_without_cuda(self, bench: Bench) -> None:
        with pytest.raises(DriverFailed) as caught:
            await perform(bench, "lock", [await bench.plain()])
        assert caught.value.result in (1, 3)

    async def test_one_of_two(self, bench: Bench) -> None:
        locked, running = await bench.start({0: 2 * MIB}), await bench.start({0: 2 * MIB})
        await perform(bench, "lock", [locked])
        with pytest.raises(DriverFailed) as caught:
            await perform(bench, "unlock", [running, locked])
        assert [(one.process, one.result) for one in caught.value.details["outcomes"]] == [(running, 401), (locked, 0)]
        assert caught.value.result == 401
        assert str(running.pid) in caught.value.message
        assert "ILLEGAL_STATE" in caught.value.message
        assert caught.value.hint
        assert await state(bench, locked) is RUNNING

    @pytest.mark.parametrize("seconds", [0.0, -1.0])
    async def test_lock_for_ever(self, bench: Bench, seconds: float) -> None:
        ref = await bench.start({0: 2 * MIB})
        with pytest.raises(ValueError, match="timeout"):
            await bench.driver.lock([ref], timeout=seconds)
        assert await state(bench, ref) is RUNNING


async def refused(bench: Bench, op: str, ref: ProcessRef, *, result: int, stays: ProcessState) -> None:
    with pytest.raises(DriverFailed) as caught:
        await perform(bench, op, [ref])
    assert caught.value.result == result
    assert await state(bench, ref) is stays


class TestIdentity:
    @pytest.mark.parametrize("op", ["lock", "checkpoint", "restore", "unlock"])
    async def test_reused_pid(self, bench: Bench, op: str) -> None:
        ref, other = await bench.start({0: 2 * MIB}), await bench.start({0: 2 * MIB})
        impostor = ProcessRef(ref.pid, ref.start_time - 1)
        with pytest.raises(ProcessGone) as caught:
            await perform(bench, op, [impostor, other])
        assert caught.value.details["processes"] == [impostor]
        assert await bench.driver.states([ref, other], deadline=10) == dict.fromkeys([ref, other], RUNNING)

    async def test_ended(self, bench: Bench) -> None:
        ref = await bench.start({0: 2 * MIB})
        await bench.end(ref)
        with pytest.raises(ProcessGone):
            await perform(bench, "lock", [ref])
        with pytest.raises(ProcessGone):
            await bench.driver.states([ref], deadline=10)

    @pytest.mark.parametrize("op", ["checkpoint", "restore"])
    async def test_dies_in_the_middle(self, bench: Bench, op: str) -> None:
        ref, other = await bench.start({0: 8 * MIB}), await bench.start({0: 8 * MIB})
        await perform(bench, "lock", [ref, other])
        if op == "restore":
            await perform(bench, "checkpoint", [ref, other])
        bench.fault(Effect.DIE, op, ref=ref)
        with pytest.raises(ProcessGone) as caught:
            await perform(bench, op, [ref, other])
        assert caught.value.details["processes"] == [ref]
        assert [(one.process, one.ok) for one in caught.value.details["outcomes"]] == [(other, True)]
        await until_free(bench, ref)


async def until_free(bench: Bench, ref: ProcessRef) -> None:
    async def free() -> bool:
        return all(ref.pid not in one.processes for one in await bench.truth.use())

    await until(free)


class TestMemory:
    async def test_restore_that_runs_out_of_memory_is_final(self, bench: Bench) -> None:
        ref = await bench.start({0: 40 * MIB})
        await park(bench, ref)
        other = await bench.start({0: 40 * MIB})
        await refused(bench, "restore", ref, result=2, stays=CHECKPOINTED)
        await bench.end(other)
        assert await used(bench) == 0
        await refused(bench, "restore", ref, result=304, stays=CHECKPOINTED)
        await refused(bench, "unlock", ref, result=401, stays=CHECKPOINTED)
        assert await used(bench) == 0

    async def test_devices_in_order_with_their_truth(self, bench: Bench) -> None:
        first, second = await bench.truth.devices()
        assert (first.index, second.index) == (0, 1)
        assert first.uuid != second.uuid
        assert first.total_bytes == second.total_bytes == bench.CAPACITY
        assert first.emulated
        assert second.emulated
        ref = await bench.start({1: 10 * MIB})
        empty, full = await bench.truth.use()
        assert (empty.device, full.device) == (first, second)
        assert empty.processes == {}
        assert full.processes == {ref.pid: full.used_bytes}
        assert full.used_bytes + full.free_bytes == bench.CAPACITY

    async def test_silent_failure_shows_in_the_device_alone(self, bench: Bench) -> None:
        ref = await bench.start({0: 10 * MIB})
        bench.fault(Effect.KEEP_MEMORY, "checkpoint", ref=ref)
        await park(bench, ref)
        assert await state(bench, ref) is CHECKPOINTED
        assert await used(bench) >= 10 * MIB


class TestFaults:
    async def test_busy_process_is_not_locked_in_time(self, bench: Bench) -> None:
        busy, idle = await bench.start({0: 2 * MIB}), await bench.start({0: 2 * MIB})
        bench.fault(Effect.BUSY, "lock", ref=busy)
        with pytest.raises(DriverFailed) as caught:
            await bench.driver.lock([busy, idle], timeout=0.2)
        assert [one.result for one in caught.value.details["outcomes"]] == [600, 0]
        assert await bench.driver.states([busy, idle], deadline=10) == {busy: RUNNING, idle: LOCKED}

    @pytest.mark.parametrize("op", ["lock", "checkpoint", "restore", "unlock"])
    async def test_call_that_fails_once(self, bench: Bench, op: str) -> None:
        ref = await bench.start({0: 2 * MIB})
        for earlier in ("lock", "checkpoint", "restore"):
            if op == earlier:
                break
            await perform(bench, earlier, [ref])
        bench.fault(Effect.RESULT, op, ref=ref, result=999)
        before = await state(bench, ref)
        await refused(bench, op, ref, result=999, stays=before)
        assert await perform(bench, op, [ref]) == [0]

    async def test_hang_names_the_process_and_costs_no_other(self, bench: Bench) -> None:
        stuck, well = await bench.start({0: 2 * MIB}), await bench.start({0: 2 * MIB})
        await perform(bench, "lock", [stuck])
        bench.fault(Effect.HANG, "checkpoint", ref=stuck)
        hanging = asyncio.create_task(perform(bench, "checkpoint", [stuck], deadline=1.0))
        for op in ("lock", "checkpoint", "restore", "unlock"):
            assert await perform(bench, op, [well]) == [0]
        with pytest.raises(DriverTimeout) as caught:
            await hanging
        assert caught.value.details["processes"] == [stuck]
        assert caught.value.details["call"] == "cuCheckpointProcessCheckpoint"
        assert str(stuck.pid) in caught.value.message
        assert await state(bench, well) is RUNNING

    async def test_call_on_a_frozen_process_hangs_and_is_dropped_with_its_caller(self, bench: Bench) -> None:
        frozen, well = await bench.start({0: 2 * MIB}), await bench.start({0: 2 * MIB})
        bench.freeze(frozen)
        with pytest.raises(DriverTimeout) as caught:
            await bench.driver.states([frozen, well], deadline=0.3)
        assert caught.value.details["processes"] == [frozen]
        with pytest.raises(DriverTimeout) as caught:
            await bench.driver.lock([frozen, well], timeout=0.1)
        assert [one.process for one in caught.value.details["outcomes"]] == [well]
        bench.thaw(frozen)
        assert await bench.driver.states([frozen, well], deadline=10) == {frozen: RUNNING, well: LOCKED}
        assert await perform(bench, "lock", [frozen]) == [0]

    async def test_cancelled_caller_does_not_stop_the_driver(self, bench: Bench) -> None:
        ref = await bench.start({0: 2 * MIB})
        assert await state(bench, ref) is RUNNING  # a worker is there now, so the lock is sent at once
        bench.freeze(ref)
        call = asyncio.create_task(bench.driver.lock([ref], timeout=10))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        bench.thaw(ref)
        await until_state(bench, ref, LOCKED)
