"""Which calls of the application a lock holds up, and which go through."""

import ctypes as C
import threading

import conformance_actors as actors
from conformance_actors import Actor, controller, cycle
from conformance_registry import check

MIB = 1 << 20
BLOCKS = "blocks"


class Caller(actors.Target):
    """Makes each call on a thread of its own, so that one that blocks stands alone."""

    def prepare(self):
        self.address = self.alloc(4 * MIB)[1]
        self.spare = self.alloc(4 * MIB)[1]
        self.stream_and_event()
        self.spin(1)
        self.current = C.c_void_p()
        self.lib.cuCtxGetCurrent(C.byref(self.current))
        self.results = {}
        return self.raw("cuCtxSynchronize")

    def calls(self):
        lib, out, size = self.lib, C.create_string_buffer(64), C.c_size_t
        address, spare = C.c_uint64(self.address), C.c_uint64(self.spare)
        stream, event = self.kept["stream"], self.kept["event"]
        return {
            "cuInit": lambda: lib.cuInit(0),
            "cuDeviceGetCount": lambda: lib.cuDeviceGetCount(out),
            "cuDeviceGetAttribute": lambda: lib.cuDeviceGetAttribute(out, 75, 0),
            "cuDevicePrimaryCtxGetState": lambda: lib.cuDevicePrimaryCtxGetState(0, out, C.byref(out, 8)),
            "cuDevicePrimaryCtxRetain": lambda: lib.cuDevicePrimaryCtxRetain(out, 0),
            "cuCtxGetCurrent": lambda: lib.cuCtxGetCurrent(out),
            "cuCtxSetCurrent": lambda: lib.cuCtxSetCurrent(self.current),
            "cuCtxGetDevice": lambda: lib.cuCtxGetDevice(out),
            "cuCtxSynchronize": lib.cuCtxSynchronize,
            "cuMemGetInfo_v2": lambda: lib.cuMemGetInfo_v2(out, C.byref(out, 8)),
            "cuMemAlloc_v2": lambda: lib.cuMemAlloc_v2(out, size(4096)),
            "cuMemFree_v2": lambda: lib.cuMemFree_v2(spare),
            "cuMemGetAddressRange_v2": lambda: lib.cuMemGetAddressRange_v2(out, C.byref(out, 8), address),
            "cuPointerGetAttribute": lambda: lib.cuPointerGetAttribute(out, 2, address),
            "cuMemHostAlloc": lambda: lib.cuMemHostAlloc(out, size(4096), 0),
            "cuMemcpyHtoD_v2": lambda: lib.cuMemcpyHtoD_v2(address, out, size(16)),
            "cuMemcpyDtoH_v2": lambda: lib.cuMemcpyDtoH_v2(out, address, size(16)),
            "cuMemsetD8_v2": lambda: lib.cuMemsetD8_v2(address, 1, size(16)),
            "cuMemAddressReserve": lambda: self.reserve(2 * MIB)[0],
            "cuMemCreate": lambda: self.create(2 * MIB)[0],
            "cuStreamCreate": lambda: lib.cuStreamCreate(out, 0),
            "cuStreamQuery": lambda: lib.cuStreamQuery(stream),
            "cuStreamSynchronize": lambda: lib.cuStreamSynchronize(stream),
            "cuEventRecord": lambda: lib.cuEventRecord(event, stream),
            "cuEventQuery": lambda: lib.cuEventQuery(event),
            "cuEventSynchronize": lambda: lib.cuEventSynchronize(event),
            "cuModuleGetFunction": lambda: lib.cuModuleGetFunction(out, self.module, b"hotseat_spin"),
            "cuLaunchKernel": lambda: self.spin(1),
        }

    def start_threads(self, names):
        """All threads stand ready, their context current, before anything is locked."""
        calls = {name: call for name, call in self.calls().items() if name in names}
        self.go = threading.Event()
        ready = threading.Barrier(len(calls) + 1)
        self.results = dict.fromkeys(calls, BLOCKS)

        def run(name, call):
            self.lib.cuCtxSetCurrent(self.current)
            ready.wait()
            self.go.wait()
            self.results[name] = call()

        self.threads = [threading.Thread(target=run, args=item, daemon=True) for item in calls.items()]
        for thread in self.threads:
            thread.start()
        ready.wait()

    def let_go(self, seconds):
        """{call: result or BLOCKS} some time after all were let go."""
        self.go.set()
        return self.collect(seconds)

    def collect(self, seconds):
        for thread in self.threads:
            thread.join(seconds / len(self.threads))
        return dict(self.results)


PASS = [
    *("cuDeviceGetCount", "cuDeviceGetAttribute", "cuDevicePrimaryCtxGetState", "cuDevicePrimaryCtxRetain"),
    *("cuCtxGetCurrent", "cuCtxSetCurrent", "cuCtxGetDevice", "cuCtxSynchronize", "cuMemGetInfo_v2"),
    *("cuMemGetAddressRange_v2", "cuPointerGetAttribute", "cuMemAddressReserve", "cuStreamQuery"),
    *("cuStreamSynchronize", "cuEventQuery", "cuEventSynchronize"),
]
"""The calls that a lock lets through: they look, reserve addresses or wait, and give the device no work."""
BLOCK = [
    *("cuInit", "cuMemAlloc_v2", "cuMemFree_v2", "cuMemHostAlloc", "cuMemcpyHtoD_v2", "cuMemcpyDtoH_v2"),
    *("cuMemsetD8_v2", "cuMemCreate", "cuStreamCreate", "cuEventRecord", "cuModuleGetFunction", "cuLaunchKernel"),
]


@check(dict.fromkeys(PASS, 0) | dict.fromkeys(BLOCK, BLOCKS), source="run")
def calls_while_locked():
    app, control = Actor(Caller), controller()
    app.prepare()
    app.start_threads(PASS + BLOCK)
    control.lock(app.pid)
    return app.let_go(1.5)


@check([dict.fromkeys(BLOCK, BLOCKS), dict.fromkeys(BLOCK, 0)], source="run")
def calls_while_checkpointed_block():
    """And succeed once the process is unlocked again."""
    app, control = Actor(Caller), controller()
    app.prepare()
    app.start_threads(BLOCK)
    cycle(control, app.pid, ("lock", "checkpoint"))
    during = app.let_go(1.0)
    cycle(control, app.pid, ("restore", "unlock"))
    return [during, app.collect(3.0)]


WAIT = ["cuCtxSynchronize", "cuStreamQuery", "cuStreamSynchronize", "cuEventQuery", "cuEventSynchronize"]


@check(dict.fromkeys(PASS, 0) | dict.fromkeys(WAIT, "signal 11") | {"cuMemGetInfo_v2": 304}, source="run")
def calls_while_checkpointed_do_not_block():
    """Some of them end the process: threads must be frozen before a checkpoint. One process for each call."""
    control, out = controller(), {}
    for name in PASS:
        app = Actor(Caller)
        app.prepare()
        app.start_threads([name])
        cycle(control, app.pid, ("lock", "checkpoint"))
        try:
            out[name] = app.let_go(1.0)[name]
        except actors.Died as died:
            out[name] = f"signal {died.args[0] & 127}"
        else:
            app.kill()
    return out
