"""NVML in the worker: what each device says of itself. Never makes a context.

Runs in the worker only. nvidia-ml-py loads libnvidia-ml.so.1 through the loader, or the file given to `start`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, TypeVar

import pynvml  # type: ignore[import-untyped]  # nvidia-ml-py has no types

from hotseat.gpu import procfs, wire

T = TypeVar("T")

COMPUTE_MODES = {0: "default", 1: "exclusive thread", 2: "prohibited", 3: "exclusive process"}

LOOKS = 5
"""At a device's memory, until its processes were the same before and after."""

UNKNOWN = {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NO_PERMISSION}
"""Results by which NVML says that it will not say; no failure."""


def start(library: str) -> wire.Hello:
    """Load and initialise. The answer tells which file it was."""
    try:
        # The binding has no parameter for a path; it loads nothing itself once this is set.
        pynvml.nvmlLib = ctypes.CDLL(library)
    except OSError as error:
        return wire.Hello(role="nvml", error=f"cannot load {library}: {error}")
    address = ctypes.cast(pynvml.nvmlLib.nvmlInitWithFlags, ctypes.c_void_p).value or 0
    path = procfs.mapped_file(address)
    try:
        pynvml.nvmlInit()
        names = [text(pynvml.nvmlDeviceGetName(handle)) for handle in handles()]
        version = optional(pynvml.nvmlSystemGetDriverVersion)
    except pynvml.NVMLError as error:
        return wire.Hello(role="nvml", library=path, error=f"NVML: {error}", result=error.value)
    return wire.Hello(role="nvml", library=path, version=text(version or ""), device_names=names)


def serve(request: wire.Request) -> wire.Answer:
    try:
        if request.op == "use":
            return wire.Done(request.id, [read(index, handle) for index, handle in enumerate(handles())])
        if request.op == "facts":
            return wire.Done(request.id, report())
    except pynvml.NVMLError as error:
        return wire.Broken(request.id, f"NVML: {error}", error.value)
    return wire.Broken(request.id, f"no such operation: {request.op}")


def handles() -> list[Any]:
    return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]


def read(index: int, handle: Any) -> wire.NvmlDevice:
    """Its memory between two looks at its processes that agree, so that who ends, comes or allocates meanwhile is in
    both or in none. On a device that never rests the last look counts, in which what was given up is free, not lost."""
    after = processes_of(handle)
    for _ in range(LOOKS):
        used, memory, after = after, memory_of(handle), processes_of(handle)
        if after == used:
            break
    return wire.NvmlDevice(
        index=index,
        uuid=text(pynvml.nvmlDeviceGetUUID(handle)),
        name=text(pynvml.nvmlDeviceGetName(handle)),
        total_bytes=int(memory.total),
        used_bytes=int(memory.used),
        free_bytes=int(memory.free),
        processes=[wire.NvmlProcess(pid, nbytes) for pid, nbytes in sorted(used.items())],
    )


def processes_of(handle: Any) -> dict[int, int]:
    """Bytes by pid."""
    used: dict[int, int] = {}
    for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
        # A process appears once per context on some drivers; a figure may be missing.
        used[process.pid] = used.get(process.pid, 0) + int(process.usedGpuMemory or 0)
    return used


def memory_of(handle: Any) -> Any:
    """The second version leaves the driver's own reserve out of `used`, as nvidia-smi does; older drivers lack it."""
    found = optional(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2))
    return found if found is not None else pynvml.nvmlDeviceGetMemoryInfo(handle)


def report() -> wire.NvmlReport:
    version = text(optional(pynvml.nvmlSystemGetNVMLVersion) or "")
    return wire.NvmlReport(version, [facts(index, handle) for index, handle in enumerate(handles())])


def facts(index: int, handle: Any) -> wire.NvmlFacts:
    mig = optional(lambda: pynvml.nvmlDeviceGetMigMode(handle))
    mode = optional(lambda: pynvml.nvmlDeviceGetComputeMode(handle))
    persistence = optional(lambda: pynvml.nvmlDeviceGetPersistenceMode(handle))
    return wire.NvmlFacts(
        index=index,
        mig=None if mig is None else bool(mig[0]),
        compute_mode=None if mode is None else COMPUTE_MODES.get(int(mode), str(mode)),
        persistence=None if persistence is None else bool(persistence),
    )


def optional(call: Callable[[], T]) -> T | None:
    """The call's answer, None where this NVML or this device does not know the question."""
    try:
        return call()
    except pynvml.NVMLError as error:
        if error.value in UNKNOWN:
            return None
        raise


def text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
