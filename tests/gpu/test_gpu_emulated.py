"""The client and real processes on the emulated driver, beyond what the double can show."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpu_bench import HERE, MIB, EmulatedBench, ref_of, until

from hotseat.emulator.faults import Fault, FaultKind
from hotseat.errors import WorkerDied
from hotseat.words import ProcessState

pytestmark = pytest.mark.emulated


@pytest.fixture
def bench() -> Iterator[EmulatedBench]:
    with EmulatedBench.open() as opened:
        yield opened


async def test_restore_thread_is_a_thread_of_the_process(bench: EmulatedBench) -> None:
    async with bench.client as gpu:
        ref = await bench.start({0: 2 * MIB})
        tid = (await gpu.find_cuda([ref], deadline=10))[ref]
        assert tid != ref.pid
        assert await asyncio.to_thread(Path(f"/proc/{ref.pid}/task/{tid}/comm").read_text) == "cuda-restore\n"


@pytest.mark.root
async def test_process_in_a_pid_namespace_of_its_own(bench: EmulatedBench) -> None:
    async with bench.client as gpu:
        # As in a container, /proc there is of the new namespace.
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        holder = [sys.executable, str(HERE / "cuda_holder.py"), "0", f"0:{20 * MIB}"]
        outer = await asyncio.to_thread(bench.spawn, unshare + holder)
        children = await asyncio.to_thread(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text)
        inner = ref_of(int(children))
        tid = (await gpu.find_cuda([outer, inner], deadline=10))[inner]
        assert await asyncio.to_thread(Path(f"/proc/{inner.pid}/task/{tid}").exists)
        assert (await gpu.use())[0].processes[inner.pid] >= 20 * MIB
        await gpu.lock([inner], timeout=10)
        await gpu.checkpoint([inner], deadline=10)
        assert (await gpu.use())[0].used_bytes == 0


async def test_worker_killed_in_the_middle_of_a_checkpoint_leaves_the_process_whole(bench: EmulatedBench) -> None:
    async with bench.client as gpu:
        ref = await bench.start({0: 20 * MIB})
        await gpu.lock([ref], timeout=10)
        bench.node.set_fault(Fault(kind=FaultKind.SLOW_COPY, pid=ref.pid, value=100 * MIB, times=None))
        call = asyncio.create_task(gpu.checkpoint([ref], deadline=60))
        await until(lambda: bool(gpu._pool._lent))
        (worker,) = gpu._pool._lent
        # Killed once the process has begun to copy.
        await until(lambda: bench.node.faults()[0].fired > 0)
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied) as caught:
            await call
        assert caught.value.details["processes"] == [ref]
        # The process goes on with what it was told; the next question waits behind it.
        assert await gpu.states([ref], deadline=20) == {ref: ProcessState.CHECKPOINTED}
        bench.clear_faults()
        await gpu.restore([ref], deadline=20)
        await gpu.unlock([ref], deadline=20)


async def test_memory_released_late_is_shown_as_the_device_shows_it(bench: EmulatedBench) -> None:
    async with bench.client as gpu:
        ref = await bench.start({0: 20 * MIB})
        bench.node.set_fault(Fault(kind=FaultKind.LATE_RELEASE, pid=ref.pid, value=400, times=None))
        await gpu.lock([ref], timeout=10)
        await gpu.checkpoint([ref], deadline=10)
        (late, _) = await gpu.use()
        assert late.used_bytes >= 20 * MIB
        assert late.processes == {}

        async def free() -> bool:
            return (await gpu.use())[0].used_bytes == 0

        await until(free)
