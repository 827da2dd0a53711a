"""What a NAME on the command line means, and that a bare process is adopted before it is swapped."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

from hotseat.platforms.port import Container
from hotseat.swap.port import Workload


class Finds(Protocol):
    async def find_workload(self, ref: str) -> Workload: ...


@runtime_checkable
class Adopts(Protocol):
    """A platform that takes in processes which it did not start."""

    async def adopt(self, pid: int) -> Container: ...


async def find(parts: Finds, ref: str) -> Workload:
    """`NotFound`, or `Refused` for a process that must not be swapped. Adopting writes it down and touches nothing."""
    workload = await parts.find_workload(ref)
    number = ref.removeprefix("process:")
    if number.isdigit() and isinstance(workload.platform, Adopts):
        return replace(workload, container=await workload.platform.adopt(int(number)))
    return workload
