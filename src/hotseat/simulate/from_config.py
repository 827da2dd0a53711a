"""A fleet from `hotseat.yaml`: its workloads with the settings that the scheduler goes by. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from hotseat.config import Workload
from hotseat.config.model import Config
from hotseat.errors import UsageError
from hotseat.simulate.fleet import Costs, Member, Service


def members(config: Config, *, costs: Costs, service: Service) -> tuple[tuple[Member, ...], Mapping[str, int]]:
    """Its workloads, and which of them (by number) serves a model. `UsageError`: one without `gpu_memory`."""
    if not config.workloads:
        raise UsageError("the configuration has no workloads", hint="name them there, or describe a fleet by --models")
    lacking = [name for name, workload in config.workloads.items() if not _need(workload)]
    if lacking:
        raise UsageError(
            f"no gpu_memory in the configuration: {', '.join(lacking)}",
            hint="the daemon learns it by looking; the simulator must be told: set `gpu_memory` of each workload",
        )
    found = tuple(member(name, workload, costs=costs, service=service) for name, workload in config.workloads.items())
    models = {
        model: number for number, workload in enumerate(config.workloads.values()) for model in workload.models or ()
    }
    return found, models


def _need(workload: Workload) -> Mapping[int, int]:
    return {index: nbytes for index, nbytes in (workload.gpu_memory or {}).items() if nbytes}


def member(name: str, workload: Workload, *, costs: Costs, service: Service) -> Member:
    return Member(
        name=name,
        need=_need(workload),
        costs=costs,
        service=service,
        priority=workload.priority,
        min_stay=workload.min_stay,
        linger=workload.linger,
        drain=workload.drain,
        idle_timeout=workload.idle_timeout,
        idle_stops=workload.idle == "stop",
        pinned=workload.pinned,
        preload=bool(workload.preload),
        prefetch=workload.prefetch,
        can_start=workload.start,
    )


def devices(config: Config, found: tuple[Member, ...], *, gpu_bytes: int) -> Mapping[int, int]:
    """The GPUs that workloads name: each of its cap, else of `gpu_bytes`. `UsageError`: a workload larger than one."""
    caps = config.caps()
    out = {index: min(caps.get(index, gpu_bytes), gpu_bytes) for one in found for index in one.need}
    for one in found:
        for index, nbytes in one.need.items():
            if nbytes > out[index]:
                raise UsageError(
                    f"{one.name} needs {nbytes / 2**30:.1f} GiB of device {index}, which offers "
                    f"{out[index] / 2**30:.1f} GiB",
                    hint="mend `gpu_memory` or `devices` in the file, or say how large the GPUs are (--gpu-memory)",
                )
    return dict(sorted(out.items()))
