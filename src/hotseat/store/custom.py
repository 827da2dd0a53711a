"""Checkpoints to custom storage (CUDA 13.4, driver 615): another process's device memory mapped here, to be copied.

The driver checkpoints a process that it has locked, and this process copies in between: it is the store's worker, which
has the arena and the contexts. From the moment that the memory is mapped nothing leads back but `complete`, and with
this process goes the one whose memory it was. Run on the emulated driver alone.
"""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Callable
from ctypes import POINTER, Structure, byref, c_char, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass

from hotseat.errors import DriverFailed, ProcessGone
from hotseat.gpu.cuda_abi import CUDA_ERROR_OPERATING_SYSTEM
from hotseat.store.cuda import Cuda
from hotseat.words import ProcessState

SINCE = 13040
"""The CUDA version that brought it."""


class DeviceData(Structure):
    """CUcheckpointCustomStoragePerDeviceData."""

    _fields_ = (("at", c_uint64), ("bytes", c_size_t), ("stream", c_void_p))


class StorageInfo(Structure):
    """CUcheckpointCustomStorageInfo: the driver's own, until the operation is completed."""

    _fields_ = (("handle", c_void_p), ("data", POINTER(DeviceData)), ("count", c_uint))


class CheckpointArgs(Structure):
    """CUcheckpointCheckpointArgs."""

    _fields_ = (("info", POINTER(POINTER(StorageInfo))), ("reserved", c_char * 56))


class RestoreArgs(Structure):
    """CUcheckpointRestoreArgs."""

    _fields_ = (
        ("pairs", c_void_p),
        ("pair_count", c_uint),
        ("padding", c_uint),
        ("info", POINTER(POINTER(StorageInfo))),
        ("reserved", c_char * 40),
    )


PROTOTYPES: dict[str, tuple[object, ...]] = {
    "cuCheckpointProcessGetState": (c_int, POINTER(c_int)),
    "cuCheckpointProcessCheckpoint": (c_int, POINTER(CheckpointArgs)),
    "cuCheckpointProcessRestore": (c_int, POINTER(RestoreArgs)),
    "cuCheckpointOperationComplete": (c_void_p,),
    "cuStreamGetDevice": (c_void_p, POINTER(c_int)),
}


@dataclass(frozen=True, slots=True)
class Range:
    """What a process has on one device, mapped in one piece."""

    uuid: bytes
    at: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One process's memory, mapped here. Its handle is good for one call of `complete`."""

    handle: int
    ranges: tuple[Range, ...]


class CustomStorage:
    """Of one driver. Every call blocks; any thread may make it. The devices of the process must have been opened."""

    def __init__(self, cuda: Cuda, uuids: list[bytes]) -> None:
        """`uuids`: by ordinal. `DriverFailed` if the driver does not have it."""
        self._uuids = uuids
        version = cuda.version()
        if version < SINCE:
            raise DriverFailed(
                f"this driver's CUDA is {version // 1000}.{version % 1000 // 10}, and custom storage came with 13.4",
                hint="driver 615 or newer has it",
            )
        self._check = cuda.check
        self._functions: dict[str, Callable[..., int]] = {}
        for name, argtypes in PROTOTYPES.items():
            address = cuda.entry(name, version=SINCE)
            if not address:
                raise DriverFailed(f"this driver has no {name}", hint="driver 615 or newer has it")
            self._functions[name] = ctypes.CFUNCTYPE(c_int, *argtypes)(address)  # type: ignore[arg-type]

    def state(self, pid: int, pidfd: int) -> ProcessState:
        """Waits for as long as the process is frozen."""
        value = c_int()
        self._call("cuCheckpointProcessGetState", pid, pidfd, byref(value))
        return ProcessState(value.value)

    def checkpoint(self, pid: int, pidfd: int) -> Operation:
        """locked -> checkpointing. What fails leaves it locked."""
        return self._mapped("cuCheckpointProcessCheckpoint", CheckpointArgs, pid, pidfd)

    def restore(self, pid: int, pidfd: int) -> Operation:
        """checkpointed -> restoring: it has its memory back, and nothing in it. Out of memory is final."""
        return self._mapped("cuCheckpointProcessRestore", RestoreArgs, pid, pidfd)

    def complete(self, operation: Operation) -> None:
        """checkpointing -> checkpointed, restoring -> locked; nothing is mapped any more. All copies must have ended.
        Never again with the same operation, whatever came of it."""
        self._check("cuCheckpointOperationComplete", self._functions["cuCheckpointOperationComplete"](operation.handle))

    def _mapped(self, name: str, kind: type[CheckpointArgs] | type[RestoreArgs], pid: int, pidfd: int) -> Operation:
        info = POINTER(StorageInfo)()
        args = kind(info=ctypes.pointer(info))
        self._call(name, pid, pidfd, byref(args))
        seen = info.contents
        ranges = tuple(Range(self._device(one.stream), one.at, one.bytes) for one in seen.data[: seen.count])
        return Operation(int(seen.handle or 0), tuple(sorted(ranges, key=lambda one: one.uuid)))

    def _device(self, stream: int | None) -> bytes:
        ordinal = c_int()
        result = self._functions["cuStreamGetDevice"](stream, byref(ordinal))
        self._check("cuStreamGetDevice", result)
        return self._uuids[ordinal.value]

    def _call(self, name: str, pid: int, pidfd: int, argument: object) -> None:
        if not alive(pidfd):
            raise gone(pid)
        result = self._functions[name](pid, argument)
        if result and not alive(pidfd):
            raise gone(pid)
        if result == CUDA_ERROR_OPERATING_SYSTEM and "Checkpoint" in name.removeprefix("cuCheckpoint"):
            raise DriverFailed(
                f"{name}: CUDA_ERROR_OPERATING_SYSTEM (304): process {pid} may not be mapped here",
                result=result,
                hint="the store must be allowed to trace the workload's processes: run it as root, with CAP_SYS_PTRACE",
                call=name,
            )
        self._check(name, result)


def alive(pidfd: int, *, patience: float = 0.0) -> bool:
    """For as long as this is so its pid is nobody else's. `patience`: seconds that one which dies may take for it."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(patience * 1000)


def traceable(pid: int) -> bool:
    """Whether this process may have that one's memory mapped: to read its memory the kernel asks the same. Of one that
    has ended: yes."""
    try:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def gone(pid: int) -> ProcessGone:
    return ProcessGone(f"process {pid} ended", hint="list the workload's processes again", pid=pid)
