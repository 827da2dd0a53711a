"""libcuda and NVML by ctypes, as little of them as the conformance checks need. Standard library only."""

import ctypes as C
import os
import pathlib
import zlib

LIBRARY = "libcuda.so.1"  # run.py sets it
NVML = "libnvidia-ml.so.1"
PTX = pathlib.Path(__file__).with_name("spin.ptx")


class LockArgs(C.Structure):
    _fields_ = (("timeout_ms", C.c_uint), ("reserved0", C.c_uint), ("reserved1", C.c_uint64 * 7))


class PlainArgs(C.Structure):
    _fields_ = (("reserved", C.c_uint64 * 8),)


class GpuPair(C.Structure):
    _fields_ = (("old", C.c_ubyte * 16), ("new", C.c_ubyte * 16))


class RestoreArgs(C.Structure):
    _fields_ = (
        ("pairs", C.POINTER(GpuPair)),
        ("count", C.c_uint),
        ("reserved", C.c_char * 44),
        ("reserved1", C.c_uint64),
    )


class DeviceData(C.Structure):
    _fields_ = (("at", C.c_uint64), ("size", C.c_size_t), ("stream", C.c_void_p))


class StorageInfo(C.Structure):
    _fields_ = (("handle", C.c_void_p), ("data", C.POINTER(DeviceData)), ("count", C.c_uint))


class CustomCheckpointArgs(C.Structure):
    """Of CUDA 13.4."""

    _fields_ = (("info", C.POINTER(C.POINTER(StorageInfo))), ("reserved", C.c_char * 56))


class CustomRestoreArgs(C.Structure):
    _fields_ = (
        ("pairs", C.POINTER(GpuPair)),
        ("count", C.c_uint),
        ("padding0", C.c_uint),
        ("info", C.POINTER(C.POINTER(StorageInfo))),
        ("reserved", C.c_char * 40),
    )


class Prop(C.Structure):
    _fields_ = (
        ("type", C.c_int),
        ("handle_types", C.c_int),
        ("location_type", C.c_int),
        ("location_id", C.c_int),
        ("win32", C.c_void_p),
        ("flags", C.c_ubyte * 8),
    )


class Access(C.Structure):
    _fields_ = (("location_type", C.c_int), ("location_id", C.c_int), ("flags", C.c_int))


class Memory(C.Structure):
    _fields_ = (("total", C.c_ulonglong), ("free", C.c_ulonglong), ("used", C.c_ulonglong))


class ProcessInfo(C.Structure):
    _fields_ = (("pid", C.c_uint), ("used", C.c_ulonglong), ("gi", C.c_uint), ("ci", C.c_uint))


def prop(exportable=False):
    return Prop(type=1, handle_types=int(exportable), location_type=1, location_id=0)


