"""What the double can do beyond the contract, and that it and the emulated driver agree on any sequence of calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from gpu_bench import MIB, Bench, DoubleBench, EmulatedBench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotseat.errors import DriverFailed, DriverTimeout, HotseatError, ProcessGone, WorkerDied
from hotseat.testing.gpu import GIB, Effect, FakeGpu, Fault
from hotseat.words import ProcessRef, ProcessState

A, B = ProcessRef(100, 1), ProcessRef(101, 1)


class TestFaults:
    async def test_worker_that_dies_before_it_called(self) -> None:
        gpu = FakeGpu()
        gpu.start(A, {0: GIB})
        gpu.faults.append(Fault(op="lock", effect=Effect.WORKER_DIES))
        with pytest.raises(WorkerDied) as caught:
            await gpu.lock([A], timeout=1)
        assert caught.value.details["processes"] == [A]
        assert await gpu.states([A], deadline=1) == {A: ProcessState.RUNNING}
        await gpu.lock([A], timeout=1)

    async def test_worker_that_dies_when_all_was_done(self) -> None:
        gpu = FakeGpu()
        gpu.start(A, {0: GIB})
        gpu.faults.append(Fault(op="lock", effect=Effect.WORKER_DIES_AFTER))
        with pytest.raises(WorkerDied) as caught:
            await gpu.lock([A], timeout=1)
        assert caught.value.details["outcomes"] == []
        assert await gpu.states([A], deadline=1) == {A: ProcessState.LOCKED}

    async def test_call_that_is_done_and_never_returns(self) -> None:
        gpu = FakeGpu()
        gpu.start(A, {0: GIB})
        gpu.faults.append(Fault(op="lock", effect=Effect.HANG_AFTER))
        with pytest.raises(DriverTimeout):
            await gpu.lock([A], timeout=0.01)
        assert await gpu.states([A], deadline=1) == {A: ProcessState.LOCKED}
        await gpu.aclose()

    async def test_failed_is_final(self) -> None:
        gpu = FakeGpu()
        gpu.start(A, {0: GIB})
        await gpu.lock([A], timeout=1)
        gpu.faults.append(Fault(op="checkpoint", effect=Effect.FAIL, result=719))
        with pytest.raises(DriverFailed) as caught:
            await gpu.checkpoint([A], deadline=1)
        assert caught.value.result == 719
        assert await gpu.states([A], deadline=1) == {A: ProcessState.FAILED}
        for call in (gpu.lock([A], timeout=1), gpu.restore([A], deadline=1), gpu.unlock([A], deadline=1)):
            with pytest.raises(DriverFailed, match="401"):
                await call

    async def test_fault_strikes_the_nth_call_on_its_process_as_often_as_told(self) -> None:
        gpu = FakeGpu()
        gpu.start(A)
        gpu.start(B)
        gpu.faults.append(Fault(op="state", effect=Effect.RESULT, pid=A.pid, skip=1, times=2, result=304))
        struck = []
        for _ in range(5):
            await gpu.states([B], deadline=1)
            try:
                await gpu.states([A], deadline=1)
                struck.append(False)
            except DriverFailed:
                struck.append(True)
        assert struck == [False, True, True, False, False]

    async def test_device_lists_what_the_api_does_not_know(self) -> None:
        gpu = FakeGpu()
        gpu.start(A, {0: GIB})
        gpu.start(B, {0: GIB})
        gpu.processes[A].unknown_to_driver = True
        with pytest.raises(DriverFailed, match="knows nothing of it") as caught:
            await gpu.find_cuda([A, B], deadline=1)
        assert caught.value.details["processes"] == [A]
        assert caught.value.details["found"] == {B: B.pid}


class TestMemory:
    async def test_late_release_shows_and_does_not_bind(self) -> None:
        gpu = FakeGpu(devices=[10 * GIB], release_lag=0.05)
        gpu.start(A, {0: 8 * GIB})
        await gpu.lock([A], timeout=1)
        await gpu.checkpoint([A], deadline=1)
        (use,) = await gpu.use()
        assert (use.used_bytes, use.processes) == (8 * GIB, {})
        assert gpu.free(0) == 10 * GIB
        await asyncio.sleep(0.06)
        assert (await gpu.use())[0].used_bytes == 0

    async def test_what_does_not_fit_cannot_be_taken(self) -> None:
        gpu = FakeGpu(devices=[10 * GIB])
        gpu.start(A, {0: 8 * GIB})
        with pytest.raises(ValueError, match="fit"):
            gpu.start(B, {0: 3 * GIB})
        with pytest.raises(ValueError, match="fit"):
            gpu.allocate(A, 0, 3 * GIB)
        gpu.allocate(A, 0, 2 * GIB)
        assert gpu.free(0) == 0
        gpu.end(A)
        assert gpu.free(0) == 10 * GIB

    async def test_every_call_is_on_record(self) -> None:
        gpu = FakeGpu()
        gpu.start(A)
        await gpu.find_cuda([A], deadline=1)
        await gpu.lock([A], timeout=1)
        with pytest.raises(ProcessGone):
            await gpu.unlock([B], deadline=1)
        assert gpu.calls == [("find", (A.pid,)), ("lock", (A.pid,)), ("unlock", (B.pid,))]


# The two implementations side by side

CALLS = ("lock", "checkpoint", "restore", "unlock", "states", "find_cuda")
HELD = (40 * MIB, 18 * MIB)
CONTEXT = 2 * MIB
SQUATTER = 30 * MIB

whom = st.sampled_from([(0,), (1,), (0, 1), (1, 0)])
calls = st.tuples(st.sampled_from(CALLS), whom)
macros = st.tuples(st.sampled_from(["park", "seat"]), whom)
"""Single calls alone seldom come in an order that gets anywhere."""
others = st.tuples(st.sampled_from(["squat", "leave", "kill"]), st.sampled_from([(0,), (1,)]))
squeeze = st.sampled_from([[("park", (0,)), ("squat", (0,)), ("restore", (0,))]])
"""The memory that a restore wants back is gone."""
steps = st.tuples(st.just([]) | squeeze, st.lists(calls | macros | others, min_size=3, max_size=14)).map(
    lambda parts: [*parts[0], *parts[1]]
)


class World:
    """Two processes, and perhaps a squatter who takes the memory that one of them will want back."""

    def __init__(self, bench: Bench, *, context: int) -> None:
        self.bench = bench
        self.context = context
        self.refs: list[ProcessRef] = []
        self.living: set[ProcessRef] = set()
        self.squatter: ProcessRef | None = None

    async def begin(self) -> None:
        self.refs = [await self.bench.start({0: nbytes + self.context}) for nbytes in HELD]
        self.living = set(self.refs)

    async def end(self) -> None:
        for ref in (*self.living, *([self.squatter] if self.squatter else [])):
            await self.bench.end(ref)
        self.squatter = None

    async def step(self, name: str, whom: Sequence[int]) -> Any:
        """What is seen of one step, without what differs from world to world (pids, times)."""
        refs = [self.refs[index] for index in whom]
        if name == "squat":
            free = (await self.bench.truth.use())[0].free_bytes
            if self.squatter is None and free >= SQUATTER + CONTEXT:
                self.squatter = await self.bench.start({0: SQUATTER + self.context})
        elif name == "leave":
            if self.squatter is not None:
                await self.bench.end(self.squatter)
                self.squatter = None
        elif name == "kill":
            if refs[0] in self.living:
                self.living.discard(refs[0])
                await self.bench.end(refs[0])
        else:
            ops = {"park": ["lock", "checkpoint"], "seat": ["restore", "unlock"]}.get(name, [name])
            return [await self.call(op, refs) for op in ops]
        return None

    async def call(self, name: str, refs: Sequence[ProcessRef]) -> Any:
        try:
            if name == "lock":
                answer: Any = await self.bench.driver.lock(refs, timeout=10)
            else:
                answer = await getattr(self.bench.driver, name)(refs, deadline=10)
        except HotseatError as error:
            outcomes = [(self.refs.index(one.process), one.result) for one in error.details.get("outcomes", ())]
            return type(error).__name__, outcomes
        if name == "find_cuda":
            return sorted(self.refs.index(ref) for ref in answer)
        if name == "states":
            return [(self.refs.index(ref), state) for ref, state in answer.items()]
        return [(self.refs.index(one.process), one.result) for one in answer]

    async def memory(self) -> Any:
        """Bytes used, and whose they are, in our order."""
        use = (await self.bench.truth.use())[0]
        return use.used_bytes, [use.processes.get(ref.pid, 0) for ref in (*self.refs, *filter(None, [self.squatter]))]


@pytest.mark.emulated
def test_double_and_emulated_driver_agree() -> None:
    with EmulatedBench.open() as emulated, asyncio.Runner() as runner:

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(steps)
        def agree(script: list[tuple[str, tuple[int, ...]]]) -> None:
            runner.run(play(script))

        async def play(script: list[tuple[str, tuple[int, ...]]]) -> None:
            ours, theirs = World(DoubleBench(), context=CONTEXT), World(emulated, context=0)
            await asyncio.gather(ours.begin(), theirs.begin())
            try:
                for name, whom in script:
                    assert await ours.step(name, whom) == await theirs.step(name, whom), (name, whom)
                    assert await ours.memory() == await theirs.memory(), (name, whom)
            finally:
                await theirs.end()

        agree()
        runner.run(emulated.driver.aclose())
