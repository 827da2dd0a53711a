"""A process that uses CUDA, by whichever libcuda the loader finds: `cuda_holder.py GROUP DEVICE:BYTES ...`.

Says "ready" and waits until its standard input ends. GROUP, if not 0, is a communicator of the emulated driver.
"""

import ctypes
import sys


def main() -> None:
    cuda = ctypes.CDLL("libcuda.so.1")

    def call(name: str, *args: object) -> None:
        result = getattr(cuda, name)(*args)
        if result:
            sys.exit(f"{name}: {result}")

    call("cuInit", 0)
    for argument in sys.argv[2:]:
        device, nbytes = map(int, argument.split(":"))
        context, pointer = ctypes.c_void_p(), ctypes.c_uint64()
        call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        call("cuCtxSetCurrent", context)
        call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(nbytes))
    if int(sys.argv[1]):
        call("cuEmuCommJoin", ctypes.c_uint64(int(sys.argv[1])), 2)
    print("ready", flush=True)
    sys.stdin.read()


main()
