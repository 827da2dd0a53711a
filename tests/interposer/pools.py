"""Memory pools, for `program.py`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

DEVICE, HOST = 1, 2


class Props(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("handles", ctypes.c_int),
        ("location", ctypes.c_int * 2),
        ("security", ctypes.c_void_p),
        ("most", ctypes.c_size_t),
        ("usage", ctypes.c_ushort),
        ("reserved", ctypes.c_ubyte * 54),
    )


class Pools:
    def __init__(self, call: Callable[..., int]) -> None:
        self.call = call
        self.pools: dict[Any, ctypes.c_void_p] = {}

    def make(self, name: Any, kind: str, device: int) -> int:
        location = (ctypes.c_int * 2)(HOST if kind == "host" else DEVICE, device)
        props = Props(1, 1 if kind == "shared" else 0, location, None, 0, 0)
        self.pools[name] = ctypes.c_void_p()
        return self.call("cuMemPoolCreate", ctypes.byref(self.pools[name]), ctypes.byref(props))

    def choose(self, name: Any, device: int) -> int:
        return self.call("cuDeviceSetMemPool", device, self.pools[name])

    def alloc(self, name: Any, size: int) -> tuple[int, int]:
        at = ctypes.c_ulonglong(0)
        pool = self.pools[name]
        return self.call("cuMemAllocFromPoolAsync", ctypes.byref(at), ctypes.c_size_t(size), pool, None), at.value
