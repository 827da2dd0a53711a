"""What the layers above need of a GPU, as two small protocols.

Implementations: `hotseat.gpu.client` (a worker process around the real or emulated libcuda and NVML) and
`hotseat.testing.gpu` (a double in memory). `tests/gpu/contract` runs one suite against both.

All calls are made on *host* pids. Order is the caller's business and matters (FACTS.md): lock all, freeze,
checkpoint all; restore all, unlock all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hotseat.words import Device, DeviceUse, ProcessRef, ProcessState


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One driver call on one process. `result` is the CUresult (0 = success), `seconds` the time inside the call."""

    process: ProcessRef
    result: int
    seconds: float

    @property
    def ok(self) -> bool:
        return self.result == 0


class CheckpointDriver(Protocol):
    """cuCheckpointProcess* over a set of processes at once.

    Every call has a deadline in seconds. `DriverTimeout`: at least one call did not return; the implementation has
    killed and replaced whatever hung, so the next call works, and `states` tells where each process is now. A request
    that the process had not begun (it is frozen, say) is dropped; one that it had begun goes on.
    `DriverFailed`: a call returned an error; `.details["outcomes"]` is the list of `Outcome`, one a process, so that
    the caller knows which of them went through. `ProcessGone`: a process ended or its pid was reused. If that was seen
    before the call, none was called; `.details["processes"]` names those that are gone, "outcomes" holds the others'.
    `WorkerDied`: nothing is known of the call; ask `states`. Queries are repeated once before they raise it.

    A caller who is cancelled leaves the driver's call to end by itself or by its deadline.
    """

    async def find_cuda(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, int]:
        """Those that use CUDA, each with the host thread id of its restore thread. Never blocks on frozen ones.

        A process that has ended uses no CUDA and is left out. `DriverFailed` if a device lists one of the processes and
        the checkpoint API does not know it (a wrong libcuda, MPS, Vulkan): parking it would silently free nothing.
        `.details["found"]` then has what was found.
        """
        ...

    async def states(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, ProcessState]:
        """State of each CUDA process. May block while a process is frozen: give a short deadline."""
        ...

    async def lock(self, processes: Sequence[ProcessRef], *, timeout: float) -> Sequence[Outcome]:  # noqa: ASYNC109
        """Lock all, at the same time. `timeout` is the driver's own (a process not locked by then stays RUNNING
        with CUDA_ERROR_NOT_READY); the call's deadline is a second more."""
        ...

    async def checkpoint(self, processes: Sequence[ProcessRef], *, deadline: float) -> Sequence[Outcome]: ...

    async def restore(self, processes: Sequence[ProcessRef], *, deadline: float) -> Sequence[Outcome]: ...

    async def unlock(self, processes: Sequence[ProcessRef], *, deadline: float) -> Sequence[Outcome]: ...

    async def aclose(self) -> None: ...


class DeviceTruth(Protocol):
    """NVML: what each device reports, whoever uses it."""

    async def devices(self) -> tuple[Device, ...]: ...

    async def use(self) -> tuple[DeviceUse, ...]:
        """One entry per device, in index order, read now."""
        ...
