"""The driver calls of the store by plain ctypes, named as in cuda.h. Every call releases the interpreter's lock."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_ubyte, c_uint, c_uint64, c_ulonglong, c_void_p

from hotseat.errors import DriverFailed
from hotseat.gpu.cuda_abi import CUDA_ERROR_OUT_OF_MEMORY, CUDA_SUCCESS, CUuuid, result_name

FD_HANDLE = 1
"""CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR"""
READ_WRITE = 3
"""CU_MEM_ACCESS_FLAGS_PROT_READWRITE"""
PORTABLE = 1
"""CU_MEMHOSTREGISTER_PORTABLE: pinned for every context."""
NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING"""
QUIET_EVENT = 3
"""CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING: whoever waits for it sleeps."""


class Location(ctypes.Structure):
    """CUmemLocation; type 1 is a device."""

    _fields_ = (("type", c_int), ("id", c_int))


class AllocationProp(ctypes.Structure):
    """CUmemAllocationProp."""

    _fields_ = (
        ("type", c_int),
        ("handle_types", c_int),
        ("location", Location),
        ("win32", c_void_p),
        ("flags", c_ubyte * 8),
    )


class AccessDesc(ctypes.Structure):
    """CUmemAccessDesc."""

    _fields_ = (("location", Location), ("flags", c_int))


PROTOTYPES: dict[str, tuple[object, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuGetProcAddress_v2": (c_char_p, POINTER(c_void_p), c_int, c_uint64, POINTER(c_int)),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetUuid_v2": (POINTER(CUuuid), c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuCtxSetCurrent": (c_void_p,),
    "cuModuleLoadData": (POINTER(c_void_p), c_char_p),
    "cuModuleGetFunction": (POINTER(c_void_p), c_void_p, c_char_p),
    "cuLaunchKernel": (c_void_p, *(c_uint,) * 7, c_void_p, POINTER(c_void_p), c_void_p),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuDeviceTotalMem_v2": (POINTER(c_size_t), c_int),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuEventDestroy_v2": (c_void_p,),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventSynchronize": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemHostRegister_v2": (c_void_p, c_size_t, c_uint),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
    "cuMemsetD8Async": (c_uint64, c_ubyte, c_size_t, c_void_p),
    "cuMemAddressReserve": (POINTER(c_uint64), c_size_t, c_size_t, c_uint64, c_ulonglong),
    "cuMemAddressFree": (c_uint64, c_size_t),
    "cuMemCreate": (POINTER(c_ulonglong), c_size_t, POINTER(AllocationProp), c_ulonglong),
    "cuMemRelease": (c_ulonglong,),
    "cuMemMap": (c_uint64, c_size_t, c_size_t, c_ulonglong, c_ulonglong),
    "cuMemUnmap": (c_uint64, c_size_t),
    "cuMemSetAccess": (c_uint64, c_size_t, POINTER(AccessDesc), c_size_t),
    "cuMemExportToShareableHandle": (c_void_p, c_ulonglong, c_int, c_ulonglong),
    "cuMemImportFromShareableHandle": (POINTER(c_ulonglong), c_void_p, c_int),
}


class OutOfMemory(DriverFailed):
    """CUDA_ERROR_OUT_OF_MEMORY; whoever allocates turns it into `NoRoom` with what it knows."""


class Cuda:
    """libcuda. `DriverFailed` from everything that does not return CUDA_SUCCESS, and if it cannot be loaded."""

    def __init__(self, library: str = "libcuda.so.1") -> None:
        try:
            self._dll = ctypes.CDLL(library)
            for name, argtypes in PROTOTYPES.items():
                function = getattr(self._dll, name)
                function.argtypes, function.restype = argtypes, c_int
        except (OSError, AttributeError) as error:
            raise DriverFailed(
                f"the store cannot use {library}: {error}",
                hint="without a driver that has virtual memory management, workloads take the driver's own checkpoint",
            ) from error

    def call(self, name: str, *args: object) -> None:
        self.check(name, int(getattr(self._dll, name)(*args)))

    def check(self, name: str, result: int) -> None:
        """Raises what it means."""
        if result == CUDA_SUCCESS:
            return
        kind = OutOfMemory if result == CUDA_ERROR_OUT_OF_MEMORY else DriverFailed
        raise kind(
            f"{name}: {result_name(result)}",
            result=result,
            hint="look at `dmesg` and `nvidia-smi`; restart the store if the device was reset",
            call=name,
        )

    def version(self) -> int:
        """CUDA version of the driver, as 1000 * major + 10 * minor."""
        value = c_int()
        self.call("cuDriverGetVersion", byref(value))
        return value.value

    def entry(self, name: str, *, version: int) -> int:
        """The address of a function as that version of CUDA has it; 0 if the driver has none."""
        address, status = c_void_p(), c_int()
        result = self._dll.cuGetProcAddress_v2(name.encode(), byref(address), version, 0, byref(status))
        return (address.value or 0) if result == CUDA_SUCCESS and status.value == 0 else 0

    def device_bytes(self, ordinal: int) -> int:
        device, nbytes = c_int(), c_size_t()
        self.call("cuDeviceGet", byref(device), ordinal)
        self.call("cuDeviceTotalMem_v2", byref(nbytes), device)
        return nbytes.value

    def device_uuids(self) -> list[bytes]:
        """The 16 bytes of each device, by ordinal. Initialises the driver, makes no context."""
        self.call("cuInit", 0)
        count, device, uuid = c_int(), c_int(), CUuuid()
        self.call("cuDeviceGetCount", byref(count))
        out = []
        for ordinal in range(count.value):
            self.call("cuDeviceGet", byref(device), ordinal)
            self.call("cuDeviceGetUuid_v2", byref(uuid), device)
            out.append(ctypes.string_at(byref(uuid), 16))
        return out
