"""The processes of a check. The check itself never loads libcuda: every actor is a forked child that does, so that a
call that never returns can be killed and looked at from outside."""

import ctypes as C
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time

import conformance_driver as driver

PATIENCE = 4.0  # seconds after which a call counts as hanging; run.py sets it
HANG = "hang"
_NR_OPEN_TRIES = 100


class Died(Exception):
    """The actor ended; its wait status is the argument."""


class Actor:
    """A child that runs `Class(...)` and answers calls of its methods, one at a time."""

    def __init__(self, factory):
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            _serve(theirs, factory)
        theirs.close()
        self.socket = ours

    def start(self, method, *args):
        """Asks for a call without waiting for the answer."""
        data = pickle.dumps((method, args))
        self.socket.sendall(len(data).to_bytes(4, "big") + data)

    def answer(self, patience=None):
        """The answer of the call asked for last; HANG if there is none in time (it may still come: ask again)."""
        end = time.monotonic() + (PATIENCE if patience is None else patience)
        data = b""
        want = 4
        while True:
            ready, _, _ = select.select([self.socket], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return HANG
            try:
                got = self.socket.recv(want - len(data))
            except ConnectionResetError:
                got = b""
            if not got:
                raise Died(self.ended())
            data += got
            if len(data) == want == 4:
                want, data = int.from_bytes(data, "big"), b""
                data = self._rest(want)
                return pickle.loads(data)

    def ended(self):
        """Waits for the end; the wait status."""
        return os.waitpid(self.pid, 0)[1]

    def _rest(self, size):
        data = b""
        while len(data) < size:
            data += self.socket.recv(size - len(data))
        return data

    def call(self, method, *args, patience=30.0):
        self.start(method, *args)
        return self.answer(patience)

    def __getattr__(self, name):
        return lambda *args: self.call(name, *args)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Spawned(Actor):
    """The same by fork and exec, for callers that have threads. `name`: a class of this module."""

    def __init__(self, name, env=None, prefix=()):
        ours, theirs = socket.socketpair()
        command = [*prefix, sys.executable, __file__, name, driver.LIBRARY, driver.NVML, str(theirs.fileno())]
        self.process = subprocess.Popen(command, env=env, pass_fds=[theirs.fileno()])
        self.pid = self.process.pid
        theirs.close()
        self.socket = ours

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.socket.close()

    def ended(self):
        """The exit code, negative for a signal."""
        return self.process.wait(10)


def _serve(sock, factory):
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        subject = factory()
        while True:
            head = sock.recv(4)
            if not head:
                os._exit(0)
            data = b""
            while len(data) < int.from_bytes(head, "big"):
                data += sock.recv(int.from_bytes(head, "big") - len(data))
            method, args = pickle.loads(data)
            reply = pickle.dumps(getattr(subject, method)(*args))
            sock.sendall(len(reply).to_bytes(4, "big") + reply)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(70)


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
        for _ in range(_NR_OPEN_TRIES):
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
        ready, _, _ = select.select([read], [], [], PATIENCE)
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
    _serve(socket.socket(fileno=int(_fd)), globals()[_class])
