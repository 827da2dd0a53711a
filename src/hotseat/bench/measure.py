"""One whole measurement of a workload: cycles, in turn with the bare driver's if asked, then the medians."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from hotseat.bench import machine, records, swap
from hotseat.gpu.port import CheckpointDriver, DeviceTruth
from hotseat.swap.port import Swapper, Workload
from hotseat.words import SwapReport


class Parts(Protocol):
    """The part of `hotseat.daemon.wiring.Runtime` that a measurement needs."""

    @property
    def swapper(self) -> Swapper: ...

    @property
    def driver(self) -> CheckpointDriver: ...

    @property
    def devices(self) -> DeviceTruth: ...


async def measure(
    parts: Parts,
    workload: Workload,
    *,
    cycles: int,
    bare: bool,
    command: str,
    tick: Callable[[str], None] = lambda _: None,
) -> records.Measurement:
    """`cycles` times out and in; with `bare` each followed by the driver's calls alone, so that both see the same heat
    and the same neighbours. One cycle before the first is not counted: the driver allocates on first use."""
    await swap.ready(parts.swapper, workload)
    pairs: list[tuple[SwapReport, SwapReport]] = []
    alone: list[records.BareCycle] = []
    for number in range(cycles + 1):
        tick(f"cycle {number} of {cycles}" if number else "warming up")
        pairs.append(await swap.cycle(parts.swapper, workload))
        if bare:
            processes = list(workload.platform.read_pids(workload.container))
            alone.append(await swap.bare_cycle(parts.driver, parts.devices, processes))
    uses = await parts.devices.use()
    first = pairs[0][0]
    return records.Measurement(
        workload=workload.name,
        command=command,
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        machine=machine.describe(uses),
        emulated=any(use.device.emulated for use in uses),
        processes=first.processes,
        cuda_processes=first.cuda_processes,
        threads=first.threads,
        hotseat=records.of_swaps(pairs[1:]),
        bare=records.of_bare(alone[1:]) if bare else None,
    )
