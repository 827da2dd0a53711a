"""The roles of a check: a process that uses CUDA, one that controls it, one that reads NVML, and those that do less."""

import ctypes as C
import os
import pickle
import select
import signal
import socket
import sys
import time

import conformance_driver as driver
import conformance_process as process
from conformance_process import HANG, Actor, Died, Spawned

__all__ = ["HANG", "Actor", "Controller", "Died", "Spawned", "Target", "Watcher", "controller", "cycle", "target"]


class Target(driver.Cuda):
    """A process that uses CUDA. `context()` has been called."""

    def __init__(self):
        super().__init__()
        self.ready = self.context()
        self.kept = {}

    def hello(self):
        return self.ready

    def raw(self, name, *args):
        return getattr(self.lib, name)(*args)

    def use(self, device):
        """Its primary context is current from now on."""
        context = C.c_void_p()
        return self.lib.cuDevicePrimaryCtxRetain(C.byref(context), device) or self.lib.cuCtxSetCurrent(context)

    def fill(self, mebibytes, seed=1):
        """An allocation full of a pattern: (result, address)."""
        result, address = self.alloc(mebibytes << 20)
        data = driver.pattern(1 << 20, seed)
        for i in range(mebibytes if result == 0 else 0):
            result = result or self.write(address + (i << 20), data[i:] + data[:i])
        return result, address

    def alloc_only(self, mebibytes):
        return self.alloc(mebibytes << 20)

    def vmm(self, mebibytes, exportable=False, pieces=1):
        """One reservation, mapped by `pieces` handles, full of a pattern: (result, address, handles)."""
        size = mebibytes << 20
        result, address = self.reserve(size)
        handles = []
        for i in range(pieces):
            result_create, handle = self.create(size // pieces, exportable)
            result = result or result_create or self.map(address + i * (size // pieces), size // pieces, handle)
            handles.append(handle)
        data = driver.pattern(1 << 20, 7)
        for i in range(mebibytes):
            result = result or self.write(address + (i << 20), data[i:] + data[:i])
        return result, address, handles

    def sum(self, address, mebibytes):
        return self.crc(address, mebibytes << 20)

    def spin_and_wait(self, milliseconds):
        return self.spin(milliseconds), self.raw("cuCtxSynchronize")

    def release(self, handle):
        return self.lib.cuMemRelease(C.c_uint64(handle))

    def managed(self, mebibytes):
        address = C.c_uint64()
        result = self.lib.cuMemAllocManaged(C.byref(address), C.c_size_t(mebibytes << 20), 1)
        if result == 0:
            C.memset(address.value, 1, mebibytes << 20)
        return result

    def serve_fd(self, path, handle):
        """Exports the handle and sends its descriptor to whoever connects to `path`."""
        result, fd = self.export(handle)
        if result:
            return result
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(1)
        self.kept[path] = server
        peer, _ = server.accept()
        socket.send_fds(peer, [b"x"], [fd])
        os.close(fd)
        peer.close()
        return 0

    def fetch_fd(self, path):
        """Connects, receives and imports: (result, handle)."""
        for _ in range(100):
            client = socket.socket(socket.AF_UNIX)
            try:
                client.connect(path)
                break
            except OSError:
                client.close()
                time.sleep(0.05)
        _, fds, _, _ = socket.recv_fds(client, 1, 1)
        result, handle = self.import_fd(fds[0])
        os.close(fds[0])
        return result, handle

    def map_import(self, handle, mebibytes):
        """Maps an imported handle: (result, address)."""
        result, address = self.reserve(mebibytes << 20)
        return result or self.map(address, mebibytes << 20, handle), address

    def pin(self, address, size):
        """Pinned host memory, filled from the device."""
        host = C.c_void_p()
        self.kept["pinned"] = host, size
        return self.lib.cuMemHostAlloc(C.byref(host), C.c_size_t(size), 0) or self.lib.cuMemcpyDtoH_v2(
            host, C.c_uint64(address), C.c_size_t(size)
        )

    def pinned_crc(self):
        host, size = self.kept["pinned"]
        return driver.zlib.crc32(C.string_at(host, size))

    def unpin(self):
        return self.lib.cuMemFreeHost(self.kept["pinned"][0])

    def join(self, communicator, ranks):
        """The emulated driver only."""
        return self.lib.cuEmuCommJoin(C.c_uint64(communicator), ranks)

    def churn(self, seed, rounds=1000000):
        """Allocates, writes, reads back and frees: 0, or the first thing that was wrong."""
        data = driver.pattern(1 << 20, seed)
        for i in range(rounds):
            sizes = [(1000 * (seed + 1) * (i + j)) % (3 << 20) + 1 for j in range(5)]
            held = [self.alloc(size) for size in sizes]
            for (result, address), size in zip(held, sizes, strict=True):
                part = data[: min(size, len(data))]
                if result or self.write(address, part):
                    return "write"
            for (_, address), size in zip(held, sizes, strict=True):
                part = data[: min(size, len(data))]
                if self.crc(address, len(part)) != (0, driver.zlib.crc32(part)):
                    return "read"
                self.lib.cuMemFree_v2(C.c_uint64(address))
        return 0

    def churn_threads(self, count, rounds):
        import threading

        current, results = C.c_void_p(), [None] * count
        self.lib.cuCtxGetCurrent(C.byref(current))

        def run(index):
            self.lib.cuCtxSetCurrent(current)
            results[index] = self.churn(index, rounds)

        workers = [threading.Thread(target=run, args=(i,)) for i in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return results

    def start_threads(self, count):
        import threading

        for _ in range(count):
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

    def stream_and_event(self):
        stream, event = C.c_void_p(), C.c_void_p()
        self.kept["stream"], self.kept["event"] = stream, event
        return self.lib.cuStreamCreate(C.byref(stream), 0) or self.lib.cuEventCreate(C.byref(event), 0)

    def use_stream_and_event(self):
        stream, event = self.kept["stream"], self.kept["event"]
        return [
            self.lib.cuEventRecord(event, stream),
            self.lib.cuEventSynchronize(event),
            self.lib.cuStreamSynchronize(stream),
        ]

    def fork_and_try(self):
        """What a forked child gets from the driver: [cuInit, cuDeviceGetCount, cuMemGetInfo]."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            count = C.c_int()
            results = [self.lib.cuInit(0), self.lib.cuDeviceGetCount(C.byref(count)), self.info()[0]]
            os.write(write, pickle.dumps(results))
            os._exit(0)
        os.close(write)
        ready, _, _ = select.select([read], [], [], process.PATIENCE)
        results = pickle.loads(os.read(read, 4096)) if ready else HANG
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return results

    def fork_sleeper(self):
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        return pid


class InitOnly(driver.Cuda):
    """cuInit and no context."""


class Loaded(driver.Cuda):
    """libcuda loaded, cuInit not called."""

    def __init__(self):
        super().__init__(init=False)


class Plain:
    """Has nothing to do with CUDA."""

    def hello(self):
        return 0


class Watcher(driver.Nvml):
    """Reads NVML."""


class Controller(driver.Cuda):
    """Makes checkpoint calls, holds no context. `raw_args` passes structs as a check made them."""

    def raw_args(self, name, pid, args):
        return getattr(self.lib, f"cuCheckpointProcess{name}")(pid, None if args is None else C.byref(args))

    def raw_null(self, name, pid):
        return getattr(self.lib, f"cuCheckpointProcess{name}")(pid, None)

    def lock_args(self, pid, field, index=0):
        args = driver.LockArgs(timeout_ms=1000)
        if field == "reserved0":
            args.reserved0 = 1
        else:
            args.reserved1[index] = 1
        return self.raw_args("Lock", pid, args)

    def plain_args(self, name, pid, index):
        args = driver.PlainArgs()
        if index >= 0:
            args.reserved[index] = 1
        return self.raw_args(name, pid, args)

    def restore_args(self, pid, pairs=(), count=None, reserved=False, reserved1=False):
        """`pairs`: (old, new) uuids of 16 bytes."""
        array = (driver.GpuPair * max(1, len(pairs)))()
        for record, (old, new) in zip(array, pairs, strict=False):
            record.old[:], record.new[:] = old, new
        args = driver.RestoreArgs(pairs=array if pairs else None, count=len(pairs) if count is None else count)
        if reserved:
            args.reserved = b"\1"
        args.reserved1 = int(reserved1)
        return self.raw_args("Restore", pid, args)


class Storer(Controller):
    """A caller of checkpoints to custom storage. Holds no context before `retain`."""

    def __init__(self):
        super().__init__()
        self.info = C.POINTER(driver.StorageInfo)()
        self.saved = {}

    def version(self):
        version = C.c_int()
        return self.lib.cuDriverGetVersion(C.byref(version)), version.value

    def has(self, name, version):
        pointer, status = C.c_void_p(), C.c_int(-1)
        result = self.lib.cuGetProcAddress_v2(name, C.byref(pointer), version, C.c_uint64(0), C.byref(status))
        return result == 0 and bool(pointer.value)

    def retain(self, *devices):
        context = C.c_void_p()
        results = [self.lib.cuDevicePrimaryCtxRetain(C.byref(context), device) for device in devices]
        return max(results) or self.lib.cuCtxSetCurrent(context)

    def begin(self, name, pid):
        """`Checkpoint` or `Restore`: (result, [(device by its stream, bytes)])."""
        self.info = C.POINTER(driver.StorageInfo)()
        kind = driver.CustomCheckpointArgs if name == "Checkpoint" else driver.CustomRestoreArgs
        args = kind(info=C.pointer(self.info))
        result = self.raw_args(name, pid, args)
        return result, [(self.device_of(one), one.size) for one in self.entries()] if result == 0 else []

    def entries(self):
        return self.info.contents.data[: self.info.contents.count] if self.info else []

    def device_of(self, one):
        device = C.c_int(-1)
        self.lib.cuStreamGetDevice(C.c_void_p(one.stream), C.byref(device))
        return device.value

    def pull(self):
        """Copies all that is mapped."""
        for one in self.entries():
            data = C.create_string_buffer(one.size)
            result = self.lib.cuMemcpyDtoH_v2(data, C.c_uint64(one.at), C.c_size_t(one.size))
            if result:
                return result
            self.saved[self.device_of(one)] = data.raw
        return 0

    def push(self):
        return max(self.write(one.at, self.saved[self.device_of(one)]) for one in self.entries())

    def beyond(self):
        """Reads one byte past the first range."""
        (one, *_) = self.entries()
        return self.lib.cuMemcpyDtoH_v2(C.create_string_buffer(1), C.c_uint64(one.at + one.size), C.c_size_t(1))

    def peek(self):
        (one, *_) = self.entries()
        data = C.create_string_buffer(16)
        return self.lib.cuMemcpyDtoH_v2(data, C.c_uint64(one.at), C.c_size_t(16)), data.raw

    def complete(self):
        """Copies the handle first: the driver's record ends with it."""
        self.handle = self.info.contents.handle
        return self.again()

    def again(self):
        return self.lib.cuCheckpointOperationComplete(C.c_void_p(self.handle))

    def complete_rubbish(self):
        return self.lib.cuCheckpointOperationComplete(C.c_void_p(0x1234))


def target():
    actor = Actor(Target)
    result = actor.hello()
    if result != 0:
        raise RuntimeError(f"no context: {result}")
    return actor


def controller():
    return Actor(Controller)


def cycle(control, pid, names=("lock", "checkpoint", "restore", "unlock")):
    return [control.call(name, pid) for name in names]


if __name__ == "__main__":
    _class, driver.LIBRARY, driver.NVML, _fd = sys.argv[1:]
    process.serve(socket.socket(fileno=int(_fd)), globals()[_class])
