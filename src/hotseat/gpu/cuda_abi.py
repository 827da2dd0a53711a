"""The driver's checkpoint calls by plain ctypes, named as in cuda.h (CUDA 13.0). Imports nothing of hotseat.

Why not cuda-bindings: it takes 200 ms longer to import, and a worker process must start quickly.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_int, c_uint, c_uint64

CUDA_SUCCESS = 0
CUDA_ERROR_INVALID_VALUE = 1
CUDA_ERROR_OUT_OF_MEMORY = 2
CUDA_ERROR_NOT_INITIALIZED = 3
CUDA_ERROR_OPERATING_SYSTEM = 304
CUDA_ERROR_ILLEGAL_STATE = 401
CUDA_ERROR_NOT_READY = 600

RESULT_NAMES = {
    0: "CUDA_SUCCESS",
    1: "CUDA_ERROR_INVALID_VALUE",
    2: "CUDA_ERROR_OUT_OF_MEMORY",
    3: "CUDA_ERROR_NOT_INITIALIZED",
    4: "CUDA_ERROR_DEINITIALIZED",
    34: "CUDA_ERROR_STUB_LIBRARY",
    36: "CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER",
    46: "CUDA_ERROR_DEVICE_UNAVAILABLE",
    100: "CUDA_ERROR_NO_DEVICE",
    101: "CUDA_ERROR_INVALID_DEVICE",
    201: "CUDA_ERROR_INVALID_CONTEXT",
    214: "CUDA_ERROR_ECC_UNCORRECTABLE",
    220: "CUDA_ERROR_NVLINK_UNCORRECTABLE",
    226: "CUDA_ERROR_CONTAINED",
    301: "CUDA_ERROR_FILE_NOT_FOUND",
    303: "CUDA_ERROR_SHARED_OBJECT_INIT_FAILED",
    304: "CUDA_ERROR_OPERATING_SYSTEM",
    400: "CUDA_ERROR_INVALID_HANDLE",
    401: "CUDA_ERROR_ILLEGAL_STATE",
    500: "CUDA_ERROR_NOT_FOUND",
    600: "CUDA_ERROR_NOT_READY",
    700: "CUDA_ERROR_ILLEGAL_ADDRESS",
    709: "CUDA_ERROR_CONTEXT_IS_DESTROYED",
    719: "CUDA_ERROR_LAUNCH_FAILED",
    800: "CUDA_ERROR_NOT_PERMITTED",
    801: "CUDA_ERROR_NOT_SUPPORTED",
    802: "CUDA_ERROR_SYSTEM_NOT_READY",
    803: "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
    804: "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
    805: "CUDA_ERROR_MPS_CONNECTION_FAILED",
    807: "CUDA_ERROR_MPS_SERVER_NOT_READY",
    909: "CUDA_ERROR_TIMEOUT",
    999: "CUDA_ERROR_UNKNOWN",
}
"""Results that the calls below are known to give; the driver itself names the others (`Cuda.error_name`)."""


def result_name(result: int) -> str:
    """The name in cuda.h: "CUDA_ERROR_ILLEGAL_STATE (401)"."""
    return f"{RESULT_NAMES.get(result, 'CUresult')} ({result})"


class CUuuid(Structure):
    _fields_ = (("bytes", c_char * 16),)


class CUcheckpointLockArgs(Structure):
    _fields_ = (("timeoutMs", c_uint), ("reserved0", c_uint), ("reserved1", c_uint64 * 7))


class CUcheckpointCheckpointArgs(Structure):
    _fields_ = (("reserved", c_uint64 * 8),)


class CUcheckpointGpuPair(Structure):
    _fields_ = (("oldUuid", CUuuid), ("newUuid", CUuuid))


class CUcheckpointRestoreArgs(Structure):
    _fields_ = (
        ("gpuPairs", POINTER(CUcheckpointGpuPair)),
        ("gpuPairsCount", c_uint),
        ("reserved", c_char * (52 - ctypes.sizeof(ctypes.c_void_p))),
        ("reserved1", c_uint64),
    )


class CUcheckpointUnlockArgs(Structure):
    _fields_ = (("reserved", c_uint64 * 8),)


PROTOTYPES = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuCheckpointProcessGetRestoreThreadId": (c_int, POINTER(c_int)),
    "cuCheckpointProcessGetState": (c_int, POINTER(c_int)),
    "cuCheckpointProcessLock": (c_int, POINTER(CUcheckpointLockArgs)),
    "cuCheckpointProcessCheckpoint": (c_int, POINTER(CUcheckpointCheckpointArgs)),
    "cuCheckpointProcessRestore": (c_int, POINTER(CUcheckpointRestoreArgs)),
    "cuCheckpointProcessUnlock": (c_int, POINTER(CUcheckpointUnlockArgs)),
}

CHECKPOINT_CALLS = tuple(name for name in PROTOTYPES if name.startswith("cuCheckpoint"))
"""The calls without which nothing can be parked; driver 570 and newer have them."""


class Cuda:
    """libcuda, loaded by name through the loader or from a path. Every method returns a CUresult or (CUresult, value).

    `OSError` if the library cannot be loaded. A symbol that it lacks stands in `missing`; calling it gives
    CUDA_ERROR_NOT_FOUND (500). All calls release the interpreter's lock, so threads may wait in several at once.
    """

    def __init__(self, library: str = "libcuda.so.1") -> None:
        self._dll = ctypes.CDLL(library)
        self.missing: list[str] = []
        for name, argtypes in PROTOTYPES.items():
            try:
                function = getattr(self._dll, name)
            except AttributeError:
                self.missing.append(name)
            else:
                function.argtypes, function.restype = argtypes, c_int

    def _call(self, name: str, *args: object) -> int:
        if name in self.missing:
            return 500
        return int(getattr(self._dll, name)(*args))

    def address(self) -> int:
        """Where cuInit lies, so that /proc/self/maps tells which file was loaded. 0 if it has none."""
        if "cuInit" in self.missing:
            return 0
        return ctypes.cast(self._dll.cuInit, ctypes.c_void_p).value or 0

    def init(self) -> int:
        return self._call("cuInit", 0)

    def driver_version(self) -> int:
        """CUDA version of the driver, as 1000 * major + 10 * minor; 0 if it does not say."""
        value = c_int()
        return value.value if self._call("cuDriverGetVersion", byref(value)) == CUDA_SUCCESS else 0

    def device_names(self) -> list[str]:
        """Names of the devices that this library sees. Makes no context."""
        count, device, name = c_int(), c_int(), ctypes.create_string_buffer(128)
        names = []
        if self._call("cuDeviceGetCount", byref(count)) == CUDA_SUCCESS:
            for ordinal in range(count.value):
                known = self._call("cuDeviceGet", byref(device), ordinal) == CUDA_SUCCESS
                known = known and self._call("cuDeviceGetName", name, len(name), device) == CUDA_SUCCESS
                names.append(name.value.decode(errors="replace") if known else "unknown")
        return names

    def error_name(self, result: int) -> str:
        text = c_char_p()
        if self._call("cuGetErrorName", result, byref(text)) == CUDA_SUCCESS and text.value:
            return text.value.decode()
        return RESULT_NAMES.get(result, "CUresult")

    def error_string(self, result: int) -> str:
        """The driver's own sentence for a result, "" if it has none."""
        text = c_char_p()
        ok = self._call("cuGetErrorString", result, byref(text)) == CUDA_SUCCESS
        return text.value.decode() if ok and text.value else ""

    def restore_thread_id(self, pid: int) -> tuple[int, int]:
        """The thread that must run while the others are stopped; a thread id in the caller's pid namespace."""
        tid = c_int()
        return self._call("cuCheckpointProcessGetRestoreThreadId", pid, byref(tid)), tid.value

    def state(self, pid: int) -> tuple[int, int]:
        state = c_int()
        return self._call("cuCheckpointProcessGetState", pid, byref(state)), state.value

    def lock(self, pid: int, *, timeout_ms: int) -> int:
        """`timeout_ms` 0 waits for ever."""
        return self._call("cuCheckpointProcessLock", pid, byref(CUcheckpointLockArgs(timeoutMs=timeout_ms)))

    def checkpoint(self, pid: int) -> int:
        return self._call("cuCheckpointProcessCheckpoint", pid, byref(CUcheckpointCheckpointArgs()))

    def restore(self, pid: int) -> int:
        return self._call("cuCheckpointProcessRestore", pid, byref(CUcheckpointRestoreArgs()))

    def unlock(self, pid: int) -> int:
        return self._call("cuCheckpointProcessUnlock", pid, byref(CUcheckpointUnlockArgs()))
