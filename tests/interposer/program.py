"""A program that uses a device, told what to do line by line; it knows what each of its bytes should be."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

from graphs import Graphs  # beside this program
from pools import Pools

GRANULE = 2 << 20
lib = ctypes.CDLL("libcuda.so.1")
found: dict[str, Any] = {}
memory: dict[Any, dict[str, Any]] = {}
imported: list[int] = []
contexts: dict[Any, ctypes.c_void_p] = {}
host: dict[Any, tuple[int, int]] = {}


class Prop(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("handles", ctypes.c_int),
        ("location", ctypes.c_int * 2),
        ("meta", ctypes.c_void_p),
        ("flags", ctypes.c_ubyte * 8),
    )


class Access(ctypes.Structure):
    _fields_ = (("location", ctypes.c_int * 2), ("flags", ctypes.c_int))


def call(name: str, *arguments: Any) -> int:
    function = found.get(name) or getattr(lib, name)
    return int(function(*arguments))


def must(name: str, *arguments: Any) -> None:
    if result := call(name, *arguments):
        raise RuntimeError(f"{name}: {result}")


graphs = Graphs(call)
pools = Pools(call)


def find(way: str) -> None:
    """As static cudart does: one function by dlsym, all others through it."""
    ask = getattr(lib, way if way.startswith("cuGet") else "cuInit")
    for name in ("cuMemAlloc", "cuMemFree", "cuMemcpyHtoD", "cuMemcpyDtoH", "cuCtxCreate"):
        at = ctypes.c_void_p()
        if way == "dlsym":
            found[f"{name}_v2"] = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.cast(lib[f"{name}_v2"], ctypes.c_void_p).value)
            continue
        rest = () if way == "cuGetProcAddress" else (None,)
        assert ask(name.encode(), ctypes.byref(at), 11040, ctypes.c_uint64(0), *rest) == 0
        found[f"{name}_v2"] = ctypes.CFUNCTYPE(ctypes.c_int)(at.value)


def start() -> None:
    must("cuInit", 0)
    make_context("first", 0)


def ask(way: str, name: str) -> str:
    """For a call that is newer than every header."""
    at = ctypes.c_void_p()
    if way == "dlsym":
        at.value = ctypes.cast(lib[name], ctypes.c_void_p).value
    else:
        rest = () if way == "cuGetProcAddress" else (None,)
        assert getattr(lib, way)(name.encode(), ctypes.byref(at), 99000, ctypes.c_uint64(0), *rest) == 0
    found[name] = ctypes.CFUNCTYPE(ctypes.c_int)(at.value)
    return "ok"


class Tag(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_ubyte * 64),)


def teleport(into: Any, of: Any) -> int:
    """A copy by a call with arguments of every kind."""
    to, from_, size = memory[into]["at"], memory[of]["at"], min(memory[into]["size"], memory[of]["size"])
    number, double = ctypes.c_int, ctypes.c_double
    types = (*(ctypes.c_uint64,) * 3, ctypes.c_float, Tag, number, number, double, *(number,) * 3, ctypes.c_uint64)
    function = ctypes.CFUNCTYPE(number, *types)(ctypes.cast(found["cuMemcpyTeleport"], ctypes.c_void_p).value)
    tag = Tag((ctypes.c_ubyte * 64)(*range(64)))
    result = function(to, from_, size, 0.5, tag, 3, 4, 1 / 3, 5, 6, 7, to + from_ + size)
    if result == 0:
        memory[into]["data"] = memory[of]["data"][:size] + memory[into]["data"][size:]
    return int(result)


def make_context(name: Any, device: int) -> str:
    """Current from then on."""
    contexts[name] = ctypes.c_void_p()
    must("cuCtxCreate_v2", ctypes.byref(contexts[name]), 0, device)
    return "ok"


def device() -> int:
    """Of the current context."""
    found_ = ctypes.c_int()
    must("cuCtxGetDevice", ctypes.byref(found_))
    return found_.value


def digest(key: Any) -> Any:
    """What a kernel in the current context makes of all of it, or the driver's refusal."""
    module, kernel, out = ctypes.c_void_p(), ctypes.c_void_p(), u64(0)
    must("cuModuleLoadData", ctypes.byref(module), b"an image that the emulated driver does not look at")
    must("cuModuleGetFunction", ctypes.byref(kernel), module, b"hotseat_digest")
    must("cuMemAlloc_v2", ctypes.byref(out), ctypes.c_size_t(8))
    must("cuMemcpyHtoD_v2", out, bytes(8), ctypes.c_size_t(8))
    cells = [u64(memory[key]["at"]), u64(memory[key]["size"] // 8), u64(0), out]
    params = (ctypes.c_void_p * 4)(*map(ctypes.addressof, cells))
    value = ctypes.create_string_buffer(8)
    must("cuLaunchKernel", kernel, *(1,) * 6, 0, None, params, None)
    if result := call("cuMemcpyDtoH_v2", value, out, ctypes.c_size_t(8)):
        return {"refused": result}
    must("cuMemFree_v2", out)
    return int.from_bytes(value.raw, "little")


def pinned(key: Any, size: int) -> str:
    """Host memory that the driver knows, for `to host`."""
    at = ctypes.c_void_p()
    must("cuMemHostAlloc", ctypes.byref(at), ctypes.c_size_t(size), 0)
    host[key] = (at.value or 0, size)
    return "ok"


def to_host(key: Any) -> None:
    at, size = host[key]
    must("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(at), u64(memory[key]["at"]), ctypes.c_size_t(size), None)
    must("cuStreamSynchronize", None)


def managed(key: Any, size: int) -> str:
    at = u64(0)
    must("cuMemAllocManaged", ctypes.byref(at), ctypes.c_size_t(size), 1)
    memory[key] = {"kind": "managed", "at": at.value, "size": size}
    put(key, bytes([6]) * size)
    return "ok"


def end_in_a_call() -> str:
    """A thread of this process, by a callback that the driver calls."""
    own = ctypes.CDLL(None)
    thread = ctypes.c_ulong()

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    def entry(_: int) -> None:
        must("cuCtxSetCurrent", contexts["first"])
        must("cuLaunchHostFunc", None, own.pthread_exit, None)
        os.abort()

    assert own.pthread_create(ctypes.byref(thread), None, entry, None) == 0
    assert own.pthread_join(thread, None) == 0
    return "ok"


def in_a_thread(command: list[Any]) -> Any:
    """Of its own, in the current context."""
    context, said = ctypes.c_void_p(), []
    must("cuCtxGetCurrent", ctypes.byref(context))

    def run() -> None:
        must("cuCtxSetCurrent", context)
        said.append(obey(command))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return said[0]


def captured_set(stream: Any, key: Any, value: int) -> None:
    """`key` has these bytes once the graph has been launched."""
    graphs.set(stream, memory[key]["at"], memory[key]["size"], value)
    memory[key]["data"] = bytes([value]) * memory[key]["size"]


def captures(one: list[Any]) -> Any:
    """Of `graphs`, by name."""
    name, *rest = one
    match name:
        case "begin":
            return graphs.begin(*rest)
        case "begin again":
            return graphs.begin_again(*rest)
        case "set":
            return captured_set(*rest)
        case "stream":
            return graphs.stream(*rest).value
        case "mode":
            mode = ctypes.c_int(rest[0])
            must("cuThreadExchangeStreamCaptureMode", ctypes.byref(mode))
            return mode.value
        case "end":
            return graphs.end(*rest)
        case "launch":
            return graphs.launch(*rest)
        case "destroy":
            return graphs.destroy(*rest)
        case "on and on":
            busy.append(graphs.capture_on_and_on(contexts["first"], 1, memory[rest[0]]["at"], memory[rest[0]]["size"]))
        case "no more":
            graphs.stopped.set()
            busy.pop().join()
    return "ok"


busy: list[threading.Thread] = []


def pooled(one: list[Any]) -> Any:
    """Of `pools`, by name."""
    name, *rest = one
    if name != "alloc":
        return {"make": pools.make, "choose": pools.choose}[name](*rest)
    key, pool, size = rest
    result, at = pools.alloc(pool, size)
    if result:
        return result
    memory[key] = {"kind": "alloc async", "at": at, "size": size}
    put(key, bytes([1]) * size)
    return "ok"


def spin(milliseconds: int) -> None:
    """The device has work for so long."""
    module, kernel, cell = ctypes.c_void_p(), ctypes.c_void_p(), u64(milliseconds)
    must("cuModuleLoadData", ctypes.byref(module), b"an image that the emulated driver does not look at")
    must("cuModuleGetFunction", ctypes.byref(kernel), module, b"hotseat_spin")
    params = (ctypes.c_void_p * 1)(ctypes.addressof(cell))
    must("cuLaunchKernel", kernel, *(1,) * 6, 0, None, params, None)


def free_behind_work(key: Any, milliseconds: int) -> int:
    """What the device says when the call to free has returned."""
    spin(milliseconds)
    must("cuMemFreeAsync", u64(memory.pop(key)["at"]), None)
    return call("cuStreamQuery", None)


def u64(value: int) -> ctypes.c_ulonglong:
    return ctypes.c_ulonglong(value)


def put(key: Any, data: bytes) -> None:
    must("cuMemcpyHtoD_v2", u64(memory[key]["at"]), data, ctypes.c_size_t(len(data)))
    memory[key]["data"] = data


def free(key: Any) -> None:
    one = memory.pop(key, None)
    if one is None:
        return
    if one["kind"] == "map":
        must("cuMemUnmap", u64(one["at"]), ctypes.c_size_t(one["size"]))
        must("cuMemAddressFree", u64(one["at"]), ctypes.c_size_t(one["size"]))
        must("cuMemRelease", u64(one["handle"]))
    elif one["kind"] == "alloc async":
        must("cuMemFreeAsync", u64(one["at"]), None)
    else:
        must("cuMemFree_v2", u64(one["at"]))


def allocate(kind: str, key: Any, size: int) -> str:
    free(key)
    at = u64(0)
    if kind == "alloc":
        result = call("cuMemAlloc_v2", ctypes.byref(at), ctypes.c_size_t(size))
    else:
        result = call("cuMemAllocAsync", ctypes.byref(at), ctypes.c_size_t(size), None)
    if result == 2:
        return "no memory"
    assert result == 0, result
    memory[key] = {"kind": kind, "at": at.value, "size": size}
    put(key, bytes([1]) * size)
    return "ok"


def map_own(key: Any, granules: int, handles: int = 0) -> str:
    """As PyTorch's expandable segments do. `handles`: 1 if it may be shared by a descriptor."""
    free(key)
    size = granules * GRANULE
    handle, at = u64(0), u64(0)
    prop = Prop(1, handles, (ctypes.c_int * 2)(1, device()), None)
    result = call("cuMemCreate", ctypes.byref(handle), ctypes.c_size_t(size), ctypes.byref(prop), u64(0))
    if result == 2:
        return "no memory"
    assert result == 0, result
    must("cuMemAddressReserve", ctypes.byref(at), ctypes.c_size_t(size), ctypes.c_size_t(0), u64(0), u64(0))
    must("cuMemMap", at, ctypes.c_size_t(size), ctypes.c_size_t(0), handle, u64(0))
    access = Access((ctypes.c_int * 2)(1, device()), 3)
    must("cuMemSetAccess", at, ctypes.c_size_t(size), ctypes.byref(access), ctypes.c_size_t(1))
    memory[key] = {"kind": "map", "at": at.value, "size": size, "handle": handle.value}
    put(key, bytes([2]) * size)
    return "ok"


def copy(into: Any, of: Any) -> None:
    if into in memory and of in memory and into != of:
        size = min(memory[into]["size"], memory[of]["size"])
        must("cuMemcpyDtoD_v2", u64(memory[into]["at"]), u64(memory[of]["at"]), ctypes.c_size_t(size))
        memory[into]["data"] = memory[of]["data"][:size] + memory[into]["data"][size:]


def check(key: Any) -> str:
    one = memory[key]
    data = ctypes.create_string_buffer(one["size"])
    must("cuMemcpyDtoH_v2", data, u64(one["at"]), ctypes.c_size_t(one["size"]))
    return "same" if data.raw == one["data"] else "different"


def told(key: Any, offset: int) -> list[int]:
    at = memory[key]["at"]
    base, size, start_, length = u64(0), ctypes.c_size_t(0), u64(0), ctypes.c_size_t(0)
    must("cuMemGetAddressRange_v2", ctypes.byref(base), ctypes.byref(size), u64(at + offset))
    must("cuPointerGetAttribute", ctypes.byref(start_), 11, u64(at + offset))
    must("cuPointerGetAttribute", ctypes.byref(length), 12, u64(at + offset))
    return [base.value, size.value, start_.value, length.value]


def share(key: Any) -> list[int]:
    """Results of both ways to give it to another process."""
    out, handle = ctypes.c_int(-1), ctypes.create_string_buffer(64)
    exported = call("cuMemExportToShareableHandle", ctypes.byref(out), u64(memory[key].get("handle", 0)), 1, u64(0))
    if exported == 0:
        os.close(out.value)
    return [exported, call("cuIpcGetMemHandle", handle, u64(memory[key]["at"]))]


def in_another_context(key: Any, size: int, free_from: str) -> str:
    """Memory of a second context, freed while the first is current, or left to the context's end."""
    first, second = ctypes.c_void_p(), ctypes.c_void_p()
    must("cuCtxGetCurrent", ctypes.byref(first))
    must("cuCtxCreate_v2", ctypes.byref(second), 0, 0)
    allocate("alloc", key, size)
    must("cuCtxSetCurrent", first)
    if free_from == "first":
        free(key)
    must("cuCtxDestroy_v2", second)
    memory.pop(key, None)
    return "ok"


def speaks_with_the_store() -> bool:
    """Whether this process has a connection to it."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
            if sock.getpeername() == os.environ["HOTSEAT_STORE"]:
                return True
    return False


def fork() -> str:
    assert speaks_with_the_store()
    child = os.fork()
    if child == 0:
        os._exit(speaks_with_the_store())
    _, status = os.waitpid(child, 0)
    return "the child went on" if status == 0 else f"the child ended with {status}"


def take_import() -> str:
    """Memory that a child of its own has made and exported."""
    ours, theirs = socket.socketpair()
    child = os.spawnve(
        os.P_NOWAIT, sys.executable, [sys.executable, __file__, "export", str(theirs.fileno())], _plain(theirs)
    )
    _, fds, *_ = socket.recv_fds(ours, 1, 1)
    handle = u64(0)
    must("cuMemImportFromShareableHandle", ctypes.byref(handle), ctypes.c_void_p(fds[0]), 1)
    os.close(fds[0])
    imported.append(handle.value)
    ours.send(b"x")
    os.waitpid(child, 0)
    return "ok"


def _plain(theirs: socket.socket) -> dict[str, str]:
    theirs.set_inheritable(True)
    return {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "HOTSEAT_STORE")}


def export(fd: int) -> None:
    start()
    handle, out = u64(0), ctypes.c_int()
    prop = Prop(1, 1, (ctypes.c_int * 2)(1, 0), None)
    must("cuMemCreate", ctypes.byref(handle), ctypes.c_size_t(GRANULE), ctypes.byref(prop), u64(0))
    must("cuMemExportToShareableHandle", ctypes.byref(out), handle, 1, u64(0))
    peer = socket.socket(fileno=fd)
    socket.send_fds(peer, [b"x"], [out.value])
    peer.recv(1)


def obey(command: list[Any]) -> Any:
    name, *rest = command
    if name == "find":
        find(*rest)
        return "ok"
    if name == "ask":
        return ask(*rest)
    if not memory and not getattr(obey, "begun", False):
        start()
        obey.begun = True  # type: ignore[attr-defined]
    match name:
        case "alloc" | "alloc async":
            return allocate(name, *rest)
        case "map":
            return map_own(*rest)
        case "free":
            return free(*rest)
        case "fill":
            return put(rest[0], bytes([rest[1]]) * memory[rest[0]]["size"]) if rest[0] in memory else None
        case "copy":
            return copy(*rest)
        case "check":
            return check(*rest)
        case "check all":
            return [key for key in memory if check(key) != "same"]
        case "range":
            return told(*rest)
        case "address":
            return memory[rest[0]]["at"]
        case "share":
            return share(*rest)
        case "other context":
            return in_another_context(*rest)
        case "teleport":
            return teleport(*rest)
        case "call newer":
            return call(rest[0], ctypes.byref(u64(0)))
        case "context":
            return make_context(*rest)
        case "use":
            return must("cuCtxSetCurrent", contexts[rest[0]])
        case "peer":
            return call("cuCtxEnablePeerAccess", contexts[rest[0]], 0)
        case "no peer":
            return call("cuCtxDisablePeerAccess", contexts[rest[0]])
        case "digest":
            return digest(*rest)
        case "pinned":
            return pinned(*rest)
        case "to host":
            return to_host(*rest)
        case "check host":
            at, size = host[rest[0]]
            return "same" if ctypes.string_at(at, size) == memory[rest[0]]["data"][:size] else "different"
        case "managed":
            return managed(*rest)
        case "exec":
            print(json.dumps("goes"), flush=True)  # before, as what is read already is lost with this program
            os.execv(sys.executable, [sys.executable, __file__])
        case "end in a call":
            return end_in_a_call()
        case "thread":
            return in_a_thread(*rest)
        case "pool":
            return pooled(rest)
        case "free behind work":
            return free_behind_work(*rest)
        case "capture":
            return captures(rest)
        case "call":
            return call(rest[0], *(u64(one["u64"]) if isinstance(one, dict) else one for one in rest[1:]))
        case "free as told":
            return call(rest[0], u64(memory.pop(rest[1])["at"]), *rest[2:])
        case "fork":
            return fork()
        case "import":
            return take_import()
        case "release import":
            return must("cuMemRelease", u64(imported.pop()))
    raise ValueError(name)


if len(sys.argv) > 1:
    export(int(sys.argv[2]))
else:
    for line in sys.stdin:
        print(json.dumps(obey(json.loads(line))), flush=True)