class Cuda:
    """The calls by their exported names; each returns the CUresult. Sizes and addresses are 64 bits wide."""

    def __init__(self, init=True):
        self.lib = C.CDLL(LIBRARY)
        self.result = self.lib.cuInit(0) if init else None
        self.module = None

    def __getattr__(self, name):
        function = getattr(self.lib, name)

        def call(*args):
            return function(*[C.c_uint64(a) if isinstance(a, int) and a > 0x7FFFFFFF else a for a in args])

        return call

    def context(self):
        device, context = C.c_int(), C.c_void_p()
        return (
            self.result
            or self.lib.cuDeviceGet(C.byref(device), 0)
            or self.lib.cuDevicePrimaryCtxRetain(C.byref(context), device)
            or self.lib.cuCtxSetCurrent(context)
        )

    def error_name(self):
        """Something to wait for that has no effect."""
        text = C.c_char_p()
        return self.lib.cuGetErrorName(0, C.byref(text))

    def alloc(self, size):
        address = C.c_uint64()
        return self.lib.cuMemAlloc_v2(C.byref(address), C.c_size_t(size)), address.value

    def write(self, address, data):
        return self.lib.cuMemcpyHtoD_v2(C.c_uint64(address), data, C.c_size_t(len(data)))

    def crc(self, address, size):
        data = C.create_string_buffer(size)
        result = self.lib.cuMemcpyDtoH_v2(data, C.c_uint64(address), C.c_size_t(size))
        return result, zlib.crc32(data)

    def info(self):
        free, total = C.c_size_t(), C.c_size_t()
        return self.lib.cuMemGetInfo_v2(C.byref(free), C.byref(total)), free.value, total.value

    def create(self, size, exportable=False):
        handle = C.c_uint64()
        return self.lib.cuMemCreate(C.byref(handle), C.c_size_t(size), C.byref(prop(exportable)), C.c_ulonglong(0)), (
            handle.value
        )

    def reserve(self, size):
        address = C.c_uint64()
        zero = C.c_uint64(0)
        return (
            self.lib.cuMemAddressReserve(C.byref(address), C.c_size_t(size), C.c_size_t(0), zero, zero),
            address.value,
        )

    def map(self, address, size, handle):
        zero = C.c_uint64(0)
        access = Access(1, 0, 3)
        return self.lib.cuMemMap(
            C.c_uint64(address), C.c_size_t(size), C.c_size_t(0), C.c_uint64(handle), zero
        ) or self.lib.cuMemSetAccess(C.c_uint64(address), C.c_size_t(size), C.byref(access), C.c_size_t(1))

    def unmap(self, address, size):
        return self.lib.cuMemUnmap(C.c_uint64(address), C.c_size_t(size))

    def export(self, handle):
        fd = C.c_int(-1)
        return self.lib.cuMemExportToShareableHandle(C.byref(fd), C.c_uint64(handle), 1, C.c_uint64(0)), fd.value

    def import_fd(self, fd):
        handle = C.c_uint64()
        return self.lib.cuMemImportFromShareableHandle(C.byref(handle), C.c_void_p(fd), 1), handle.value

    def spin(self, milliseconds):
        """Launches a kernel that runs that long; returns at once."""
        function = C.c_void_p()
        if self.module is None:
            self.module = C.c_void_p()
            result = self.lib.cuModuleLoadData(C.byref(self.module), PTX.read_bytes() + b"\0")
            if result:
                return result
        result = self.lib.cuModuleGetFunction(C.byref(function), self.module, b"hotseat_spin")
        value = C.c_uint64(milliseconds)
        params = (C.c_void_p * 1)(C.cast(C.byref(value), C.c_void_p))
        return result or self.lib.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, params, None)

    # the checkpoint calls
    def tid(self, pid):
        tid = C.c_int(-1)
        return self.lib.cuCheckpointProcessGetRestoreThreadId(pid, C.byref(tid)), tid.value

    def state(self, pid):
        state = C.c_int(-1)
        return self.lib.cuCheckpointProcessGetState(pid, C.byref(state)), state.value

    def lock(self, pid, timeout_ms=10000):
        return self.lib.cuCheckpointProcessLock(pid, C.byref(LockArgs(timeout_ms=timeout_ms)))

    def checkpoint(self, pid):
        return self.lib.cuCheckpointProcessCheckpoint(pid, None)

    def restore(self, pid):
        return self.lib.cuCheckpointProcessRestore(pid, None)

    def unlock(self, pid):
        return self.lib.cuCheckpointProcessUnlock(pid, None)

    def uuid(self):
        value = (C.c_ubyte * 16)()
        return self.lib.cuDeviceGetUuid_v2(value, 0), bytes(value)


class Nvml:
    """The first device's memory and processes."""

    def __init__(self):
        self.lib = C.CDLL(NVML)
        self.device = C.c_void_p()
        self.result = self.lib.nvmlInit_v2() or self.lib.nvmlDeviceGetHandleByIndex_v2(0, C.byref(self.device))

    def memory(self):
        memory = Memory()
        result = self.lib.nvmlDeviceGetMemoryInfo(self.device, C.byref(memory))
        return result, memory.total, memory.free, memory.used

    def processes(self):
        count, records = C.c_uint(256), (ProcessInfo * 256)()
        result = self.lib.nvmlDeviceGetComputeRunningProcesses_v3(self.device, C.byref(count), records)
        return result, {records[i].pid: records[i].used for i in range(count.value)}


def pattern(size, seed):
    """`size` bytes that repeat nowhere near."""
    import random

    return random.Random(seed).randbytes(size)


def rss_anon(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def threads(pid):
    return sorted(int(t) for t in os.listdir(f"/proc/{pid}/task"))
