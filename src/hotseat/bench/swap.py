"""Cycles of out and in on one workload, by the swapper and, in turn with it, by the bare driver calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

from hotseat.bench.records import BareCycle
from hotseat.errors import Refused, VerifyFailed
from hotseat.gpu.port import CheckpointDriver, DeviceTruth
from hotseat.swap.port import Deadlines, Progress, Swapper, Workload
from hotseat.words import ProcessRef, ProcessState, State, SwapReport


async def ready(swapper: Swapper, workload: Workload) -> None:
    """A measurement begins and ends seated. `Refused` if the workload is not."""
    seen = await swapper.observe(workload)
    if seen.state is not State.SEATED:
        raise Refused(
            f"{workload.name} is {seen.state}, not seated",
            rule="a measurement begins with a seated workload",
            hint=f"hotseat seat {workload.name}" if seen.state is State.PARKED else "start it first",
        )
    if not seen.cuda:
        raise Refused(
            f"{workload.name} uses no GPU",
            rule="a measurement needs GPU memory to move",
            hint=f"hotseat doctor {workload.name}",
        )


async def cycle(
    swapper: Swapper, workload: Workload, *, progress: Progress | None = None
) -> tuple[SwapReport, SwapReport]:
    """Out and in once, as `park` and `seat` do it."""
    out = await swapper.swap_out(workload, progress=progress)
    return out, await swapper.swap_in(workload, progress=progress)


async def bare_cycle(
    driver: CheckpointDriver,
    devices: DeviceTruth,
    processes: list[ProcessRef],
    *,
    deadlines: Deadlines | None = None,
) -> BareCycle:
    """lock all, checkpoint all, restore all, unlock all: nothing held, nothing verified, nothing paused.

    What `cuda-checkpoint` does, so nobody should do it to what must not be lost: only a workload that is measured.
    """
    limits = deadlines or Deadlines()
    before = await _free(devices)
    cuda = sorted(await driver.find_cuda(processes, deadline=limits.query))
    most = limits.move(await _held(devices, cuda))
    clock = _Clock()
    try:
        await clock.time(driver.lock(cuda, timeout=limits.lock))
        await clock.time(driver.checkpoint(cuda, deadline=most))
        moved = await _released(devices, before, deadline=limits.release)
        await clock.time(driver.restore(cuda, deadline=most))
        await clock.time(driver.unlock(cuda, deadline=limits.unlock))
    except BaseException:
        # Also when interrupted: nobody is left locked or checkpointed for the sake of a figure.
        await _bring_back(driver, cuda, deadline=most)
        raise
    lock, checkpoint, restore, unlock = clock.times
    return BareCycle(lock=lock, checkpoint=checkpoint, restore=restore, unlock=unlock, gpu_bytes=moved)


class _Clock:
    def __init__(self) -> None:
        self.times: list[float] = []

    async def time(self, call: Awaitable[object]) -> None:
        began = time.perf_counter()
        await call
        self.times.append(time.perf_counter() - began)


async def _bring_back(driver: CheckpointDriver, cuda: list[ProcessRef], *, deadline: float) -> None:
    states = await driver.states(cuda, deadline=Deadlines().query)
    off = [process for process, state in states.items() if state is ProcessState.CHECKPOINTED]
    if off:
        await driver.restore(off, deadline=deadline)
    locked = [*off, *(process for process, state in states.items() if state is ProcessState.LOCKED)]
    if locked:
        await driver.unlock(locked, deadline=Deadlines().unlock)


async def _free(devices: DeviceTruth) -> dict[int, int]:
    return {use.device.index: use.free_bytes for use in await devices.use()}


async def _held(devices: DeviceTruth, processes: list[ProcessRef]) -> int:
    pids = {process.pid for process in processes}
    return sum(count for use in await devices.use() for pid, count in use.processes.items() if pid in pids)


async def _released(devices: DeviceTruth, before: dict[int, int], *, deadline: float) -> int:
    """Bytes that came free, once two readings agree (NVML lags a release by up to a second)."""
    clock = asyncio.get_running_loop().time
    end = clock() + deadline
    last = -1
    while clock() < end:
        free = await _free(devices)
        now = sum(max(0, count - before.get(index, 0)) for index, count in free.items())
        if now and now == last:
            return now
        last = now
        await asyncio.sleep(0.05)
    raise VerifyFailed(
        "the driver's checkpoint released no device memory that stays free",
        hint="did another process take it meanwhile? See `nvidia-smi`; measure on a quiet device",
    )
