"""Which GPU each workload belongs to: a swap in always goes back to where it came from. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hotseat.config.units import format_size
from hotseat.errors import UsageError
from hotseat.simulate.trace import Trace

WINDOW = 60.0
"""Seconds: a workload counts as wanted in a window in which at least one request comes for it."""


def wanted(trace: Trace, serves: Sequence[int], members: int) -> list[int]:
    """How many windows each member is wanted in."""
    count, last = [0] * members, [-1] * members
    for at, model in zip(trace.times, trace.models, strict=True):
        member, window = serves[model], int(at // WINDOW)
        if last[member] != window:
            last[member] = window
            count[member] += 1
    return count


def place(
    names: Sequence[str], sizes: Sequence[int], windows: Sequence[int], *, gpus: int, gpu_bytes: int
) -> list[int]:
    """Member -> GPU, so that the bytes wanted at one time are spread evenly: the heaviest first, to the lightest GPU.

    As an operator does it who knows who is busy; an unlucky placement waits longer. `UsageError`: larger than a GPU.
    """
    for name, size in zip(names, sizes, strict=True):
        if size > gpu_bytes:
            raise UsageError(
                f"{name} needs {format_size(size)}, and a GPU has {format_size(gpu_bytes)}",
                hint="give larger GPUs (--gpu-memory) or smaller models (--sizes); a workload over several GPUs is "
                "described in hotseat.yaml (gpu_memory per device, see --config)",
            )
    weight = [size * max(1, count) for size, count in zip(sizes, windows, strict=True)]
    load = [0] * gpus
    out = [0] * len(names)
    for member in sorted(range(len(names)), key=lambda k: (-weight[k], k)):
        index = min(range(gpus), key=lambda gpu: (load[gpu], gpu))
        load[index] += weight[member]
        out[member] = index
    return out
