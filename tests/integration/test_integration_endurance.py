"""Twenty swaps in a row leak nothing: descriptors, threads, processes, cgroups, device memory; the tokens stay."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from pathlib import Path

from integration_house import House, everywhere

from hotseat.linux import proc

CYCLES = 10


@dataclass(frozen=True)
class Footprint:
    """What this hotseat has on the host, its driver workers and tracers included."""

    descriptors: int
    threads: int
    processes: int
    theirs: int
    """Descriptors of its child processes."""
    cgroups: frozenset[str]


def footprint(house: House) -> Footprint:
    gc.collect()
    children = [pid for pid in proc.descendants(os.getpid())[1:] if is_ours(pid)]
    return Footprint(
        descriptors=len(os.listdir("/proc/self/fd")),
        threads=len(os.listdir("/proc/self/task")),
        processes=len(children),
        theirs=sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in children),
        cgroups=frozenset(
            str(path)
            for path in Path("/sys/fs/cgroup").glob("*/hotseat/*")
            if path.name.startswith(f"it-{os.getpid()}-")
        ),
    )


def is_ours(pid: int) -> bool:
    found = proc.stat(pid)
    return found is not None and found.state != "Z"


@everywhere
async def test_twenty_swaps_leak_nothing(house: House) -> None:
    guest, other = await house.start(seed=1, processes=2, threads=16), await house.start(seed=2)
    before, beside = await guest.ask(), await other.ask()

    async def cycle() -> tuple[dict[int, int], dict[int, int]]:
        out, back = await guest.park(), await guest.seat()
        return out.gpu_bytes, back.gpu_bytes

    async def inside() -> tuple[int, int]:
        """Descriptors and threads of the workload."""
        pids = guest.pids()
        return (
            sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
            sum(len(os.listdir(f"/proc/{pid}/task")) for pid in pids),
        )

    first = await cycle()
    await guest.unharmed(before)
    used, mine, its = house.used, footprint(house), await inside()
    for _ in range(CYCLES - 1):
        assert await cycle() == first
        assert house.used == used
    await guest.unharmed(before)
    await other.unharmed(beside)
    assert await inside() == its
    after = footprint(house)
    assert (after.processes, after.cgroups) == (mine.processes, mine.cgroups)
    for name in ("descriptors", "threads", "theirs"):
        # Pools of threads and connections fill when they are first busy; what leaks does so once a swap.
        assert getattr(after, name) - getattr(mine, name) < CYCLES // 3, (name, mine, after)
    assert house.swapper.reserved() == {}
    assert await house.swapper.known() == []
    # What the journal keeps is bounded.
    assert len(house.swapper.reports(guest.container.key)) == 2 * CYCLES
